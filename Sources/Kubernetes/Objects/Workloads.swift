/// Fields that Deployment, ReplicaSet and StatefulSet have in common.
package struct ReplicaStatus: Sendable, Hashable, Codable {
    package var replicas: Int?
    package var readyReplicas: Int?
    package var availableReplicas: Int?
    package var unavailableReplicas: Int?
    package var updatedReplicas: Int?
    package var fullyLabeledReplicas: Int?
    package var currentReplicas: Int?
    package var currentRevision: String?
    package var updateRevision: String?
    package var observedGeneration: Int?
    package var conditions: [Condition]?
}

package struct Deployment: KubernetesObject {
    package static let resource = ResourceType("apps", ["v1"], kind: "Deployment", "deployments")
    package struct RollingUpdate: Sendable, Hashable, Codable {
        package var maxUnavailable: IntOrString?
        package var maxSurge: IntOrString?
    }
    package struct Strategy: Sendable, Hashable, Codable {
        package var type: String?
        package var rollingUpdate: RollingUpdate?
    }
    package struct Spec: Sendable, Hashable, Codable {
        package var replicas: Int?
        package var paused: Bool?
        package var selector: LabelSelector?
        package var strategy: Strategy?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: ReplicaStatus?
}

package struct ReplicaSet: KubernetesObject {
    package static let resource = ResourceType("apps", ["v1"], kind: "ReplicaSet", "replicasets")
    package struct Spec: Sendable, Hashable, Codable {
        package var replicas: Int?
        package var selector: LabelSelector?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: ReplicaStatus?
}

package struct StatefulSet: KubernetesObject {
    package static let resource = ResourceType("apps", ["v1"], kind: "StatefulSet", "statefulsets")
    package struct Spec: Sendable, Hashable, Codable {
        package var replicas: Int?
        package var selector: LabelSelector?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: ReplicaStatus?
}

package struct DaemonSet: KubernetesObject {
    package static let resource = ResourceType("apps", ["v1"], kind: "DaemonSet", "daemonsets")
    package struct Spec: Sendable, Hashable, Codable { package var selector: LabelSelector? }
    package struct Status: Sendable, Hashable, Codable {
        package var currentNumberScheduled: Int?
        package var desiredNumberScheduled: Int?
        package var numberAvailable: Int?
        package var numberMisscheduled: Int?
        package var numberReady: Int?
        package var numberUnavailable: Int?
        package var updatedNumberScheduled: Int?
        package var observedGeneration: Int?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: Status?
}

package struct Job: KubernetesObject {
    package static let resource = ResourceType("batch", ["v1"], kind: "Job", "jobs")
    package struct Spec: Sendable, Hashable, Codable {
        package var parallelism: Int?
        package var completions: Int?
        package var activeDeadlineSeconds: Int?
        package var backoffLimit: Int?
        package var suspend: Bool?
    }
    package struct Status: Sendable, Hashable, Codable {
        package var active: Int?
        package var succeeded: Int?
        package var failed: Int?
        package var startTime: Timestamp?
        package var completionTime: Timestamp?
        package var conditions: [Condition]?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: Status?
}

package struct CronJob: KubernetesObject {
    package static let resource = ResourceType("batch", ["v1", "v1beta1"], kind: "CronJob", "cronjobs")
    package struct Spec: Sendable, Hashable, Codable {
        package var schedule: String?
        package var timeZone: String?
        package var suspend: Bool?
        package var concurrencyPolicy: String?
        package var startingDeadlineSeconds: Int?
        package var successfulJobsHistoryLimit: Int?
        package var failedJobsHistoryLimit: Int?
    }
    package struct Reference: Sendable, Hashable, Codable { package var name: String? }
    package struct Status: Sendable, Hashable, Codable {
        package var active: [Reference]?
        package var lastScheduleTime: Timestamp?
        package var lastSuccessfulTime: Timestamp?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: Status?
}

package struct PodDisruptionBudget: KubernetesObject {
    package static let resource = ResourceType(
        "policy", ["v1", "v1beta1"], kind: "PodDisruptionBudget", "poddisruptionbudgets")
    package struct Spec: Sendable, Hashable, Codable {
        package var minAvailable: IntOrString?
        package var maxUnavailable: IntOrString?
        package var selector: LabelSelector?
        package var unhealthyPodEvictionPolicy: String?
    }
    package struct Status: Sendable, Hashable, Codable {
        package var disruptionsAllowed: Int?
        package var currentHealthy: Int?
        package var desiredHealthy: Int?
        package var expectedPods: Int?
        package var observedGeneration: Int?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: Status?

    /// Whether it protects the pod. In v1beta1 an empty or absent selector matches no pod, in v1 an empty one all of the
    /// namespace; the server's own count (`expectedPods`) tells which.
    package func protects(_ pod: Pod) -> Bool {
        guard pod.namespace == namespace, let selector = spec?.selector else { return false }
        let isEmpty = (selector.matchLabels ?? [:]).isEmpty && (selector.matchExpressions ?? []).isEmpty
        if isEmpty { return (status?.expectedPods ?? 0) > 0 }
        return selector.matches(pod.metadata.labels ?? [:])
    }
}
