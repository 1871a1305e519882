import Kubernetes
import Platform
import TestSupport
import Testing

@testable import ClusterOps

@Suite struct ClusterChecksTests {
    private func found(_ change: (inout ClusterFacts) -> Void) -> [String] {
        var facts = ClusterFacts()
        facts.minor = 31
        facts.spaces = [.init(name: "kube-system"), .init(name: "shop", enforced: "baseline")]
        facts.accounts = [.init(namespace: "shop", name: "default", mountsToken: false)]
        facts.pods = [
            // The cluster's own may do what they must.
            .init(id: "kube-system/proxy", namespace: "kube-system", isPrivileged: true, hostPaths: ["/"]),
            .init(id: "shop/web", namespace: "shop"),
        ]
        facts.roles = [
            .init(name: "cluster-admin", rules: [.init(verbs: ["*"], groups: ["*"], resources: ["*"])]),
            .init(name: "reader", rules: [.init(verbs: ["get"], groups: [""], resources: ["*"])]),
        ]
        facts.bindings = [
            .init(name: "cluster-admin", role: "cluster-admin", subjects: ["Group system:masters"]),
            .init(
                name: "system:public-info-viewer", role: "system:public-info-viewer",
                subjects: ["Group system:unauthenticated"]),
        ]
        facts.tokens = [.init(id: "abcdef", expires: 2000)]
        change(&facts)
        return ClusterChecks.all.flatMap { $0(facts, 1000) }.map { "\($0.severity.rawValue) \($0.id)" }
    }

    @Test func aGoodClusterHasNoFinding() { #expect(found { _ in } == []) }

    @Test func eachFaultIsFoundAlone() {
        #expect(found { $0.pods[1].isPrivileged = true } == ["warning privileged-pods"])
        #expect(found { $0.pods[1].usesHostProcesses = true } == ["warning privileged-pods"])
        #expect(found { $0.pods[1].hostPaths = ["/run/containerd/containerd.sock"] } == ["warning host-paths"])
        #expect(found { $0.pods[1].hostPaths = ["/var/log/shop"] } == [])
        #expect(
            found {
                $0.roles[1].rules[0] = .init(verbs: ["*"], groups: ["*"], resources: ["*"])
                $0.bindings.append(.init(name: "b", role: "reader", subjects: ["User eve"]))
            } == ["warning rbac-wildcards"])
        #expect(
            found { $0.bindings.append(.init(name: "b", role: "cluster-admin", subjects: ["ServiceAccount shop/ci"])) }
                == ["warning admin-accounts"])
        #expect(
            found { $0.bindings.append(.init(name: "b", role: "cluster-admin", subjects: ["User eve"])) }
                == ["info admins"])
        #expect(
            found { $0.bindings.append(.init(name: "b", role: "reader", subjects: ["User system:anonymous"])) }
                == ["critical anonymous-rights"])
        #expect(found { $0.spaces[1].enforced = nil } == ["info pod-security"])
        #expect(
            found {
                $0.spaces[1].enforced = nil; $0.minor = 20
            } == [])
        #expect(found { $0.accounts[0].mountsToken = nil } == ["info default-accounts"])
        #expect(found { $0.tokens[0].expires = nil } == ["warning bootstrap-tokens"])
        #expect(found { $0.tokens[0].expires = 500 } == ["info expired-tokens"])
    }

    /// Against the stand-in API server: what is read becomes the facts, what cannot be read a note.
    @Test func factsAreReadFromTheAPI() async throws {
        guard KubeAPIStandIn.isPossible else { return }
        let server = try KubeAPIStandIn()
        defer { server.stop() }
        try await server.put(
            """
            [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
             {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "shop", "name": "web"},
              "spec": {"hostNetwork": true, "serviceAccountName": "web",
                "containers": [{"name": "c", "securityContext": {"privileged": true}}],
                "volumes": [{"name": "v", "hostPath": {"path": "/etc"}}]}}]
            """)
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        let client = KubernetesClient(ClusterAccess(server: server.url), http: http)
        let facts = try await ClusterFactsReader(client).read()
        let pod = try #require(facts.pods.first { $0.id == "shop/web" })
        #expect(pod.isPrivileged && pod.usesHostNetwork && pod.hostPaths == ["/etc"] && pod.serviceAccount == "web")
        #expect(facts.spaces.contains { $0.name == "shop" })
        #expect(facts.minor > 0)
    }
}
