import FoundationEssentials
import KopsSidecar
import Kubernetes
import Logging
import MetricModel
import Monitoring
import Platform
import PromQL
import Testing

/// Parameters and headers that the recordings have no calls of.
@Suite struct RouteParameterTests {
    private func body(_ reply: APIReply) -> String {
        if case .bytes(let bytes) = reply.body { String(decoding: bytes, as: UTF8.self) } else { "" }
    }

    private func answer(
        _ routes: [Route], _ method: String, _ path: String, _ parameters: [(String, String)] = [],
        headers: [(String, String)] = [], bytes: [UInt8] = []
    ) async -> APIReply {
        var log = Logger(label: "test")
        log.logLevel = .critical
        let table = RouteTable(routes, access: WebAccess(log: log), metrics: MetricRegistry(), log: log)
        return await table.answer(
            APIRequest(
                method: method, path: path, parameters: parameters.map { (name: $0.0, value: $0.1) },
                headers: headers.map { (name: $0.0, value: $0.1) }, body: bytes))
    }

    @Test func groupsOfRulesComeInPages() async throws {
        let groups = ["a", "b", "c"].map {
            RuleGroupStatus(RuleGroupDefinition(name: $0, file: "f.yaml", interval: 1000))
        }
        let routes = RuleRoutes { groups }.routes
        func page(_ parameters: (String, String)...) async -> (Int, String) {
            let reply = await answer(routes, "GET", "/api/v1/rules", parameters)
            return (reply.status, body(reply))
        }
        let all = await page()
        #expect(all.0 == 200 && !all.1.contains("groupNextToken"))
        let first = await page(("group_limit", "2"))
        #expect(first.1.contains("\"name\":\"b\"") && !first.1.contains("\"name\":\"c\""))
        let token = try #require(first.1.split(separator: "\"groupNextToken\":\"").last?.prefix { $0 != "\"" })
        let second = await page(("group_limit", "2"), ("group_next_token", String(token)))
        #expect(second.1.contains("\"name\":\"c\"") && !second.1.contains("\"name\":\"b\""))
        #expect(!second.1.contains("groupNextToken"))
        for (parameters, expected) in [
            ([("group_limit", "x")], "group_limit needs to be a valid number"),
            ([("group_limit", "0")], "group_limit needs to be greater than 0"),
            ([("group_next_token", "x")], "group_limit needs to be present"),
            ([("group_limit", "1"), ("group_next_token", "x")], "were rule groups changed?"),
            ([("exclude_alerts", "x")], "error converting exclude_alerts"),
        ] {
            let reply = await answer(routes, "GET", "/api/v1/rules", parameters)
            #expect(reply.status == 400 && body(reply).contains(expected), "\(body(reply))")
        }
    }

    @Test func nodesAreListedAsTheyWereLastTold() async throws {
        let node = try JSONDecoder().decode(
            Node.self,
            from: Data(
                """
                {"metadata": {"name": "cp1", "labels": {"node-role.kubernetes.io/control-plane": "", "a": "b"}},
                 "status": {"conditions": [{"type": "Ready", "status": "True"}],
                            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}
                """.utf8))
        let known = await answer(NodeRoutes { [node] in [node] }.routes, "GET", "/api/kops/v1/nodes")
        #expect(
            body(known).contains(
                """
                {"collected":true,"nodes":[{"name":"cp1","ready":true,"schedulable":true,"version":"",\
                "roles":["control-plane"],"address":"10.0.0.1"}]}
                """), "\(body(known))")
        let none = await answer(NodeRoutes { nil }.routes, "GET", "/api/kops/v1/nodes")
        #expect(none.status == 200 && body(none).contains("{\"collected\":false,\"nodes\":[]}"))
    }

    @Test func aLabelMayHaveAnyName() async throws {
        let source = MemorySeries()
        source.append(Labels([("__name__", "m"), ("http.status", "200")]), timestamp: 1, value: 1)
        let backend = QueryBackend(
            engine: Engine(), source: source, clock: WallClock { 1000 }, metrics: MetricRegistry(),
            pool: WorkerPool.shared)
        let routes = SeriesRoutes(backend, externalLabels: { .empty }).routes
        for name in ["http.status", "U__http_2e_status"] {
            let reply = await answer(routes, "GET", "/api/v1/label/\(name)/values")
            #expect(reply.status == 200 && body(reply).contains("[\"200\"]"), "\(body(reply))")
        }
        for name in ["\u{fffd}", "no.such"] {
            #expect(await answer(routes, "GET", "/api/v1/label/\(name)/values").status == 400)
        }
    }

    @Test(arguments: [
        ("content-type", "text/plain", 415), ("content-type", "application/json", 415),
        ("content-encoding", "gzip", 415),
        ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request", 415),
        ("content-type", "application/x-protobuf", 204), ("content-encoding", "snappy", 204), ("x", "y", 204),
    ])
    func remoteWriteTakesOnlyWhatItCanRead(name: String, value: String, status: Int) async {
        let routes = RemoteWriteRoutes(MemorySeries(), metrics: MetricRegistry(), isEnabled: true).routes
        let reply = await answer(routes, "POST", "/api/v1/write", headers: [(name, value)], bytes: [0])
        #expect(reply.status == status, "\(body(reply))")
    }
}
