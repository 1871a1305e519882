import FoundationEssentials
import Platform
import TestSupport
import Testing

@testable import Kubernetes

private let http = HTTPClient(name: "kube-test")

private func client(_ server: KubeAPIStandIn, _ change: (inout KubernetesClient.Options) -> Void = { _ in })
    -> KubernetesClient
{
    var options = KubernetesClient.Options()
    options.requestsPerSecond = 0
    change(&options)
    return KubernetesClient(ClusterAccess(server: server.url), http: http, options: options)
}

private func pods(_ count: Int, labels: String = #""app":"web""#) -> String {
    let items = (0..<count).map { i in
        #"{"kind":"Pod","metadata":{"name":"web-\#(i)","namespace":"demo","labels":{\#(labels)}},"#
            + #""spec":{"nodeName":"w1"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#
    }
    return "[\(items.joined(separator: ","))]"
}

private func kind(_ body: () async throws -> Void) async -> KubernetesError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? KubernetesError
    }
}

@Suite(.enabled(if: KubeAPIStandIn.isPossible, "needs python3")) struct ClientTests {
    @Test func listsPageByPage() async throws {
        let server = try KubeAPIStandIn()
        try await server.put(pods(7))
        var options = ListOptions(labelSelector: "app=web")
        options.pageSize = 3
        let found: [Pod] = try await client(server).list(options: options)
        #expect(found.map(\.name) == (0..<7).map { "web-\($0)" })
        #expect(try await server.control("requests").components("limit=3") == 3)
        let none: [Pod] = try await client(server).list(namespace: "other")
        #expect(none.isEmpty)
    }

    @Test func leaseIsHeldByWhoWroteItLast() async throws {
        let server = try KubeAPIStandIn()
        let client = client(server)
        #expect(try await client.find(Lease.self, "kops-sidecar", namespace: "kube-system") == nil)
        var lease = Lease(metadata: ObjectMeta(name: "kops-sidecar", namespace: "kube-system"), spec: Lease.Spec())
        lease.spec?.holderIdentity = "cp1"
        lease.spec?.renewTime = MicroTime(microseconds: 1_795_473_258_621_920)
        let made = try await client.create(lease)
        #expect(made.metadata.resourceVersion != nil)
        #expect(await kind { _ = try await client.create(lease) }?.isAlreadyExists == true)
        var renewed = made
        renewed.spec?.holderIdentity = "cp2"
        let second = try await client.replace(renewed)
        // The one who read before must not win.
        let stale = await kind { _ = try await client.replace(made) }
        #expect(stale?.kind == .conflict)
        #expect(stale?.reason == "Conflict")
        let now = try await client.get(Lease.self, "kops-sidecar", namespace: "kube-system")
        #expect(now == second)
        #expect(now.spec?.renewTime?.text == "2026-11-23T22:34:18.621920Z")
        #expect(await kind { _ = try await client.replace(lease) }?.kind == .invalid)
        var options = DeleteOptions()
        options.preconditions = .init(resourceVersion: made.metadata.resourceVersion)
        #expect(
            await kind { try await client.delete(Lease.self, "kops-sidecar", namespace: "kube-system", options) }?.kind
                == .conflict)
        try await client.delete(Lease.self, "kops-sidecar", namespace: "kube-system")
        #expect(try await client.find(Lease.self, "kops-sidecar", namespace: "kube-system") == nil)
    }

    @Test func patchesANode() async throws {
        let server = try KubeAPIStandIn()
        try await server.put(
            #"{"kind":"Node","metadata":{"name":"w1","annotations":{"other":"stays"}},"spec":{"podCIDR":"x"}}"#)
        let client = client(server)
        let cordoned = try await client.patch(
            Node.self, "w1",
            json: #"{"metadata":{"annotations":{"kops-sidecar/cordoned-by":"u7"}},"spec":{"unschedulable":true}}"#
        )
        #expect(cordoned.isUnschedulable)
        #expect(cordoned.spec?.taints?.map(\.key) == ["node.kubernetes.io/unschedulable"])
        let version = cordoned.metadata.resourceVersion ?? ""
        let freed = try await client.patch(
            Node.self, "w1", .strategic,
            json: #"{"metadata":{"resourceVersion":"\#(version)"},"spec":{"unschedulable":null}}"#)
        #expect(!freed.isUnschedulable)
        #expect(freed.metadata.annotations?["other"] == "stays")
        #expect(freed.spec?.podCIDR == "x")
        let stale = await kind {
            _ = try await client.patch(
                Node.self, "w1", json: #"{"metadata":{"resourceVersion":"\#(version)"},"spec":{"unschedulable":true}}"#)
        }
        #expect(stale?.kind == .conflict)
    }

    @Test(arguments: [("1.20", "v1beta1"), ("1.36", "v1")])
    func evictsAsTheServerWantsIt(release: String, version: String) async throws {
        let server = try KubeAPIStandIn(["--kubernetes", release])
        try await server.put(pods(2))
        try await server.put(
            #"{"kind":"PodDisruptionBudget","metadata":{"name":"web","namespace":"demo"},"#
                + #""spec":{"minAvailable":1,"selector":{"matchLabels":{"app":"web"}}}}"#)
        let client = client(server)
        #expect(try await client.evictionVersion() == version)
        let budgets: [PodDisruptionBudget] = try await client.list()
        #expect(budgets.first?.spec?.minAvailable == .int(1))
        try await client.evict(namespace: "demo", pod: "web-0", dryRun: true)
        try await client.evict(namespace: "demo", pod: "web-0")
        try await eventually("web-0 is gone") { try await client.find(Pod.self, "web-0", namespace: "demo") == nil }
        let refused = await kind { try await client.evict(namespace: "demo", pod: "web-1") }
        #expect(refused?.isDisruptionBudget == true)
        #expect(refused?.description.contains("needs 1 healthy pods and has 1") == true)
        #expect(await kind { try await client.evict(namespace: "demo", pod: "nobody") }?.kind == .notFound)
    }

    @Test func triesAgainOnlyWhatIsSafe() async throws {
        let server = try KubeAPIStandIn()
        try await server.put(pods(1))
        let client = client(server)
        let begun = ContinuousClock.now
        try await server.control("fail", #"{"path":"pods","status":429,"count":2,"retryAfter":1}"#)
        _ = try await client.get(Pod.self, "web-0", namespace: "demo")
        #expect(ContinuousClock.now - begun >= .seconds(2))
        // A write that failed with 503 may have been done: it is not repeated.
        try await server.control("fail", #"{"path":"leases","method":"POST","status":503,"count":1}"#)
        let lease = Lease(metadata: ObjectMeta(name: "a", namespace: "demo"))
        let failure = await kind { _ = try await client.create(lease) }
        #expect(failure?.kind == .server)
        #expect(failure?.code == 503)
        _ = try await client.create(lease)
        // Bounded.
        try await server.control("fail", #"{"path":"pods","status":503,"count":100,"retryAfter":0}"#)
        #expect(await kind { let _: [Pod] = try await client.list() }?.code == 503)
    }

    @Test func namesWhatWentWrong() async throws {
        let server = try KubeAPIStandIn(["--token", "right"])
        let unauthorized = await kind { let _: [Node] = try await client(server).list() }
        #expect(unauthorized?.kind == .unauthorized)
        var access = ClusterAccess(server: server.url)
        access.tokenFile = try scratchDirectory() + "/token"
        let holder = KubernetesClient(access, http: http)
        #expect(await kind { let _: [Node] = try await holder.list() }?.kind == .unauthorized)
        try AtomicFile.write(Array("wrong".utf8), to: access.tokenFile ?? "")
        #expect(await kind { let _: [Node] = try await holder.list() }?.kind == .unauthorized)
        // A token that was renewed counts at once.
        try AtomicFile.write(Array("right\n".utf8), to: access.tokenFile ?? "")
        let nodes: [Node] = try await holder.list()
        #expect(nodes.isEmpty)
        #expect(try await holder.version().numbers?.minor == 36)
        let absent = KubernetesClient(ClusterAccess(server: "http://127.0.0.1:1"), http: http)
        #expect(await kind { _ = try await absent.version() }?.kind == .unreachable)
        try await server.control(
            "route", #"{"path":"/apis/metrics.k8s.io/v1beta1/nodes","status":503,"type":"text/plain","body":"no\n"}"#)
        let gone = await kind { _ = try await holder.send("GET", "/apis/metrics.k8s.io/v1beta1/nodes") }
        #expect(gone?.message == "no")
    }

    @Test func readsAKubeconfigAgainWhenItChanges() async throws {
        let server = try KubeAPIStandIn(["--token", "second"])
        let path = try scratchDirectory() + "/admin.conf"
        func write(_ token: String) throws {
            let text = """
                current-context: a
                clusters: [{name: c, cluster: {server: "\(server.url)"}}]
                contexts: [{name: a, context: {cluster: c, user: u}}]
                users: [{name: u, user: {token: \(token)}}]
                """
            try AtomicFile.write(Array(text.utf8), to: path)
        }
        try write("first")
        let client = KubernetesClient(try Kubeconfig.load(path: path), http: http)
        #expect(await kind { let _: [Node] = try await client.list() }?.kind == .unauthorized)
        try write("second")
        client.forgetWhenLooked()
        let nodes: [Node] = try await client.list()
        #expect(nodes.isEmpty)
    }
}

extension String {
    fileprivate func components(_ text: String) -> Int {
        var count = 0
        var rest = self[...]
        while let found = rest.firstRange(of: text) {
            count += 1
            rest = rest[found.upperBound...]
        }
        return count
    }
}
