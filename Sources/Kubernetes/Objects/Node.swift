package struct Node: KubernetesObject {
    package static let resource = ResourceType("", ["v1"], kind: "Node", "nodes", namespaced: false)

    package struct Taint: Sendable, Hashable, Codable {
        package var key: String
        package var value: String?
        package var effect: String
    }

    package struct Spec: Sendable, Hashable, Codable {
        package var unschedulable: Bool?
        package var taints: [Taint]?
        package var podCIDR: String?
        package var podCIDRs: [String]?
        package var providerID: String?
    }

    package struct Address: Sendable, Hashable, Codable {
        /// InternalIP, ExternalIP, Hostname …
        package var type: String
        package var address: String
    }

    package struct Info: Sendable, Hashable, Codable {
        package var kernelVersion: String?
        package var osImage: String?
        package var containerRuntimeVersion: String?
        package var kubeletVersion: String?
        package var kubeProxyVersion: String?
        package var operatingSystem: String?
        package var architecture: String?
        package var systemUUID: String?
        package var machineID: String?
        package var bootID: String?
    }

    package struct KubeletEndpoint: Sendable, Hashable, Codable {
        package var port: Int?
        enum CodingKeys: String, CodingKey { case port = "Port" }
    }

    package struct DaemonEndpoints: Sendable, Hashable, Codable {
        package var kubeletEndpoint: KubeletEndpoint?
    }

    package struct Status: Sendable, Hashable, Codable {
        package var capacity: [String: Quantity]?
        package var allocatable: [String: Quantity]?
        package var conditions: [Condition]?
        package var addresses: [Address]?
        package var nodeInfo: Info?
        package var daemonEndpoints: DaemonEndpoints?
    }

    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: Status?

    package var isReady: Bool { status?.conditions?.first { $0.type == "Ready" }?.status == "True" }
    package var isUnschedulable: Bool { spec?.unschedulable ?? false }
    /// By its label, whose name changed with 1.20 and 1.24.
    package var isControlPlane: Bool {
        let labels = metadata.labels ?? [:]
        return labels["node-role.kubernetes.io/control-plane"] != nil || labels["node-role.kubernetes.io/master"] != nil
    }
    package func address(_ type: String) -> String? { status?.addresses?.first { $0.type == type }?.address }
}

package struct Namespace: KubernetesObject {
    package static let resource = ResourceType("", ["v1"], kind: "Namespace", "namespaces", namespaced: false)
    package struct Status: Sendable, Hashable, Codable { package var phase: String? }
    package var metadata: ObjectMeta
    package var status: Status?
}
