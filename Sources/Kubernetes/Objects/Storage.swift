package struct PersistentVolume: KubernetesObject {
    package static let resource = ResourceType(
        "", ["v1"], kind: "PersistentVolume", "persistentvolumes", namespaced: false)
    package struct Spec: Sendable, Hashable, Codable {
        package var storageClassName: String?
        package var capacity: [String: Quantity]?
        package var claimRef: ObjectReference?
    }
    package struct Status: Sendable, Hashable, Codable { package var phase: String? }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: Status?
}

package struct ResourceQuota: KubernetesObject {
    package static let resource = ResourceType("", ["v1"], kind: "ResourceQuota", "resourcequotas")
    package struct Status: Sendable, Hashable, Codable {
        package var hard: [String: Quantity]?
        package var used: [String: Quantity]?
    }
    package var metadata: ObjectMeta
    package var status: Status?
}
