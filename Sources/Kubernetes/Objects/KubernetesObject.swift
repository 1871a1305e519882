import Platform

/// Where a kind of object lives in the API.
package struct ResourceType: Sendable, Hashable {
    /// Empty for the core group.
    package let group: String
    /// Newest first; the server's discovery decides which is used.
    package let versions: [String]
    package let kind: String
    /// The plural in paths.
    package let name: String
    package let isNamespaced: Bool

    package init(_ group: String, _ versions: [String], kind: String, _ name: String, namespaced: Bool = true) {
        self.group = group
        self.versions = versions
        self.kind = kind
        self.name = name
        isNamespaced = namespaced
    }

    package func apiVersion(_ version: String) -> String { group.isEmpty ? version : "\(group)/\(version)" }

    /// The path of the collection, or of one object in it. No namespace means all of them.
    package func path(version: String, namespace: String? = nil, name object: String? = nil, sub: String? = nil)
        -> String
    {
        var path = group.isEmpty ? "/api/\(version)" : "/apis/\(group)/\(version)"
        if isNamespaced, let namespace { path += "/namespaces/\(percentEncoded(namespace))" }
        path += "/\(name)"
        if let object { path += "/\(percentEncoded(object))" }
        if let sub { path += "/\(sub)" }
        return path
    }
}

/// An object of the API with those of its fields that this program reads. Decoding ignores all others, so writing one back
/// whole would lose them: that is open to `WholeObject`s only; all else is changed by a patch.
package protocol KubernetesObject: Codable, Sendable, Equatable {
    static var resource: ResourceType { get }
    var metadata: ObjectMeta { get set }
}

/// An object of which every field is known here, so that it may be replaced.
package protocol WholeObject: KubernetesObject {}

/// Which object of its kind; `namespace` is empty for those of the cluster.
package struct ObjectKey: Sendable, Hashable, CustomStringConvertible {
    package var namespace: String
    package var name: String

    package init(namespace: String = "", name: String) {
        self.namespace = namespace
        self.name = name
    }

    package var description: String { namespace.isEmpty ? name : "\(namespace)/\(name)" }
}

extension KubernetesObject {
    package var key: ObjectKey { ObjectKey(namespace: metadata.namespace ?? "", name: metadata.name ?? "") }
    package var name: String { metadata.name ?? "" }
    package var namespace: String { metadata.namespace ?? "" }
}

package struct OwnerReference: Sendable, Hashable, Codable {
    package var apiVersion: String?
    package var kind: String
    package var name: String
    package var uid: String?
    package var controller: Bool?
    package var blockOwnerDeletion: Bool?
}

package struct ObjectMeta: Sendable, Hashable, Codable {
    package var name: String?
    package var namespace: String?
    package var generateName: String?
    package var uid: String?
    package var resourceVersion: String?
    package var generation: Int?
    package var creationTimestamp: Timestamp?
    package var deletionTimestamp: Timestamp?
    package var deletionGracePeriodSeconds: Int?
    package var labels: [String: String]?
    package var annotations: [String: String]?
    package var ownerReferences: [OwnerReference]?
    package var finalizers: [String]?

    package init(name: String? = nil, namespace: String? = nil) {
        self.name = name
        self.namespace = namespace
    }

    /// The owner that manages the object.
    package var controller: OwnerReference? { ownerReferences?.first { $0.controller == true } }
}

/// A list, or one page of it. An `items` of null is an empty list.
package struct ObjectList<Object: KubernetesObject>: Sendable, Decodable {
    package struct Meta: Sendable, Decodable {
        package var resourceVersion: String?
        package var `continue`: String?
        package var remainingItemCount: Int?
    }

    package var metadata: Meta?
    package var items: [Object]

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        metadata = try container.decodeIfPresent(Meta.self, forKey: .metadata)
        items = try container.decodeIfPresent([Object].self, forKey: .items) ?? []
    }

    private enum CodingKeys: String, CodingKey { case metadata, items }
}

/// An object with the two fields that a body needs beside its own.
struct Envelope<Object: KubernetesObject>: Encodable {
    let apiVersion: String
    let object: Object

    func encode(to encoder: any Encoder) throws {
        try object.encode(to: encoder)
        var container = encoder.container(keyedBy: Keys.self)
        try container.encode(apiVersion, forKey: .apiVersion)
        try container.encode(Object.resource.kind, forKey: .kind)
    }

    private enum Keys: String, CodingKey { case apiVersion, kind }
}
