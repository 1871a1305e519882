import FoundationEssentials
package import Kubernetes
import Platform

private struct RoleRule: Sendable, Hashable, Codable {
    var verbs: [String]?
    var apiGroups: [String]?
    var resources: [String]?
}

private struct RoleReference: Sendable, Hashable, Codable { var name: String }

private struct RoleSubject: Sendable, Hashable, Codable {
    var kind: String
    var name: String
    var namespace: String?
}

private struct ClusterRole: KubernetesObject {
    static let resource = ResourceType(
        "rbac.authorization.k8s.io", ["v1"], kind: "ClusterRole", "clusterroles", namespaced: false)
    var metadata: ObjectMeta
    var rules: [RoleRule]?
}

private struct ClusterRoleBinding: KubernetesObject {
    static let resource = ResourceType(
        "rbac.authorization.k8s.io", ["v1"], kind: "ClusterRoleBinding", "clusterrolebindings", namespaced: false)
    var metadata: ObjectMeta
    var roleRef: RoleReference
    var subjects: [RoleSubject]?
}

private struct ServiceAccount: KubernetesObject {
    static let resource = ResourceType("", ["v1"], kind: "ServiceAccount", "serviceaccounts")
    var metadata: ObjectMeta
    var automountServiceAccountToken: Bool?
}

/// Of a secret no more than this is decoded: whether and until when a bootstrap token counts.
private struct TokenSecret: KubernetesObject {
    static let resource = ResourceType("", ["v1"], kind: "Secret", "secrets")
    struct Fields: Sendable, Hashable, Codable {
        var identity: Data?
        var expiration: Data?
        enum CodingKeys: String, CodingKey {
            case identity = "token-id"
            case expiration
        }
    }
    var metadata: ObjectMeta
    var data: Fields?
}

/// Gathers `ClusterFacts` from the API server. Reads only.
package struct ClusterFactsReader: Sendable {
    private let client: KubernetesClient

    package init(_ client: KubernetesClient) { self.client = client }

    /// What could be read; what could not is in the notes. Throws where the API server does not answer at all.
    package func read() async throws(KubernetesError) -> ClusterFacts {
        var facts = ClusterFacts()
        facts.minor = try await client.version().numbers?.minor ?? 0
        func list<T: KubernetesObject>(
            _ type: T.Type, _ what: String, namespace: String? = nil, options: ListOptions = ListOptions()
        ) async -> [T] {
            do {
                return try await client.list(type, namespace: namespace, options: options)
            } catch {
                facts.notes.append("\(what) cannot be read: \(error.message)")
                return []
            }
        }
        facts.pods = await list(Pod.self, "pods").map(Self.pod)
        facts.roles = await list(ClusterRole.self, "cluster roles").map { role in
            ClusterFacts.Role(
                name: role.name,
                rules: (role.rules ?? []).map {
                    ClusterFacts.Rule(verbs: $0.verbs ?? [], groups: $0.apiGroups ?? [], resources: $0.resources ?? [])
                })
        }
        facts.bindings = await list(ClusterRoleBinding.self, "cluster role bindings").map { binding in
            ClusterFacts.Binding(
                name: binding.name, role: binding.roleRef.name,
                subjects: (binding.subjects ?? []).map {
                    "\($0.kind) \($0.namespace.map { $0 + "/" } ?? "")\($0.name)"
                })
        }
        facts.accounts = await list(
            ServiceAccount.self, "service accounts", options: ListOptions(fieldSelector: "metadata.name=default")
        ).map {
            ClusterFacts.Account(namespace: $0.namespace, name: $0.name, mountsToken: $0.automountServiceAccountToken)
        }
        facts.spaces = await list(Namespace.self, "namespaces").map {
            ClusterFacts.Space(name: $0.name, enforced: $0.metadata.labels?["pod-security.kubernetes.io/enforce"])
        }
        facts.tokens = await list(
            TokenSecret.self, "bootstrap tokens", namespace: "kube-system",
            options: ListOptions(fieldSelector: "type=bootstrap.kubernetes.io/token")
        ).map { secret in
            let text = secret.data?.expiration.map { String(decoding: $0, as: UTF8.self) }
            return ClusterFacts.BootstrapToken(
                id: secret.data?.identity.map { String(decoding: $0, as: UTF8.self) } ?? secret.name,
                expires: text.flatMap { parseRFC3339Microseconds($0) }.map { $0 / 1000 })
        }
        return facts
    }

    private static func pod(_ pod: Pod) -> ClusterFacts.PodFacts {
        var facts = ClusterFacts.PodFacts(id: "\(pod.namespace)/\(pod.name)", namespace: pod.namespace)
        let containers = (pod.spec?.containers ?? []) + (pod.spec?.initContainers ?? [])
        facts.isPrivileged = containers.contains { $0.securityContext?.privileged == true }
        facts.usesHostNetwork = pod.spec?.hostNetwork ?? false
        facts.usesHostProcesses = (pod.spec?.hostPID ?? false) || (pod.spec?.hostIPC ?? false)
        facts.hostPaths = pod.spec?.volumes?.compactMap { $0.hostPath?.path } ?? []
        facts.serviceAccount = pod.spec?.serviceAccountName ?? "default"
        facts.mountsToken = pod.spec?.automountServiceAccountToken
        return facts
    }
}
