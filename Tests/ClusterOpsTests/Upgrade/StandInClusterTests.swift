import Kubernetes
import Platform
import TestSupport
import Testing

@testable import ClusterOps

/// The calls of an upgrade over HTTP, against the stand-in API server.
@Suite struct StandInClusterTests {
    private func withCluster(
        _ arguments: [String] = [], _ body: (KubernetesUpgradeCluster, KubeAPIStandIn) async throws -> Void
    ) async throws {
        guard KubeAPIStandIn.isPossible else { return }
        let server = try KubeAPIStandIn(arguments)
        defer { server.stop() }
        try await server.put(
            """
            [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "w1"}, "spec": {},
              "status": {"nodeInfo": {"kubeletVersion": "v1.20.2"}, "addresses": [{"type": "InternalIP", "address": "10.0.0.21"}],
                "conditions": [{"type": "Ready", "status": "True"}]}},
             {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "web-1", "uid": "u1", "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "r", "controller": true}]},
              "spec": {"nodeName": "w1", "containers": [{"name": "c", "image": "web:1"}], "volumes": [{"name": "d", "emptyDir": {}}]},
              "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
             {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "kube-system", "name": "kubeadm-config"},
              "data": {"ClusterConfiguration": "apiServer:\\n  timeoutForControlPlane: 4m0s\\nkubernetesVersion: v1.20.2\\n"}}]
            """)
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        var options = KubernetesClient.Options()
        options.attempts = 1
        let client = KubernetesClient(ClusterAccess(server: server.url), http: http, options: options)
        try await body(KubernetesUpgradeCluster(client), server)
    }

    @Test func cordonsCarryTheirOwnerAndAChangedNodeIsAConflict() async throws {
        try await withCluster { cluster, _ in
            let before = try #require(try await cluster.node("w1"))
            #expect(before.kubelet == KubernetesVersion(1, 20, 2) && before.isReady && before.address == "10.0.0.21")
            try await cluster.cordon(before, run: "run-1")
            let cordoned = try #require(try await cluster.node("w1"))
            #expect(cordoned.isUnschedulable && cordoned.cordonedBy == "run-1")
            await #expect(throws: ClusterCallError.self) { try await cluster.uncordon(before) }
            #expect(try await cluster.node("w1")?.isUnschedulable == true)
            try await cluster.uncordon(cordoned)
            let after = try #require(try await cluster.node("w1"))
            #expect(!after.isUnschedulable && after.cordonedBy == nil)
            #expect(try await cluster.node("w9") == nil)
            #expect(try await cluster.configuredVersion() == KubernetesVersion(1, 20, 2))
        }
    }

    @Test(arguments: [[], ["--kubernetes", "1.20"]]) func evictionsAreBlockedByBudgetsAndThenAccepted(
        _ arguments: [String]
    ) async throws {
        try await withCluster(arguments) { cluster, server in
            let version = arguments.isEmpty ? "policy/v1" : "policy/v1beta1"
            try await server.put(
                """
                {"apiVersion": "\(version)", "kind": "PodDisruptionBudget", "metadata": {"namespace": "default", "name": "web"},
                 "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}
                """)
            let pod = try #require(try await cluster.pods(on: "w1").first { $0.name == "web-1" })
            #expect(pod.controllerKind == "ReplicaSet" && pod.hasEmptyDir && pod.images == ["web:1"])
            guard case .blocked(let why) = try await cluster.evict(pod, gracePeriod: nil) else {
                Issue.record("not blocked")
                return
            }
            #expect(why.contains("web"))
            let budget = try #require(try await cluster.budgets().first { $0.name == "web" })
            #expect(budget.protects(pod))
            try await server.put(
                """
                {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "name": "web-2", "uid": "u2", "labels": {"app": "web"}},
                 "spec": {"nodeName": "w2"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
                """)
            #expect(try await cluster.evict(pod, gracePeriod: nil) == .accepted)
            var gone = pod
            gone.name = "web-9"
            #expect(try await cluster.evict(gone, gracePeriod: nil) == .gone)
        }
    }

    @Test func aServerThatIsAwayIsToldApartFromOneThatRefuses() async throws {
        try await withCluster { cluster, server in
            server.stop()
            let error = await #expect(throws: ClusterCallError.self) { try await cluster.nodes() }
            #expect(error?.kind == .away)
        }
    }
}
