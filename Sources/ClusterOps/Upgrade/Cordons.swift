/// Sets and takes back cordons, and never touches one that is not its own.
struct Cordons: Sendable {
    let context: UpgradeContext
    let run: String

    /// What became of it: a cordon of others stays theirs.
    func set(_ name: String, _ tell: @Sendable (String) -> Void) async throws -> String {
        for _ in 0..<20 {
            let node = try await seen(name, tell)
            if node.isUnschedulable {
                return node.cordonedBy == run ? "" : "was cordoned already, and will stay so"
            }
            let isDone = try await context.patiently(tell) { () async throws(ClusterCallError) in
                do throws(ClusterCallError) {
                    try await context.cluster.cordon(node, run: run)
                    return true
                } catch  where error.kind == .conflict {
                    return false
                }
            }
            if isDone { return "" }
            try await context.pacing.sleep(200)
        }
        throw UpgradeError(.failed, "the node changes too often to be cordoned")
    }

    /// Takes the cordon back where it is this run's; whether it did.
    @discardableResult
    func takeBack(_ name: String, _ tell: @Sendable (String) -> Void) async throws -> Bool {
        for _ in 0..<20 {
            let node = try await seen(name, tell)
            guard node.cordonedBy == run else { return false }
            let isDone = try await context.patiently(tell) { () async throws(ClusterCallError) in
                do throws(ClusterCallError) {
                    try await context.cluster.uncordon(node)
                    return true
                } catch  where error.kind == .conflict {
                    return false
                }
            }
            if isDone { return true }
            try await context.pacing.sleep(200)
        }
        throw UpgradeError(.failed, "the node changes too often to be uncordoned")
    }

    private func seen(_ name: String, _ tell: @Sendable (String) -> Void) async throws -> ClusterNode {
        let node = try await context.patiently(tell) { () async throws(ClusterCallError) in
            try await context.cluster.node(name)
        }
        guard let node else { throw UpgradeError(.nodeGone, "the node is no longer in the cluster") }
        return node
    }
}
