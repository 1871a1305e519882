import FoundationEssentials
import Glibc
import Platform
import TestSupport
import Testing

/// `query_log_file` and `scrape_failure_log_file`: what is written, and that a file may be moved away.
@Suite struct LogFileTests {
    private struct Line: Decodable {
        struct Parameters: Decodable {
            var query: String
            var start: String
            var end: String
            var step: Int
        }
        struct Statistics: Decodable {
            var timings: [String: Double]
            var samples: [String: Int]
        }
        struct Request: Decodable {
            var clientIP: String
            var method: String
            var path: String
        }
        struct Group: Decodable {
            var file: String
            var name: String
        }
        var msg: String
        var params: Parameters?
        var stats: Statistics?
        var error: String?
        var httpRequest: Request?
        var ruleGroup: Group?
        var jobName: String?
        var target: String?

        enum CodingKeys: String, CodingKey {
            case msg, params, stats, error, httpRequest, ruleGroup, target
            case jobName = "job_name"
        }
    }

    private func lines(_ path: String) throws -> [Line] {
        guard FileSystem.exists(path) else { return [] }
        // The last may be on its way.
        return try FileSystem.readText(path).split(separator: "\n", omittingEmptySubsequences: false).dropLast().map {
            try JSONDecoder().decode(Line.self, from: Data($0.utf8))
        }
    }

    @Test func queriesAndFailedScrapesAreWrittenDown() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let ports = try freePorts(2)
        func write(_ text: String, _ name: String) throws {
            try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(name)")
        }
        try write("groups: [{name: g, interval: 1s, rules: [{record: one, expr: 'vector(1)'}]}]\n", "rules.yaml")
        func configuration(_ queries: String) -> String {
            """
            global: {scrape_interval: 1s, query_log_file: \(queries), scrape_failure_log_file: failures.log}
            rule_files: [rules.yaml]
            scrape_configs:
              - {job_name: gone, static_configs: [{targets: ['127.0.0.1:\(ports[1])']}]}
            storage: {path: \(directory)/data}
            http: {listen: "127.0.0.1:\(ports[0])"}
            """
        }
        try write(configuration("queries.log"), "kops.yaml")
        let sidecar = try Program([binary, "run", "--config", directory + "/kops.yaml"], log: directory + "/log")
        defer { _ = sidecar.stop(SIGKILL) }
        let http = HTTPClient(name: "logs")
        defer { http.shutdown() }
        let base = "http://127.0.0.1:\(ports[0])"
        func status(_ path: String, _ method: String = "GET") async -> Int? {
            try? await http.send(HTTPRequest(method, base + path)).status
        }
        try await eventually("the sidecar is ready") { await status("/-/ready") == 200 }
        #expect(await status("/api/v1/query?query=up&time=1700000000.5") == 200)
        #expect(await status("/api/v1/query_range?query=vector(2)&start=1700000000&end=1700000060&step=15") == 200)
        // It fails while it is evaluated.
        #expect(await status("/api/v1/query?query=label_replace(vector(1),%22a%22,%22%22,%22b%22,%22(%22)") ?? 0 >= 400)
        let log = directory + "/queries.log"
        try await eventually("requests and rules are in the log") {
            let all = try lines(log)
            return all.filter { $0.httpRequest != nil }.count >= 3 && all.contains { $0.ruleGroup != nil }
        }
        let asked = try lines(log).filter { $0.httpRequest != nil }
        let first = try #require(asked.first { $0.params?.query == "up" })
        #expect(first.msg == "promql query logged" && first.error == nil)
        #expect(first.params?.start == "2023-11-14T22:13:20.500Z" && first.params?.step == 0)
        #expect(first.httpRequest?.clientIP == "127.0.0.1" && first.httpRequest?.path == "/api/v1/query")
        #expect((first.stats?.timings["evalTotalTime"] ?? 0) > 0)
        let range = try #require(asked.first { $0.params?.query == "vector(2)" })
        #expect(range.params?.step == 15 && range.params?.end == "2023-11-14T22:14:20.000Z")
        #expect(
            asked.contains { $0.error?.contains("regular expression") == true || $0.error?.contains("regex") == true })
        let rule = try #require(try lines(log).first { $0.ruleGroup != nil })
        #expect(rule.ruleGroup?.name == "g" && rule.ruleGroup?.file.hasSuffix("rules.yaml") == true)
        #expect(rule.params?.query == "vector(1)")
        try await eventually("the failed scrape is written down") {
            try lines(directory + "/failures.log").contains {
                $0.jobName == "gone" && $0.target == "http://127.0.0.1:\(ports[1])/metrics" && !$0.msg.isEmpty
            }
        }

        // Moved away and reloaded: a new file is begun.
        try FileSystem.rename(log, to: log + ".1")
        #expect(await status("/-/reload", "POST") == 200)
        #expect(await status("/api/v1/query?query=vector(7)") == 200)
        try await eventually("the new file has the query") {
            try lines(log).contains { $0.params?.query == "vector(7)" }
        }
        #expect(try !lines(log + ".1").contains { $0.params?.query == "vector(7)" })

        // A file that cannot be opened is a refused configuration, and the old one goes on.
        try write(configuration("missing/queries.log"), "kops.yaml")
        #expect(await status("/-/reload", "POST") ?? 0 >= 400)
        #expect(await status("/api/v1/query?query=vector(8)") == 200)
        try await eventually("the old file has the query") {
            try lines(log).contains { $0.params?.query == "vector(8)" }
        }
        #expect(sidecar.stop() == 0)
    }
}
