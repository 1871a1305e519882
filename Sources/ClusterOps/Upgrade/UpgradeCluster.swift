/// A node as an upgrade sees it.
package struct ClusterNode: Sendable, Hashable {
    package var name: String
    package var resourceVersion = ""
    package var isControlPlane = false
    /// The condition Ready is True.
    package var isReady = false
    /// What the condition says where it is not.
    package var readyMessage = ""
    package var kubelet: KubernetesVersion?
    /// Where ssh finds it.
    package var address = ""
    package var isUnschedulable = false
    /// The run that cordoned it, as the node's annotation says.
    package var cordonedBy: String?

    package init(name: String) { self.name = name }

    /// The annotation beside a cordon of ours.
    package static let cordonAnnotation = "kops-sidecar.io/cordoned-by"
}

/// A pod as an upgrade sees it.
package struct ClusterPod: Sendable, Hashable {
    package var namespace: String
    package var name: String
    package var uid = ""
    package var node = ""
    package var labels: [String: String] = [:]
    package var phase = "Running"
    package var isReady = true
    /// It has been told to go.
    package var isTerminating = false
    /// The mirror of a static pod: only its manifest's file stops it.
    package var isMirror = false
    /// Kind of its controller, `ReplicaSet` and so on; nil where nothing would make it anew.
    package var controllerKind: String?
    package var hasEmptyDir = false
    package var images: [String] = []

    package init(namespace: String, name: String) {
        self.namespace = namespace
        self.name = name
    }

    package var id: String { "\(namespace)/\(name)" }
    /// Succeeded or Failed: nothing of it runs.
    package var isOver: Bool { phase == "Succeeded" || phase == "Failed" }
}

/// A disruption budget as an upgrade sees it.
package struct ClusterBudget: Sendable {
    package var namespace: String
    package var name: String
    /// Whether it protects a pod with these labels.
    package var selects: @Sendable ([String: String]) -> Bool
    package var disruptionsAllowed = 0
    package var currentHealthy = 0
    package var desiredHealthy = 0
    package var expectedPods = 0

    package init(namespace: String, name: String, selects: @escaping @Sendable ([String: String]) -> Bool) {
        self.namespace = namespace
        self.name = name
        self.selects = selects
    }

    package func protects(_ pod: ClusterPod) -> Bool { pod.namespace == namespace && selects(pod.labels) }
    package var id: String { "\(namespace)/\(name)" }
    /// It asks for every pod there is: no eviction is ever allowed, however healthy all are.
    package var neverAllows: Bool { expectedPods > 0 && desiredHealthy >= expectedPods }
}

/// A deprecated version of an API that somebody asked for since the API server began.
package struct DeprecatedAPI: Sendable, Hashable, Codable {
    package var group: String
    package var version: String
    package var resource: String
    /// `1.22`; empty where it is not known yet.
    package var removedRelease: String

    package init(group: String, version: String, resource: String, removedRelease: String) {
        self.group = group
        self.version = version
        self.resource = resource
        self.removedRelease = removedRelease
    }

    package var id: String { (group.isEmpty ? version : "\(group)/\(version)") + " " + resource }

    /// Whether a server of that version no longer has it.
    package func isGone(in version: KubernetesVersion) -> Bool {
        let numbers = removedRelease.split(separator: ".").compactMap { Int($0) }
        return numbers.count == 2 && (numbers[0], numbers[1]) <= (version.major, version.minor)
    }
}

/// Why a call to the cluster's API failed.
package struct ClusterCallError: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// No answer, or one that says to come again: worth waiting.
        case away
        /// Somebody else changed the object in between.
        case conflict
        case notFound
        /// Refused, for want of a right or because the request is wrong.
        case refused
    }

    package let kind: Kind
    package let message: String

    package init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message
    }

    package var description: String { message }
}

/// What came of asking a pod to leave.
package enum EvictionAnswer: Sendable, Hashable {
    case accepted
    /// It is no longer there.
    case gone
    /// A budget does not allow it now; its own words.
    case blocked(String)
    /// It will never be allowed as things are.
    case refused(String)
}

/// What an upgrade asks of the cluster's API. Thread-safe.
package protocol UpgradeCluster: Sendable {
    func serverVersion() async throws(ClusterCallError) -> KubernetesVersion
    /// `kubernetesVersion` of kubeadm's own configuration in the cluster; nil where it has none.
    func configuredVersion() async throws(ClusterCallError) -> KubernetesVersion?
    func nodes() async throws(ClusterCallError) -> [ClusterNode]
    /// Nil where there is no such node.
    func node(_ name: String) async throws(ClusterCallError) -> ClusterNode?
    /// Of one node, or all.
    func pods(on node: String?) async throws(ClusterCallError) -> [ClusterPod]
    func budgets() async throws(ClusterCallError) -> [ClusterBudget]
    /// Cordons the node as it was seen and says beside it whose cordon that is; `.conflict` where it has changed since.
    func cordon(_ node: ClusterNode, run: String) async throws(ClusterCallError)
    /// Takes the cordon and the word beside it away; `.conflict` where the node has changed since.
    func uncordon(_ node: ClusterNode) async throws(ClusterCallError)
    func evict(_ pod: ClusterPod, gracePeriod: Int64?) async throws(ClusterCallError) -> EvictionAnswer
    func delete(_ pod: ClusterPod, gracePeriod: Int64?) async throws(ClusterCallError)
    func deprecatedAPIs() async throws(ClusterCallError) -> [DeprecatedAPI]
    /// Whether the API server calls itself ready.
    func checkReady() async throws(ClusterCallError)
}
