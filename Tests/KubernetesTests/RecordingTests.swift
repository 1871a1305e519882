import FoundationEssentials
import Platform
import TestSupport
import Testing

@testable import Kubernetes

private func recorded<T: Decodable>(_ type: T.Type, _ path: String) throws -> T {
    try JSONDecoder().decode(type, from: Data(recording(path) ?? []))
}

/// Answers of real servers, where they are there (../shared/recordings).
@Suite(.enabled(if: recording("kubernetes/objects/nodes.json") != nil, "needs ../shared/recordings"))
struct RecordingTests {
    @Test func everyKindDecodes() throws {
        let nodes = try recorded(ObjectList<Node>.self, "kubernetes/objects/nodes.json").items
        #expect(nodes.map(\.name) == ["cp1", "w1"])
        #expect(nodes[0].isReady && nodes[0].isControlPlane && !nodes[1].isControlPlane)
        #expect(nodes[0].status?.daemonEndpoints?.kubeletEndpoint?.port == 10250)
        #expect(nodes[0].address("InternalIP") == "10.123.0.10")
        let pods = try recorded(ObjectList<Pod>.self, "kubernetes/objects/pods-all.json").items
        #expect(pods.count == 34)
        #expect(pods.contains { $0.isMirror && $0.name == "etcd-cp1" })
        #expect(pods.first { $0.name == "oom-always" }?.status?.containerStatuses?.first?.restartCount ?? 0 > 0)
        let old = try recorded(ObjectList<Pod>.self, "kubernetes-1.20/pods.json").items
        #expect(!old.isEmpty && old.allSatisfy { $0.spec?.containers?.isEmpty == false })
        #expect(try recorded(ObjectList<Node>.self, "kubernetes-1.20/nodes.json").items.first?.isControlPlane == true)
        #expect(!(try recorded(ObjectList<Lease>.self, "kubernetes-1.20/leases.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<Event>.self, "kubernetes-1.20/events.json").items.isEmpty))
        let path = "kubernetes/objects/"
        #expect(!(try recorded(ObjectList<Deployment>.self, path + "deployments.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<DaemonSet>.self, path + "daemonsets.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<StatefulSet>.self, path + "statefulsets.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<ReplicaSet>.self, path + "replicasets.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<Job>.self, path + "jobs.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<CronJob>.self, path + "cronjobs.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<Namespace>.self, path + "namespaces.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<Service>.self, path + "services.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<Endpoints>.self, path + "endpoints.json").items.isEmpty))
        #expect(!(try recorded(ObjectList<EndpointSlice>.self, path + "endpointslices.json").items.isEmpty))
        #expect(
            !(try recorded(ObjectList<PersistentVolumeClaim>.self, path + "persistentvolumeclaims.json").items.isEmpty))
        let budgets = try recorded(ObjectList<PodDisruptionBudget>.self, path + "poddisruptionbudgets.json").items
        #expect(budgets.contains { $0.spec?.maxUnavailable == .string("50%") })
        let map = try recorded(ConfigMap.self, path + "configmap-kubeadm-config.json")
        #expect(map.data?["ClusterConfiguration"]?.contains("kubernetesVersion") == true)
    }

    @Test func leaseIsWrittenAsItWasRead() throws {
        let lease = try recorded(Lease.self, "kubernetes/lease/4-renew.200.json")
        let again = try JSONDecoder().decode(Lease.self, from: try JSONEncoder().encode(lease))
        #expect(again == lease)
        #expect(lease.spec?.renewTime?.text == "2026-11-23T22:34:18.621920Z")
    }

    @Test func refusalsAreUnderstood() throws {
        func error(_ code: Int, _ path: String, header: String? = nil) -> KubernetesError {
            KubernetesError(status: code, body: recording(path) ?? [], retryAfterHeader: header, request: "GET /x")
        }
        let budget = error(429, "kubernetes/eviction/429-disruption-budget.json")
        #expect(budget.isDisruptionBudget && budget.retryAfter == nil)
        let busy = error(429, "kubernetes/eviction/429-budget-still-processed.json", header: "10")
        #expect(busy.isDisruptionBudget && busy.retryAfter == .seconds(10))
        #expect(error(409, "kubernetes/errors/409-already-exists.json").isAlreadyExists)
        #expect(!error(409, "kubernetes/lease/5-update-stale.409.json").isAlreadyExists)
        #expect(error(403, "kubernetes/errors/403-rbac-patch-node.json").kind == .forbidden)
        #expect(error(422, "kubernetes/lease/a-put-no-rv.422.json").kind == .invalid)
        #expect(error(504, "kubernetes/objects/future-resource-version.json").retryAfter == .seconds(1))
        #expect(error(404, "kubernetes/errors/404-path.txt").message.contains("404 page not found"))
        #expect(error(503, "metrics-server/no-endpoints-nodes.503.txt").kind == .server)
    }
}
