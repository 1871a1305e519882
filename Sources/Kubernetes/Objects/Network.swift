package struct Service: KubernetesObject {
    package static let resource = ResourceType("", ["v1"], kind: "Service", "services")
    package struct Port: Sendable, Hashable, Codable {
        package var name: String?
        package var `protocol`: String?
        package var port: Int
        package var targetPort: IntOrString?
        package var nodePort: Int?
    }
    package struct Spec: Sendable, Hashable, Codable {
        package var type: String?
        package var clusterIP: String?
        package var externalName: String?
        package var loadBalancerIP: String?
        package var selector: [String: String]?
        package var ports: [Port]?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
}

/// What an address of an endpoint stands for.
package struct ObjectReference: Sendable, Hashable, Codable {
    package var kind: String?
    package var namespace: String?
    package var name: String?
    package var uid: String?
    package var apiVersion: String?
    package var fieldPath: String?
}

package struct Endpoints: KubernetesObject {
    package static let resource = ResourceType("", ["v1"], kind: "Endpoints", "endpoints")
    package struct Address: Sendable, Hashable, Codable {
        package var ip: String
        package var hostname: String?
        package var nodeName: String?
        package var targetRef: ObjectReference?
    }
    package struct Port: Sendable, Hashable, Codable {
        package var name: String?
        package var port: Int
        package var `protocol`: String?
        package var appProtocol: String?
    }
    package struct Subset: Sendable, Hashable, Codable {
        package var addresses: [Address]?
        package var notReadyAddresses: [Address]?
        package var ports: [Port]?
    }
    package var metadata: ObjectMeta
    package var subsets: [Subset]?
}

/// In v1beta1 (Kubernetes before 1.21) a node and a zone are in `topology`.
package struct EndpointSlice: KubernetesObject {
    package static let resource = ResourceType(
        "discovery.k8s.io", ["v1", "v1beta1"], kind: "EndpointSlice", "endpointslices")
    package struct Conditions: Sendable, Hashable, Codable {
        package var ready: Bool?
        package var serving: Bool?
        package var terminating: Bool?
    }
    package struct Endpoint: Sendable, Hashable, Codable {
        package var addresses: [String]?
        package var conditions: Conditions?
        package var hostname: String?
        package var nodeName: String?
        package var zone: String?
        package var topology: [String: String]?
        package var deprecatedTopology: [String: String]?
        package var targetRef: ObjectReference?
    }
    package struct Port: Sendable, Hashable, Codable {
        package var name: String?
        package var port: Int?
        package var `protocol`: String?
        package var appProtocol: String?
    }
    package var metadata: ObjectMeta
    package var addressType: String?
    package var endpoints: [Endpoint]?
    package var ports: [Port]?
}

package struct Ingress: KubernetesObject {
    package static let resource = ResourceType(
        "networking.k8s.io", ["v1", "v1beta1"], kind: "Ingress", "ingresses")
    package struct Path: Sendable, Hashable, Codable { package var path: String? }
    package struct HTTP: Sendable, Hashable, Codable { package var paths: [Path]? }
    package struct Rule: Sendable, Hashable, Codable {
        package var host: String?
        package var http: HTTP?
    }
    package struct TLS: Sendable, Hashable, Codable { package var hosts: [String]? }
    package struct Spec: Sendable, Hashable, Codable {
        package var ingressClassName: String?
        package var rules: [Rule]?
        package var tls: [TLS]?
    }
    package var metadata: ObjectMeta
    package var spec: Spec?
}
