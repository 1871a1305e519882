import Kubernetes

private let phases = ["Pending", "Succeeded", "Failed", "Unknown", "Running"]
private let podReasons = ["Evicted", "NodeAffinity", "NodeLost", "Shutdown", "UnexpectedAdmissionError"]

/// kube-state-metrics' families of pods.
func podSamples(_ pod: Pod, _ common: [(String, String)]) -> [StateSample] {
    var out = SampleMaker(
        common + [("namespace", pod.namespace), ("pod", pod.name), ("uid", pod.metadata.uid ?? "")])
    let controller = pod.metadata.controller
    out.add(
        "kube_pod_info",
        [
            ("host_ip", pod.status?.hostIP ?? ""), ("pod_ip", pod.status?.podIP ?? ""),
            ("node", pod.spec?.nodeName ?? ""), ("created_by_kind", controller?.kind ?? ""),
            ("created_by_name", controller?.name ?? ""), ("priority_class", pod.spec?.priorityClassName ?? ""),
            ("host_network", pod.spec?.hostNetwork ?? false ? "true" : "false"),
        ], 1.0)
    addOwners("kube_pod_owner", pod.metadata, &out)
    out.add("kube_pod_created", milliseconds: pod.metadata.creationTimestamp?.milliseconds)
    out.add("kube_pod_deletion_timestamp", milliseconds: pod.metadata.deletionTimestamp?.milliseconds)
    out.add("kube_pod_start_time", milliseconds: pod.status?.startTime?.milliseconds)
    if let policy = pod.spec?.restartPolicy { out.add("kube_pod_restart_policy", [("type", policy)], 1.0) }
    out.addState("kube_pod_status_phase", "phase", phases, is: pod.status?.phase)
    out.addState("kube_pod_status_reason", "reason", podReasons, is: pod.status?.reason)
    if let qos = pod.status?.qosClass {
        out.addState("kube_pod_status_qos_class", "qos_class", ["BestEffort", "Burstable", "Guaranteed"], is: qos)
    }
    for condition in pod.status?.conditions ?? [] {
        switch condition.type {
        case "Ready":
            out.addCondition("kube_pod_status_ready", [], condition.status, as: "condition")
            if condition.status == "True" {
                out.add("kube_pod_status_ready_time", milliseconds: condition.lastTransitionTime?.milliseconds)
            }
        case "PodScheduled":
            out.addCondition("kube_pod_status_scheduled", [], condition.status, as: "condition")
            if condition.status == "True" {
                out.add("kube_pod_status_scheduled_time", milliseconds: condition.lastTransitionTime?.milliseconds)
            } else if condition.reason == "Unschedulable" {
                out.add("kube_pod_status_unschedulable", [], 1.0)
            }
        default: break
        }
    }
    for volume in pod.spec?.volumes ?? [] {
        guard let claim = volume.persistentVolumeClaim?.claimName else { continue }
        out.add(
            "kube_pod_spec_volumes_persistentvolumeclaims_info",
            [("volume", volume.name), ("persistentvolumeclaim", claim)], 1.0)
    }
    addContainers(pod.spec?.containers, pod.status?.containerStatuses, "kube_pod_container", pod, &out)
    addContainers(pod.spec?.initContainers, pod.status?.initContainerStatuses, "kube_pod_init_container", pod, &out)
    return out.take()
}

private func addContainers(
    _ containers: [Pod.Container]?, _ statuses: [Pod.ContainerStatus]?, _ prefix: String, _ pod: Pod,
    _ out: inout SampleMaker
) {
    for container in containers ?? [] {
        let labels = [("container", container.name), ("node", pod.spec?.nodeName ?? "")]
        for (name, quantity) in container.resources?.requests ?? [:] {
            out.addResource(prefix + "_resource_requests", name, quantity, labels)
        }
        for (name, quantity) in container.resources?.limits ?? [:] {
            out.addResource(prefix + "_resource_limits", name, quantity, labels)
        }
    }
    for status in statuses ?? [] {
        let labels = [("container", status.name)]
        let spec = containers?.first { $0.name == status.name }
        out.add(
            prefix + "_info",
            labels + [
                ("image_spec", spec?.image ?? ""), ("image", status.image ?? ""), ("image_id", status.imageID ?? ""),
                ("container_id", status.containerID ?? ""),
            ], 1.0)
        out.add(prefix + "_status_ready", labels, flag: status.ready ?? false)
        out.add(prefix + "_status_restarts_total", labels, status.restartCount ?? 0)
        let state = status.state
        out.add(prefix + "_status_waiting", labels, flag: state?.waiting != nil)
        out.add(prefix + "_status_running", labels, flag: state?.running != nil)
        out.add(prefix + "_status_terminated", labels, flag: state?.terminated != nil)
        if let reason = state?.waiting?.reason {
            out.add(prefix + "_status_waiting_reason", labels + [("reason", reason)], 1.0)
        }
        if let reason = state?.terminated?.reason {
            out.add(prefix + "_status_terminated_reason", labels + [("reason", reason)], 1.0)
        }
        out.add(
            prefix + "_state_started", labels,
            milliseconds: (state?.running?.startedAt ?? state?.terminated?.startedAt)?.milliseconds)
        guard let last = status.lastState?.terminated else { continue }
        if let reason = last.reason {
            out.add(prefix + "_status_last_terminated_reason", labels + [("reason", reason)], 1.0)
        }
        out.add(prefix + "_status_last_terminated_exitcode", labels, last.exitCode)
        out.add(prefix + "_status_last_terminated_timestamp", labels, milliseconds: last.finishedAt?.milliseconds)
    }
}

/// One series for each owner, or one without an owner, as kube-state-metrics has it.
func addOwners(_ name: String, _ meta: ObjectMeta, _ out: inout SampleMaker) {
    let owners = meta.ownerReferences ?? []
    if owners.isEmpty {
        out.add(name, [("owner_kind", ""), ("owner_name", ""), ("owner_is_controller", "")], 1.0)
    }
    for owner in owners {
        out.add(
            name,
            [
                ("owner_kind", owner.kind), ("owner_name", owner.name),
                ("owner_is_controller", owner.controller ?? false ? "true" : "false"),
            ], 1.0)
    }
}
