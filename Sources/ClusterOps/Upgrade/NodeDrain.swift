/// Which pods of a node have to leave before its kubelet stops, and which of them cannot.
package struct DrainPlan: Sendable {
    /// Pods that are evicted.
    package var evicted: [ClusterPod] = []
    /// Pods that stay: static ones and those of DaemonSets.
    package var staying = 0
    /// What forbids the drain, a line each, unless the options allow it.
    package var obstacles: [String] = []

    package init(pods: [ClusterPod], options: UpgradeOptions.Drain) {
        for pod in pods {
            if pod.isMirror || pod.controllerKind == "DaemonSet" {
                staying += 1
                continue
            }
            evicted.append(pod)
            if pod.isOver || pod.isTerminating { continue }
            if pod.controllerKind == nil, !options.forcesUnmanaged {
                obstacles.append(
                    "pod \(pod.id) on \(pod.node) has no controller: nothing makes it anew; delete it, or drain.force_unmanaged"
                )
            }
            if pod.hasEmptyDir, !options.deletesEmptyDirData {
                obstacles.append(
                    "pod \(pod.id) on \(pod.node) keeps data in an emptyDir, which is lost: drain.delete_emptydir_data")
            }
        }
    }
}

/// Empties a node by eviction, as `kubectl drain` does.
struct NodeDrain: Sendable {
    let context: UpgradeContext
    let node: String
    let run: String

    /// Ends when no pod that must leave is left. Says meanwhile who blocks whom.
    func perform(_ tell: @Sendable (String) -> Void) async throws -> String {
        let options = context.options.drain
        var deadline = context.stepTime + options.timeout
        var accepted: Set<String> = []
        var isForcing = false
        var count = 0
        while true {
            try await checkCordon(tell)
            let plan = DrainPlan(
                pods: try await context.patiently(tell) { () async throws(ClusterCallError) in
                    try await context.cluster.pods(on: node)
                }, options: options)
            guard plan.obstacles.isEmpty else {
                throw UpgradeError(.failed, plan.obstacles.joined(separator: "; "))
            }
            if plan.evicted.isEmpty { return count == 0 ? "nothing had to leave" : "\(count) pods left" }
            var blocked: [String] = []
            for pod in plan.evicted where !pod.isTerminating && !accepted.contains(pod.uid) {
                if isForcing {
                    try await context.patiently(tell) { () async throws(ClusterCallError) in
                        do throws(ClusterCallError) {
                            try await context.cluster.delete(pod, gracePeriod: options.gracePeriod)
                        } catch  where error.kind == .notFound {}
                    }
                    accepted.insert(pod.uid)
                    count += 1
                    continue
                }
                let answer = try await context.patiently(tell) { () async throws(ClusterCallError) in
                    try await context.cluster.evict(pod, gracePeriod: options.gracePeriod)
                }
                switch answer {
                case .accepted:
                    accepted.insert(pod.uid)
                    count += 1
                case .gone: break
                case .blocked(let why): blocked.append("\(pod.id) (\(why))")
                case .refused(let why):
                    throw UpgradeError(.failed, "pod \(pod.id) cannot be evicted: \(why)")
                }
            }
            let leaving = plan.evicted.count - blocked.count
            let text =
                blocked.isEmpty
                ? "waits for \(leaving) pods to end" : "a budget blocks \(blocked.prefix(5).joined(separator: ", "))"
            tell(text)
            if context.stepTime >= deadline {
                guard options.forcesAtTimeout, !isForcing, !blocked.isEmpty else {
                    let left = plan.evicted.prefix(5).map(\.id).joined(separator: ", ")
                    throw UpgradeError(
                        .failed,
                        blocked.isEmpty
                            ? "pods do not end within \(options.timeout / 1000) s: \(left)"
                            : "not emptied within \(options.timeout / 1000) s: \(text)")
                }
                tell("the time is over: deletes what budgets block, as drain.on_timeout says")
                isForcing = true
                // What is deleted ends in its own time.
                deadline = context.stepTime + 180_000
                continue
            }
            try await context.pacing.sleep(blocked.isEmpty ? 2000 : 5000)
        }
    }

    /// Somebody who takes the cordon away means it.
    private func checkCordon(_ tell: @Sendable (String) -> Void) async throws {
        let node = try await context.patiently(tell) { () async throws(ClusterCallError) in
            try await context.cluster.node(self.node)
        }
        guard let node else { throw UpgradeError(.nodeGone, "the node is no longer in the cluster") }
        if !node.isUnschedulable {
            throw UpgradeError(.failed, "somebody took the node's cordon away while it was emptied")
        }
    }
}
