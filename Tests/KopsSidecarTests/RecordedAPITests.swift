import FoundationEssentials
import KopsSidecar
import Logging
import MetricModel
import Monitoring
import Platform
import PromQL
import Testing

/// Calls recorded from a real Prometheus whose answers do not depend on its data: ours must be the same, byte by byte.
@Suite struct RecordedAPITests {
    struct Call: Decodable {
        var file: String
        var request: String?
        var status: String?
        var headers: [[String]]?

        enum CodingKeys: String, CodingKey {
            case file, request, status
            case headers = "response_headers"
        }
    }

    static let recordings: String = {
        var parts = #filePath.split(separator: "/")
        parts.removeLast(3)
        return "/" + parts.joined(separator: "/") + "/../shared/recordings/prometheus"
    }()

    /// Timing decides these, not the request; or they need Prometheus' own configuration.
    static let skipped: Set<String> = [
        "errors/query-timeout-1.json", "errors/query-timeout-2.json", "errors/query-timeout-3.json",
        "errors/timeout-1ms.json", "errors/max-samples.json", "errors/v1-root.txt", "errors/duplicate-labels.json",
        "errors/group-left-duplicate.json", "errors/many-to-many.json", "errors/many-to-one.json",
        // RE2's words for a bad expression, not those of Go's regexp.
        "errors/parse-bad-matcher.json",
        // Prometheus 3 takes any name for a label, and says "number or duration" of a bad range.
        "errors/count-values-bad-label.json", "errors/parse-bad-duration.json",
    ]

    static let more: Set<String> = [
        "query/scalar.json", "query/scalar-inf.json", "query/scalar-nan.json", "query/string.json", "query/empty.json",
        "query/absent.json", "query/time.json", "query_range/scalar.json", "query_range/time.json",
        "query_range/empty.json", "api/format-query.json", "api/label-values-none.json", "api/series-empty.json",
        "api/status-walreplay.json",
    ]

    static func calls() -> [Call] {
        guard let bytes = try? FileSystem.read(recordings + "/index.json"),
            let all = try? JSONDecoder().decode([Call].self, from: Data(bytes))
        else { return [] }
        return all.filter { call in
            call.request != nil && !skipped.contains(call.file)
                && (call.file.hasPrefix("errors/") || more.contains(call.file))
        }
    }

    static func table() -> RouteTable {
        let metrics = MetricRegistry()
        let backend = QueryBackend(
            engine: Engine(), source: MemorySeries(), clock: WallClock { 1_795_474_377_000 }, metrics: metrics,
            pool: WorkerPool.shared)
        var log = Logger(label: "test")
        log.logLevel = .critical
        let status = StatusInformation(
            startedAt: 0, clusterName: { "" }, configuration: { "" }, lastReload: { (0, true) }, flags: { [] },
            retention: { "" }, ready: { true }, reload: { [] }, metrics: metrics)
        return RouteTable(
            QueryRoutes(backend).routes + SeriesRoutes(backend, externalLabels: { .empty }).routes
                + TargetRoutes { TargetsSnapshot() }.routes + RuleRoutes { [] }.routes + status.routes,
            access: WebAccess(log: log), metrics: metrics, log: log)
    }

    @Test(.enabled(if: FileSystem.exists(recordings), "needs ../shared/recordings"))
    func answersAsPrometheusDid() async throws {
        let calls = Self.calls()
        #expect(calls.count > 40)
        let table = Self.table()
        for call in calls {
            let words = (call.request ?? "").split(separator: " ", maxSplits: 1).map(String.init)
            let parts = words[1].split(separator: "?", maxSplits: 1).map(String.init)
            let reply = await table.answer(
                APIRequest(
                    method: words[0], path: parts[0],
                    parameters: parts.count > 1 ? try parseForm(parts[1].utf8) : []))
            #expect(String(reply.status) == call.status?.prefix(3) ?? "", "\(call.file)")
            guard case .bytes(let body) = reply.body else { continue }
            let recorded = try FileSystem.readText(Self.recordings + "/" + call.file)
            #expect(String(decoding: body, as: UTF8.self) == recorded, "\(call.file): \(call.request ?? "")")
            let type = call.headers?.first { $0.first == "Content-Type" }?.last
            #expect(reply.contentType == type, "\(call.file)")
            for header in call.headers ?? [] where ["Allow", "X-Content-Type-Options"].contains(header[0]) {
                #expect(reply.headers.contains { $0.name == header[0] && $0.value == header[1] }, "\(call.file)")
            }
        }
    }
}

/// The parts of the API that no recording has.
@Suite struct QueryRoutesTests {
    func ask(_ path: String, _ parameters: [(String, String)], headers: [(String, String)] = []) async -> (
        Int, String, [(name: String, value: String)]
    ) {
        let reply = await RecordedAPITests.table().answer(
            APIRequest(
                method: "GET", path: path, parameters: parameters.map { (name: $0.0, value: $0.1) },
                headers: headers.map { (name: $0.0, value: $0.1) }))
        guard case .bytes(let body) = reply.body else { return (reply.status, "", reply.headers) }
        return (reply.status, String(decoding: body, as: UTF8.self), reply.headers)
    }

    @Test func parsesQueries() async {
        let (status, body, _) = await ask("/api/v1/parse_query", [("query", "sum by (job) (up)")])
        #expect(status == 200)
        #expect(body.hasPrefix(#"{"status":"success","data":{"type":"aggregation""#))
        #expect(await ask("/api/v1/parse_query", [("query", "sum(")]).0 == 400)
    }

    @Test func exemplarsAreNone() async {
        let (status, body, _) = await ask("/api/v1/query_exemplars", [("query", "up")])
        #expect(status == 200 && body == #"{"status":"success","data":[]}"#)
        #expect(await ask("/api/v1/query_exemplars", [("query", "up"), ("start", "2"), ("end", "1")]).0 == 400)
    }

    @Test func otherSitesMayRead() async {
        let headers = await ask("/api/v1/query", [("query", "1")], headers: [("origin", "http://grafana")]).2
        #expect(headers.contains { $0.name == "Access-Control-Allow-Origin" && $0.value == "*" })
        #expect(headers.contains { $0.name == "Access-Control-Allow-Methods" && $0.value == "GET, POST, OPTIONS" })
        let without = await ask("/api/v1/query", [("query", "1")]).2
        #expect(!without.contains { $0.name.hasPrefix("Access-Control") })
    }

    @Test func corsOriginsAreWholeMatches() throws {
        let allowed = try #require(try corsOrigins("https?://(a|b)\\.example\\.org"))
        #expect(allowed("https://a.example.org"))
        #expect(!allowed("https://a.example.org.evil"))
        #expect(try corsOrigins(nil) == nil)
    }

    @Test func limitsThatAreNoNumbers() async {
        let (status, body, _) = await ask("/api/v1/labels", [("limit", "x")])
        #expect(status == 400)
        #expect(body.contains(#"invalid parameter \"limit\": strconv.Atoi: parsing \"x\": invalid syntax"#))
        #expect(await ask("/api/v1/labels", [("limit", "-1")]).0 == 400)
    }
}
