package import Kubernetes
import Platform

/// `/api/kops/v1/nodes`: the cluster's nodes as they were last told, the API server alive or not.
package struct NodeRoutes: Sendable {
    private let nodes: @Sendable () -> [Node]?

    /// `nodes` is nil where cluster objects are not collected.
    package init(_ nodes: @escaping @Sendable () -> [Node]?) { self.nodes = nodes }

    package var routes: [Route] {
        [
            .get("/api/kops/v1/nodes") { _ in
                let known = nodes()
                return .success { writer in
                    writer.object { writer in
                        writer.key("collected")
                        writer.bool(known != nil)
                        writer.key("nodes")
                        writer.array(known ?? [], write)
                    }
                }
            }
        ]
    }

    private func write(_ writer: inout JSONWriter, _ node: Node) {
        let prefix = "node-role.kubernetes.io/"
        let roles = (node.metadata.labels ?? [:]).keys.filter { $0.hasPrefix(prefix) }
            .map { String($0.dropFirst(prefix.count)) }.sorted()
        writer.object { writer in
            writer.key("name")
            writer.string(node.name)
            writer.key("ready")
            writer.bool(node.isReady)
            writer.key("schedulable")
            writer.bool(!node.isUnschedulable)
            writer.key("version")
            writer.string(node.status?.nodeInfo?.kubeletVersion ?? "")
            writer.key("roles")
            writer.strings(roles)
            writer.key("address")
            writer.string(node.address("InternalIP") ?? "")
        }
    }
}
