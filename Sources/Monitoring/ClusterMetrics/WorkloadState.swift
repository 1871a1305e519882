import Kubernetes

func deploymentSamples(_ deployment: Deployment, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", deployment.namespace), ("deployment", deployment.name)])
    let name = "kube_deployment_"
    let status = deployment.status
    out.add(name + "created", milliseconds: deployment.metadata.creationTimestamp?.milliseconds)
    out.add(name + "metadata_generation", [], deployment.metadata.generation)
    out.add(name + "spec_replicas", [], deployment.spec?.replicas ?? 1)
    out.add(name + "spec_paused", flag: deployment.spec?.paused ?? false)
    out.add(name + "status_replicas", [], status?.replicas ?? 0)
    out.add(name + "status_replicas_ready", [], status?.readyReplicas ?? 0)
    out.add(name + "status_replicas_available", [], status?.availableReplicas ?? 0)
    out.add(name + "status_replicas_unavailable", [], status?.unavailableReplicas ?? 0)
    out.add(name + "status_replicas_updated", [], status?.updatedReplicas ?? 0)
    out.add(name + "status_observed_generation", [], status?.observedGeneration ?? 0)
    for condition in status?.conditions ?? [] {
        out.addCondition(
            name + "status_condition", [("condition", condition.type), ("reason", condition.reason ?? "")],
            condition.status)
    }
    if let update = deployment.spec?.strategy?.rollingUpdate {
        let replicas = deployment.spec?.replicas ?? 1
        out.add(
            name + "spec_strategy_rollingupdate_max_unavailable", [],
            update.maxUnavailable.flatMap { scaled($0, replicas, up: false) })
        out.add(
            name + "spec_strategy_rollingupdate_max_surge", [],
            update.maxSurge.flatMap { scaled($0, replicas, up: true) })
    }
    return out.take()
}

/// A number, or a share of `total` rounded up or down.
private func scaled(_ value: IntOrString, _ total: Int, up: Bool) -> Int? {
    switch value {
    case .int(let number): return number
    case .string(let text):
        guard text.hasSuffix("%"), let share = Int(text.dropLast()) else { return nil }
        return (share * total + (up ? 99 : 0)) / 100
    }
}

func replicaSetSamples(_ set: ReplicaSet, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", set.namespace), ("replicaset", set.name)])
    let name = "kube_replicaset_"
    out.add(name + "created", milliseconds: set.metadata.creationTimestamp?.milliseconds)
    out.add(name + "metadata_generation", [], set.metadata.generation)
    out.add(name + "spec_replicas", [], set.spec?.replicas ?? 1)
    out.add(name + "status_replicas", [], set.status?.replicas ?? 0)
    out.add(name + "status_ready_replicas", [], set.status?.readyReplicas ?? 0)
    out.add(name + "status_fully_labeled_replicas", [], set.status?.fullyLabeledReplicas ?? 0)
    out.add(name + "status_observed_generation", [], set.status?.observedGeneration ?? 0)
    addOwners(name + "owner", set.metadata, &out)
    return out.take()
}

func statefulSetSamples(_ set: StatefulSet, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", set.namespace), ("statefulset", set.name)])
    let name = "kube_statefulset_"
    let status = set.status
    out.add(name + "created", milliseconds: set.metadata.creationTimestamp?.milliseconds)
    out.add(name + "metadata_generation", [], set.metadata.generation)
    out.add(name + "replicas", [], set.spec?.replicas ?? 1)
    out.add(name + "status_replicas", [], status?.replicas ?? 0)
    out.add(name + "status_replicas_ready", [], status?.readyReplicas ?? 0)
    out.add(name + "status_replicas_available", [], status?.availableReplicas ?? 0)
    out.add(name + "status_replicas_current", [], status?.currentReplicas ?? 0)
    out.add(name + "status_replicas_updated", [], status?.updatedReplicas ?? 0)
    out.add(name + "status_observed_generation", [], status?.observedGeneration)
    if let revision = status?.currentRevision {
        out.add(name + "status_current_revision", [("revision", revision)], 1.0)
    }
    if let revision = status?.updateRevision {
        out.add(name + "status_update_revision", [("revision", revision)], 1.0)
    }
    return out.take()
}

func daemonSetSamples(_ set: DaemonSet, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", set.namespace), ("daemonset", set.name)])
    let name = "kube_daemonset_"
    let status = set.status
    out.add(name + "created", milliseconds: set.metadata.creationTimestamp?.milliseconds)
    out.add(name + "metadata_generation", [], set.metadata.generation)
    out.add(name + "status_current_number_scheduled", [], status?.currentNumberScheduled ?? 0)
    out.add(name + "status_desired_number_scheduled", [], status?.desiredNumberScheduled ?? 0)
    out.add(name + "status_number_available", [], status?.numberAvailable ?? 0)
    out.add(name + "status_number_misscheduled", [], status?.numberMisscheduled ?? 0)
    out.add(name + "status_number_ready", [], status?.numberReady ?? 0)
    out.add(name + "status_number_unavailable", [], status?.numberUnavailable ?? 0)
    out.add(name + "status_updated_number_scheduled", [], status?.updatedNumberScheduled ?? 0)
    out.add(name + "status_observed_generation", [], status?.observedGeneration ?? 0)
    return out.take()
}

private let knownFailures = ["BackoffLimitExceeded", "DeadlineExceeded", "Evicted"]

func jobSamples(_ job: Job, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", job.namespace), ("job_name", job.name)])
    let name = "kube_job_"
    let status = job.status
    out.add(name + "info", [], 1.0)
    addOwners(name + "owner", job.metadata, &out)
    out.add(name + "created", milliseconds: job.metadata.creationTimestamp?.milliseconds)
    out.add(name + "spec_parallelism", [], job.spec?.parallelism)
    out.add(name + "spec_completions", [], job.spec?.completions)
    out.add(name + "spec_active_deadline_seconds", [], job.spec?.activeDeadlineSeconds)
    out.add(name + "status_active", [], status?.active ?? 0)
    out.add(name + "status_succeeded", [], status?.succeeded ?? 0)
    let failure = status?.conditions?.first { $0.type == "Failed" && $0.status == "True" }
    if let reason = failure?.reason, knownFailures.contains(reason) {
        out.addState(name + "status_failed", "reason", knownFailures, is: reason)
    } else {
        out.add(name + "status_failed", [("reason", "")], status?.failed ?? 0)
    }
    out.add(name + "status_start_time", milliseconds: status?.startTime?.milliseconds)
    out.add(name + "status_completion_time", milliseconds: status?.completionTime?.milliseconds)
    for condition in status?.conditions ?? [] {
        switch condition.type {
        case "Complete": out.addCondition(name + "complete", [], condition.status, as: "condition")
        case "Failed": out.addCondition(name + "failed", [], condition.status, as: "condition")
        default: break
        }
    }
    return out.take()
}

func cronJobSamples(_ job: CronJob, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", job.namespace), ("cronjob", job.name)])
    let name = "kube_cronjob_"
    out.add(
        name + "info",
        [
            ("schedule", job.spec?.schedule ?? ""), ("concurrency_policy", job.spec?.concurrencyPolicy ?? ""),
            ("timezone", job.spec?.timeZone ?? "local"),
        ], 1.0)
    out.add(name + "created", milliseconds: job.metadata.creationTimestamp?.milliseconds)
    out.add(name + "spec_suspend", flag: job.spec?.suspend ?? false)
    out.add(name + "status_active", [], job.status?.active?.count ?? 0)
    out.add(name + "status_last_schedule_time", milliseconds: job.status?.lastScheduleTime?.milliseconds)
    out.add(name + "status_last_successful_time", milliseconds: job.status?.lastSuccessfulTime?.milliseconds)
    return out.take()
}

func budgetSamples(_ budget: PodDisruptionBudget, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", budget.namespace), ("poddisruptionbudget", budget.name)])
    let name = "kube_poddisruptionbudget_"
    out.add(name + "created", milliseconds: budget.metadata.creationTimestamp?.milliseconds)
    out.add(name + "status_current_healthy", [], budget.status?.currentHealthy ?? 0)
    out.add(name + "status_desired_healthy", [], budget.status?.desiredHealthy ?? 0)
    out.add(name + "status_pod_disruptions_allowed", [], budget.status?.disruptionsAllowed ?? 0)
    out.add(name + "status_expected_pods", [], budget.status?.expectedPods ?? 0)
    out.add(name + "status_observed_generation", [], budget.status?.observedGeneration ?? 0)
    return out.take()
}

func claimSamples(_ claim: PersistentVolumeClaim, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", claim.namespace), ("persistentvolumeclaim", claim.name)])
    let name = "kube_persistentvolumeclaim_"
    out.add(
        name + "info",
        [
            ("storageclass", claim.spec?.storageClassName ?? ""), ("volumename", claim.spec?.volumeName ?? ""),
            ("volumemode", claim.spec?.volumeMode ?? ""),
        ], 1.0)
    out.add(name + "created", milliseconds: claim.metadata.creationTimestamp?.milliseconds)
    out.addState(name + "status_phase", "phase", ["Lost", "Bound", "Pending"], is: claim.status?.phase)
    if let size = claim.spec?.resources?.requests?["storage"]?.value {
        out.add(name + "resource_requests_storage_bytes", [], size)
    }
    for mode in claim.spec?.accessModes ?? [] { out.add(name + "access_mode", [("access_mode", mode)], 1.0) }
    return out.take()
}

func volumeSamples(_ volume: PersistentVolume, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("persistentvolume", volume.name)])
    let name = "kube_persistentvolume_"
    let phases = ["Pending", "Available", "Bound", "Released", "Failed"]
    out.addState(name + "status_phase", "phase", phases, is: volume.status?.phase)
    out.add(name + "info", [("storageclass", volume.spec?.storageClassName ?? "")], 1.0)
    if let claim = volume.spec?.claimRef {
        out.add(
            name + "claim_ref", [("name", claim.name ?? ""), ("claim_namespace", claim.namespace ?? "")], 1.0)
    }
    if let size = volume.spec?.capacity?["storage"]?.value { out.add(name + "capacity_bytes", [], size) }
    return out.take()
}

func quotaSamples(_ quota: ResourceQuota, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(common + [("namespace", quota.namespace), ("resourcequota", quota.name)])
    for (type, amounts) in [("hard", quota.status?.hard), ("used", quota.status?.used)] {
        for (resource, quantity) in amounts ?? [:] {
            if let value = quantity.value {
                out.add("kube_resourcequota", [("resource", resource), ("type", type)], value)
            }
        }
    }
    out.add("kube_resourcequota_created", milliseconds: quota.metadata.creationTimestamp?.milliseconds)
    return out.take()
}
