import FoundationEssentials
import Glibc
import Platform
import TestSupport
import Testing

/// A sidecar that scrapes itself and evaluates a rule every second, while somebody asks too much of it.
@Suite(.serialized) struct HugeQueryTests {
    private struct Asker: Sendable {
        let port: Int
        let http: HTTPClient

        func query(_ expression: String, range: Bool = false, timeout: Duration = .seconds(100)) async throws
            -> HTTPResponse
        {
            var request = HTTPRequest("POST", "http://127.0.0.1:\(port)/api/v1/query\(range ? "_range" : "")")
            request.headers = [("Content-Type", "application/x-www-form-urlencoded")]
            let text = expression.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            let now = time(nil)
            request.body = Array("query=\(text)\(range ? "&start=\(now - 10_990)&end=\(now)&step=1" : "")".utf8)
            request.timeout = timeout
            return try await http.send(request)
        }
    }

    private final class Scene {
        let directory: String
        let port: Int
        let http = HTTPClient(name: "huge")
        private(set) var sidecar: Program?

        init() throws {
            directory = try scratch()
            port = try freePorts(1)[0]
            try write(
                "groups: [{name: g, interval: 1s, rules: [{record: one, expr: 'count(up)'}]}]\n", "rules.yaml")
            try write(
                """
                global: {scrape_interval: 1s}
                scrape_configs: [{job_name: self, honor_labels: true, static_configs: [{targets: [self]}]}]
                rule_files: [rules.yaml]
                storage: {path: \(directory)/data}
                http: {listen: "127.0.0.1:\(port)"}
                """, "kops.yaml")
        }

        deinit {
            sidecar?.stop(SIGKILL)
            http.shutdown()
            try? FileSystem.removeTree(directory)
        }

        private func write(_ text: String, _ name: String) throws {
            try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(name)")
        }

        func start() async throws {
            sidecar = try Program([binary, "run", "--config", directory + "/kops.yaml"], log: directory + "/log")
            try await eventually("the rule's results are stored") {
                (try? await self.number("count_over_time(one[1m])")) ?? 0 > 2
            }
        }

        var asker: Asker { Asker(port: port, http: http) }

        func number(_ expression: String) async throws -> Double? {
            let body = try await asker.query(expression).bodyText
            return body.split(separator: "\"").dropLast().last.flatMap { Double($0) }
        }

        /// Of the sidecar's own metrics, as it serves them.
        func metric(_ line: String) async throws -> Double {
            let text = try await http.send(HTTPRequest("GET", "http://127.0.0.1:\(port)/metrics")).bodyText
            let found = text.split(separator: "\n").first { $0.hasPrefix(line + " ") }
            return found?.split(separator: " ").last.flatMap { Double($0) } ?? 0
        }

        /// The most memory that it ever had resident, in MiB.
        var peak: Int {
            let status = (try? FileSystem.readText("/proc/\(sidecar?.pid ?? 0)/status")) ?? ""
            let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") } ?? ""
            return (line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) / 1024
        }
    }

    /// Sorts windows of 3,600 samples 11,000 times for each of a hundred terms: minutes of work.
    private let endless = (0..<100).map {
        #"quantile_over_time(0.\#(100 + $0), (sum({__name__=~".+"} @ end()) + time())[1h:1s])"#
    }.joined(separator: " + ")

    @Test(.timeLimit(.minutes(10))) func whoGoesAwayEndsTheWork() async throws {
        let scene = try Scene()
        try await scene.start()
        let (asker, text) = (scene.asker, endless)
        let task = Task { try await asker.query(text, range: true) }
        // It has a connection, and this question another.
        try await eventually("it was sent") { try await scene.metric("kops_http_connections") >= 2 }
        try await Task.sleep(for: .seconds(2))
        let stopped = #"kops_queries_stopped_total{reason="canceled"}"#
        #expect(try await scene.metric(stopped) == 0)
        task.cancel()
        await #expect(throws: (any Error).self) { _ = try await task.value }
        let left = ContinuousClock.now
        try await eventually("the evaluation has ended") { try await scene.metric(stopped) == 1 }
        // Seldom more than some milliseconds; a busy machine is given more.
        print("the evaluation ended \(ContinuousClock.now - left) after the client had gone")
    }

    @Test(.timeLimit(.minutes(10))) func scrapingAndRulesGoOnMeanwhile() async throws {
        let scene = try Scene()
        try await scene.start()
        let asker = scene.asker
        let begun = ContinuousClock.now
        let all = #"{__name__=~".+"}"#
        let questions: [(name: String, text: String, range: Bool)] = [
            ("a thousand million samples", "sum(count_over_time(\(all)[1h:1ms] @ end()))", false),
            ("a million groups", #"count_values("v", last_over_time(\#(all)[10m] @ end()) * time())"#, true),
            (
                "ten thousand levels",
                String(repeating: "-(", count: 10_000) + "1" + String(repeating: ")", count: 10_000),
                false
            ),
            (
                "ten thousand calls",
                String(repeating: "abs(", count: 10_000) + "up" + String(repeating: ")", count: 10_000), true
            ),
        ]
        // For ten seconds, all of them again and again.
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (name, text, range) in questions {
                group.addTask {
                    while ContinuousClock.now - begun < .seconds(10) {
                        let answer = try await asker.query(text, range: range)
                        #expect([400, 422, 503].contains(answer.status), "\(name): \(answer.bodyText.prefix(200))")
                        #expect(answer.bodyText.hasPrefix(#"{"status":"error""#), "\(name)")
                    }
                }
            }
            try await group.waitForAll()
        }
        let seconds = Int((ContinuousClock.now - begun) / .seconds(1))
        let scrapes = try await scene.number(#"count_over_time(up{job="self"}[\#(seconds)s])"#) ?? 0
        let results = try await scene.number("count_over_time(one[\(seconds)s])") ?? 0
        print("\(seconds) s: \(scrapes) scrapes, \(results) rule results, \(scene.peak) MiB at most")
        // All of them, where nothing else is at work on the machine.
        #expect(scrapes >= Double(seconds) * 0.5 && results >= Double(seconds) * 0.5)
        let missed = try await scene.number(#"sum(prometheus_rule_group_iterations_missed_total)"#) ?? 0
        #expect(missed <= Double(seconds) * 0.5)
        #expect(scene.peak < 4096)
    }

    @Test(.timeLimit(.minutes(10))) func largeAnswersAreCompressedAsTheyLeave() async throws {
        let scene = try Scene()
        try await scene.start()
        let text = #"last_over_time({__name__=~"kops_.*|process_.*"}[10m] @ end())"#
        // As libcurl does for us, and as they are.
        let packed = try await scene.asker.query(text, range: true)
        #expect(packed.header("content-encoding") == "gzip" && packed.body.count > 4 << 20)
        #expect(packed.bytesReceived * 5 < packed.body.count, "\(packed.bytesReceived) of \(packed.body.count)")
        struct Answer: Decodable {
            struct Body: Decodable { var result: [Series] }
            struct Series: Decodable { var metric: [String: String] }
            var data: Body
        }
        let series = try JSONDecoder().decode(Answer.self, from: Data(packed.body)).data.result
        #expect(series.count > 50)
    }
}
