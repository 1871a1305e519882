/// What the API tells of a cluster's posture: all that the cluster checks look at.
package struct ClusterFacts: Sendable, Hashable, Codable {
    package struct PodFacts: Sendable, Hashable, Codable {
        package var id: String
        package var namespace: String
        package var isPrivileged = false
        package var usesHostNetwork = false
        package var usesHostProcesses = false
        package var hostPaths: [String] = []
        package var serviceAccount = "default"
        /// The pod's own word; nil leaves it to the account.
        package var mountsToken: Bool?
    }

    package struct Rule: Sendable, Hashable, Codable {
        package var verbs: [String]
        package var groups: [String]
        package var resources: [String]
    }

    package struct Role: Sendable, Hashable, Codable {
        package var name: String
        package var rules: [Rule]
    }

    package struct Binding: Sendable, Hashable, Codable {
        package var name: String
        package var role: String
        /// `User alice`, `Group g`, `ServiceAccount ns/name`
        package var subjects: [String]
    }

    package struct Account: Sendable, Hashable, Codable {
        package var namespace: String
        package var name: String
        package var mountsToken: Bool?
    }

    package struct Space: Sendable, Hashable, Codable {
        package var name: String
        /// `pod-security.kubernetes.io/enforce`
        package var enforced: String?
    }

    package struct BootstrapToken: Sendable, Hashable, Codable {
        package var id: String
        /// Milliseconds since 1970 UTC; nil: it never expires.
        package var expires: Int64?
    }

    package var minor = 0
    package var pods: [PodFacts] = []
    package var roles: [Role] = []
    package var bindings: [Binding] = []
    package var accounts: [Account] = []
    package var spaces: [Space] = []
    package var tokens: [BootstrapToken] = []
    /// What could not be read, and why.
    package var notes: [String] = []

    package init() {}
}
