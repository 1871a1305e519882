/// One upgrade from its beginning to its end: what the journal holds.
package struct UpgradeRun: Sendable, Hashable, Codable {
    static let formatVersion = 1

    package enum State: String, Sendable, Codable, CaseIterable {
        case running, pausing, paused, stopping, stopped, aborting, aborted, finished

        /// Whether something is being done, or would be after a restart.
        package var isActive: Bool { [.running, .pausing, .stopping, .aborting].contains(self) }
        /// Whether the run is over for good.
        package var isOver: Bool { self == .finished || self == .aborted }
    }

    package enum Step: String, Sendable, Codable {
        case snapshotHook, beforeHook, kubeadmPackage, kubeadmUpgrade, proveControlPlane, cordon, drain, kubeletPackage
        case restartKubelet, awaitReady, health, uncordon, afterHook, soak, proveCluster
    }

    package struct Visit: Sendable, Hashable, Codable {
        package enum Kind: String, Sendable, Codable {
            case cluster, firstControlPlane, controlPlane, controlPlaneKubelet, worker
        }
        package enum Status: String, Sendable, Codable { case waiting, active, done, failed }

        /// Empty for what is done once.
        package var node: String
        package var kind: Kind
        package var group: Int
        package var steps: [Step]
        /// Index of the step that is under way or comes next.
        package var position = 0
        package var status = Status.waiting
        /// How often it was begun, resumes included.
        package var attempts = 0
        /// What is waited for, or what went wrong.
        package var note = ""
        /// Milliseconds since 1970 UTC.
        package var startedAt: Int64?
        package var endedAt: Int64?

        package var step: Step? { position < steps.count ? steps[position] : nil }
    }

    /// What was found out of a node before anything was touched.
    package struct NodeFacts: Sendable, Hashable, Codable {
        package var address: String
        package var from: KubernetesVersion?
        package var isControlPlane: Bool
        package var manager: UpgradeOptions.PackageManager
        /// The manager's versions by package, for the target.
        package var packages: [String: String]
        package var held: [String]
    }

    package struct Event: Sendable, Hashable, Codable {
        /// Milliseconds since 1970 UTC.
        package var at: Int64
        package var node: String
        package var text: String
    }

    package enum Owner: String, Sendable, Codable { case service, terminal }

    package var formatVersion = UpgradeRun.formatVersion
    /// Names it in nodes' annotations.
    package var id: String
    package var cluster: String
    package var target: KubernetesVersion
    package var owner: Owner
    /// Milliseconds since 1970 UTC.
    package var startedAt: Int64
    package var endedAt: Int64?
    package var state = State.running
    package var maxUnavailable: Int
    package var visits: [Visit]
    package var nodes: [String: NodeFacts]
    package var problem: String?
    package var overrides: [String]
    /// The newest last, at most `keptEvents`.
    package var events: [Event] = []

    static let keptEvents = 1000

    package var visitsDone: Int { visits.count { $0.status == .done } }

    mutating func tell(_ text: String, node: String = "", at time: Int64) {
        events.append(Event(at: time, node: node, text: text))
        if events.count > Self.keptEvents { events.removeFirst(events.count - Self.keptEvents) }
    }
}

extension UpgradeRun {
    /// The visits that bring these nodes to a version, in order; nodes whose kubelet is there already are passed over.
    static func visits(
        nodes: [ClusterNode], target: KubernetesVersion, controlPlaneIsThere: Bool, first: String?,
        options: UpgradeOptions
    ) -> [Visit] {
        let planes = nodes.filter(\.isControlPlane).sorted { a, b in
            if (a.name == first) != (b.name == first) { return a.name == first }
            return naturallyPrecedes(a.name, b.name)
        }
        let workers = nodes.filter { !$0.isControlPlane }.sorted { naturallyPrecedes($0.name, $1.name) }
        let health: [Step] = [.health]
        var out: [Visit] = []
        if options.snapshotHook != nil {
            out.append(Visit(node: "", kind: .cluster, group: 0, steps: [.snapshotHook]))
        }
        if !controlPlaneIsThere {
            for (index, node) in planes.enumerated() {
                out.append(
                    Visit(
                        node: node.name, kind: index == 0 ? .firstControlPlane : .controlPlane, group: 1,
                        steps: [.kubeadmPackage, .kubeadmUpgrade, .proveControlPlane] + health))
            }
        }
        let before: [Step] = options.beforeNode == nil ? [] : [.beforeHook]
        let after: [Step] = options.afterNode == nil ? [] : [.afterHook]
        let kubelet: [Step] =
            [.cordon, .drain, .kubeletPackage, .restartKubelet, .awaitReady] + health + [.uncordon] + after
        for node in planes where node.kubelet != target {
            out.append(
                Visit(node: node.name, kind: .controlPlaneKubelet, group: 2, steps: before + kubelet))
        }
        let worker: [Step] = before + [.kubeadmPackage, .kubeadmUpgrade] + kubelet
        func add(_ nodes: [ClusterNode], group: Int) {
            for node in nodes where node.kubelet != target {
                out.append(Visit(node: node.name, kind: .worker, group: group, steps: worker))
            }
        }
        let isStaging: (ClusterNode) -> Bool = { options.staging.contains($0.name) }
        add(workers.filter(isStaging), group: 3)
        if out.contains(where: { $0.group == 3 }), workers.contains(where: { !isStaging($0) && $0.kubelet != target }) {
            out.append(Visit(node: "", kind: .cluster, group: 4, steps: [.soak]))
        }
        add(workers.filter { !isStaging($0) }, group: 5)
        out.append(Visit(node: "", kind: .cluster, group: 6, steps: [.proveCluster]))
        return out
    }
}

/// Whether a name comes before another where numbers in them count as numbers: w2 before w10.
func naturallyPrecedes(_ a: String, _ b: String) -> Bool {
    var x = Substring(a), y = Substring(b)
    while let p = x.first, let q = y.first {
        if p.isNumber, q.isNumber {
            let m = x.prefix { $0.isNumber }, n = y.prefix { $0.isNumber }
            let i = m.drop { $0 == "0" }, j = n.drop { $0 == "0" }
            if i.count != j.count { return i.count < j.count }
            if i != j { return i < j }
            (x, y) = (x.dropFirst(m.count), y.dropFirst(n.count))
            continue
        }
        if p != q { return p < q }
        (x, y) = (x.dropFirst(), y.dropFirst())
    }
    return x.isEmpty && !y.isEmpty
}
