package struct Pod: KubernetesObject {
    package static let resource = ResourceType("", ["v1"], kind: "Pod", "pods")

    package struct Resources: Sendable, Hashable, Codable {
        package var requests: [String: Quantity]?
        package var limits: [String: Quantity]?
    }

    package struct Port: Sendable, Hashable, Codable {
        package var name: String?
        package var containerPort: Int
        package var `protocol`: String?
        package var hostPort: Int?
    }

    package struct SecurityContext: Sendable, Hashable, Codable {
        package var privileged: Bool?
        package var runAsNonRoot: Bool?
        package var runAsUser: Int64?
        package var allowPrivilegeEscalation: Bool?
        package var readOnlyRootFilesystem: Bool?
    }

    package struct Container: Sendable, Hashable, Codable {
        package var name: String
        package var image: String?
        package var command: [String]?
        package var args: [String]?
        package var ports: [Port]?
        package var resources: Resources?
        package var securityContext: SecurityContext?
        /// `Always` on an init container makes it a sidecar.
        package var restartPolicy: String?
    }

    package struct Volume: Sendable, Hashable, Codable {
        package struct EmptyDirectory: Sendable, Hashable, Codable { package var medium: String? }
        package struct HostPath: Sendable, Hashable, Codable { package var path: String? }
        package struct Claim: Sendable, Hashable, Codable { package var claimName: String? }
        package var name: String
        package var emptyDir: EmptyDirectory?
        package var hostPath: HostPath?
        package var persistentVolumeClaim: Claim?
    }

    package struct Spec: Sendable, Hashable, Codable {
        package var nodeName: String?
        package var hostNetwork: Bool?
        package var hostPID: Bool?
        package var hostIPC: Bool?
        package var serviceAccountName: String?
        package var automountServiceAccountToken: Bool?
        package var priorityClassName: String?
        package var terminationGracePeriodSeconds: Int?
        package var restartPolicy: String?
        package var schedulerName: String?
        package var overhead: [String: Quantity]?
        package var securityContext: SecurityContext?
        package var containers: [Container]?
        package var initContainers: [Container]?
        package var volumes: [Volume]?
    }

    package struct ContainerState: Sendable, Hashable, Codable {
        package struct Waiting: Sendable, Hashable, Codable {
            package var reason: String?
            package var message: String?
        }
        package struct Running: Sendable, Hashable, Codable { package var startedAt: Timestamp? }
        package struct Terminated: Sendable, Hashable, Codable {
            package var reason: String?
            package var message: String?
            package var exitCode: Int?
            package var signal: Int?
            package var startedAt: Timestamp?
            package var finishedAt: Timestamp?
            package var containerID: String?
        }
        package var waiting: Waiting?
        package var running: Running?
        package var terminated: Terminated?
    }

    package struct ContainerStatus: Sendable, Hashable, Codable {
        package var name: String
        package var ready: Bool?
        package var started: Bool?
        package var restartCount: Int?
        package var image: String?
        package var imageID: String?
        package var containerID: String?
        package var state: ContainerState?
        package var lastState: ContainerState?
    }

    package struct IP: Sendable, Hashable, Codable { package var ip: String? }

    package struct Status: Sendable, Hashable, Codable {
        package var phase: String?
        package var reason: String?
        package var message: String?
        package var hostIP: String?
        package var podIP: String?
        package var podIPs: [IP]?
        package var startTime: Timestamp?
        package var qosClass: String?
        package var conditions: [Condition]?
        package var containerStatuses: [ContainerStatus]?
        package var initContainerStatuses: [ContainerStatus]?
    }

    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: Status?

    package var isReady: Bool { status?.conditions?.first { $0.type == "Ready" }?.status == "True" }
    package var isTerminal: Bool { status?.phase == "Succeeded" || status?.phase == "Failed" }
    /// Made by a kubelet from a file of its own; it cannot be evicted.
    package var isMirror: Bool { metadata.annotations?["kubernetes.io/config.mirror"] != nil }
    package var isOfDaemonSet: Bool { metadata.controller?.kind == "DaemonSet" }
}
