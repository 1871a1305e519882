import ClusterOps
import FoundationEssentials
import Kubernetes
import Logging
import Platform
import TestSupport
import Testing

@testable import KopsSidecar

@Suite struct EventRouteTests {
    private func load(_ text: String) throws -> SidecarConfig {
        let directory = try scratchDirectory()
        defer { try? FileSystem.removeTree(directory) }
        try AtomicFile.write(Array(text.utf8), to: directory + "/c.yml")
        return try SidecarConfig.load(directory + "/c.yml")
    }

    @Test func theConfigurationSaysWhetherHowLongAndWhereTo() throws {
        #expect(try load("cluster: {}\n").cluster.events == nil)
        #expect(try load("cluster: {events: }\n").cluster.events == ClusterEventsConfig())
        #expect(try load("cluster: {events: {enabled: false}}\n").cluster.events == nil)
        let config = try load(
            """
            cluster: {name: prod, events: {retention: 3d, max_events: 5000, ship: true}}
            audit: {loki: {url: "http://loki:3100"}}
            """)
        #expect(config.cluster.events?.retention == 259_200_000 && config.cluster.events?.maxEvents == 5000)
        let options = clusterEventOptions(config, client: HTTPClient(name: "test"))
        #expect(options?.sinks.map(\.name) == ["loki"] && options?.origin.cluster == "prod")
    }

    @Test(arguments: [
        ("cluster: {events: {retention: 10m}}\n", "1:31 cluster.events.retention must be at least 1h"),
        ("cluster: {events: {max_events: 5}}\n", "1:32 cluster.events.max_events must be from 100 to 10000000, not 5"),
        ("cluster: {events: {keep: 1}}\n", "1:20 unknown key cluster.events.keep"),
        (
            "cluster: {events: {ship: true}}\n",
            "1:26 cluster.events.ship needs audit.loki or audit.elasticsearch, which say where to"
        ),
    ]) func mistakesAreNamed(_ text: String, _ finding: String) {
        do {
            _ = try load(text)
            Issue.record("taken: \(text)")
        } catch let problems as ConfigProblems {
            #expect(problems.issues.map { "\($0.line):\($0.column) \($0.message)" } == [finding])
        } catch {
            Issue.record("\(error)")
        }
    }

    @Test func theAPITellsThemFilteredAndWhetherTheyAreKept() async throws {
        guard KubeAPIStandIn.isPossible else { return }
        let server = try KubeAPIStandIn()
        defer { server.stop() }
        let directory = try scratchDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let metrics = MetricRegistry()
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let keeper = try ClusterEventKeeper(
            path: ClusterEventStore.path(in: directory), hub: ClusterHub(clock: .system, metrics: metrics),
            clock: .system, metrics: metrics, log: log, isLeader: { true })
        let routes = RouteTable(EventRoutes(keeper).routes, access: WebAccess(log: log), metrics: metrics, log: log)
        func ask(_ parameters: [(String, String)] = []) async throws -> (kept: Bool, names: [String]) {
            struct Answer: Decodable {
                struct Events: Decodable {
                    struct Row: Decodable { var name: String }
                    var kept: Bool
                    var events: [Row]
                }
                var data: Events
            }
            let reply = await routes.answer(
                APIRequest(method: "GET", path: "/api/kops/v1/events", parameters: parameters))
            guard case .bytes(let bytes) = reply.body else { return (false, []) }
            let answer = try JSONDecoder().decode(Answer.self, from: Data(bytes)).data
            return (answer.kept, answer.events.map(\.name))
        }
        #expect(try await ask() == (false, []))
        try AtomicFile.write(
            Array(
                """
                {"apiVersion": "v1", "kind": "Config", "current-context": "c",
                 "clusters": [{"name": "k", "cluster": {"server": "\(server.url)"}}], "users": [{"name": "u", "user": {}}],
                 "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}
                """.utf8), to: directory + "/kubeconfig")
        func event(_ number: Int, _ namespace: String, _ type: String) -> String {
            """
            {"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "\(namespace)", "name": "e\(number)", "uid": "u\(number)"},
             "involvedObject": {"kind": "Pod", "namespace": "\(namespace)", "name": "p\(number)"}, "type": "\(type)", "reason": "R\(number)",
             "lastTimestamp": "2026-11-24T10:0\(number):00Z", "firstTimestamp": "2026-11-24T10:00:00Z"}
            """
        }
        try await server.put("[\(event(1, "a", "Normal")), \(event(2, "a", "Warning")), \(event(3, "b", "Warning"))]")
        var options = ClusterEventOptions(
            kubeconfig: directory + "/kubeconfig", origin: LogOrigin(cluster: "prod", node: "cp1"))
        // Those of this test have a date.
        options.retention = 1 << 50
        keeper.apply(options)
        let work = Task { await keeper.run() }
        try await eventually("all are kept") { try await ask().names.count == 3 }
        #expect(try await ask() == (true, ["p3", "p2", "p1"]))
        #expect(try await ask([("namespace", "a"), ("type", "Warning")]).names == ["p2"])
        #expect(try await ask([("since", "2026-11-24T10:02:00Z"), ("limit", "1")]).names == ["p3"])
        #expect(try await ask([("reason", "R1")]).names == ["p1"])
        let bad = await routes.answer(
            APIRequest(method: "GET", path: "/api/kops/v1/events", parameters: [("since", "yesterday")]))
        #expect(bad.status == 400)
        work.cancel()
        await work.value
    }
}
