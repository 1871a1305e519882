package import FoundationEssentials

/// Every field of coordination.k8s.io/v1, so that it may be replaced.
package struct Lease: WholeObject {
    package static let resource = ResourceType("coordination.k8s.io", ["v1"], kind: "Lease", "leases")
    package struct Spec: Sendable, Hashable, Codable {
        package var holderIdentity: String?
        package var leaseDurationSeconds: Int?
        package var acquireTime: MicroTime?
        package var renewTime: MicroTime?
        package var leaseTransitions: Int?
        package var strategy: String?
        package var preferredHolder: String?
        package init() {}
    }
    package var metadata: ObjectMeta
    package var spec: Spec?

    package init(metadata: ObjectMeta, spec: Spec? = nil) {
        self.metadata = metadata
        self.spec = spec
    }
}

package struct ConfigMap: WholeObject {
    package static let resource = ResourceType("", ["v1"], kind: "ConfigMap", "configmaps")
    package var metadata: ObjectMeta
    package var data: [String: String]?
    package var binaryData: [String: Data]?
    package var immutable: Bool?

    package init(metadata: ObjectMeta, data: [String: String]? = nil) {
        self.metadata = metadata
        self.data = data
    }
}

/// Its data is never to be printed.
package struct Secret: WholeObject, CustomStringConvertible {
    package static let resource = ResourceType("", ["v1"], kind: "Secret", "secrets")
    package var metadata: ObjectMeta
    package var type: String?
    package var data: [String: Data]?
    package var immutable: Bool?

    package init(metadata: ObjectMeta, type: String? = nil, data: [String: Data]? = nil) {
        self.metadata = metadata
        self.type = type
        self.data = data
    }

    package var description: String { "Secret \(key) with \(data?.count ?? 0) entries" }
}

package struct PersistentVolumeClaim: KubernetesObject {
    package static let resource = ResourceType("", ["v1"], kind: "PersistentVolumeClaim", "persistentvolumeclaims")
    package struct Spec: Sendable, Hashable, Codable {
        package var storageClassName: String?
        package var volumeName: String?
        package var volumeMode: String?
        package var accessModes: [String]?
        package var resources: Pod.Resources?
    }
    package struct Status: Sendable, Hashable, Codable {
        package var phase: String?
        package var capacity: [String: Quantity]?
        package var conditions: [Condition]?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
    package var status: Status?
}

/// A core/v1 Event. `count` and the timestamps of it move as the same thing happens again; events made through
/// events.k8s.io have `eventTime` and `series` instead.
package struct Event: KubernetesObject {
    package static let resource = ResourceType("", ["v1"], kind: "Event", "events")
    package struct Source: Sendable, Hashable, Codable {
        package var component: String?
        package var host: String?
    }
    package struct Series: Sendable, Hashable, Codable {
        package var count: Int?
        package var lastObservedTime: MicroTime?
    }
    package var metadata: ObjectMeta
    package var involvedObject: ObjectReference?
    package var reason: String?
    package var message: String?
    package var type: String?
    package var count: Int?
    package var firstTimestamp: Timestamp?
    package var lastTimestamp: Timestamp?
    package var eventTime: MicroTime?
    package var series: Series?
    package var source: Source?
    package var reportingComponent: String?
    package var reportingInstance: String?
    package var action: String?

    package init(metadata: ObjectMeta) { self.metadata = metadata }

    /// How often it has happened, whichever way that is written.
    package var occurrences: Int { max(1, series?.count ?? count ?? 1) }
}
