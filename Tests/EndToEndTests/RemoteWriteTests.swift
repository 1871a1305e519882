import FoundationEssentials
import Glibc
import Platform
import TestSupport
import Testing

/// Two programs on loopback: the sidecar, and a real Prometheus that takes remote write or asks by remote read.
private final class Pair {
    let directory: String
    let ports: [Int]
    let http = HTTPClient(name: "pair")
    var sidecar: Program?
    var prometheus: Program?

    init() throws {
        directory = try scratch()
        ports = try freePorts(3)
    }

    deinit {
        http.shutdown()
        try? FileSystem.removeTree(directory)
    }

    var own: String { "http://127.0.0.1:\(ports[0])" }
    var other: String { "http://127.0.0.1:\(ports[1])" }

    func startSidecar(_ extra: String, storage: String = "engine: sqlite") async throws {
        try configure(extra, storage)
        sidecar = try Program([binary, "run", "--config", directory + "/kops.yaml"], log: directory + "/sidecar.log")
        try await eventually("the sidecar is ready: \(sidecar?.text ?? "")") {
            (try? await self.status(self.own + "/-/ready")) == 200
        }
    }

    func reload(_ extra: String) async throws {
        try configure(extra, "engine: sqlite")
        let answer = try await http.send(HTTPRequest("POST", own + "/-/reload"))
        guard answer.status == 200 else { throw TestProblem(answer.bodyText) }
    }

    private func configure(_ extra: String, _ storage: String) throws {
        let config = """
            global: {scrape_interval: 1s, scrape_timeout: 1s, external_labels: {cluster: pair}}
            scrape_configs:
              - job_name: self
                honor_labels: true
                static_configs: [{targets: [self]}]
            storage: {path: \(directory)/data, \(storage)}
            http: {listen: "127.0.0.1:\(ports[0])"}
            \(extra)
            """
        try AtomicFile.write(Array(config.utf8), to: directory + "/kops.yaml")
    }

    func startPrometheus(_ config: String = "global: {external_labels: {from: prometheus}}\n") async throws {
        try AtomicFile.write(Array(config.utf8), to: directory + "/prometheus.yml")
        prometheus = try Program(
            [
                "prometheus", "--config.file=\(directory)/prometheus.yml",
                "--storage.tsdb.path=\(directory)/prometheus",
                "--web.enable-remote-write-receiver", "--web.listen-address=127.0.0.1:\(ports[1])", "--log.level=warn",
            ], log: directory + "/prometheus.log")
        try await eventually("Prometheus is ready: \(prometheus?.text ?? "")") {
            (try? await self.status(self.other + "/-/ready")) == 200
        }
    }

    func status(_ url: String) async throws -> Int {
        var request = HTTPRequest("GET", url)
        request.timeout = .seconds(90)
        return try await http.send(request).status
    }

    struct Answer: Decodable {
        struct Body: Decodable { var result: [Series] }
        struct Series: Decodable {
            var metric: [String: String]
            var values: [Point]?
        }
        struct Point: Decodable {
            var time: Double
            var value: String

            init(from decoder: any Decoder) throws {
                var list = try decoder.unkeyedContainer()
                time = try list.decode(Double.self)
                value = try list.decode(String.self)
            }
        }
        var data: Body
    }

    /// Every sample of a selector up to a moment, as `series time` → value; `cluster` left out.
    func samples(_ base: String, _ selector: String, at moment: Int64) async throws -> [String: String] {
        var request = HTTPRequest("POST", base + "/api/v1/query")
        request.headers = [("Content-Type", "application/x-www-form-urlencoded")]
        let query = selector.utf8.map { "%" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        request.body = Array("query=\(query)%5B10m%5D&time=\(moment)".utf8)
        request.timeout = .seconds(60)
        let response = try await http.send(request)
        guard response.status == 200 else { throw TestProblem("\(base): \(response.bodyText)") }
        var out: [String: String] = [:]
        for series in try JSONDecoder().decode(Answer.self, from: Data(response.body)).data.result {
            let name = series.metric.filter { $0.key != "cluster" }.sorted { $0.key < $1.key }
                .map { "\($0.key)=\($0.value)" }.joined(separator: ",")
            for point in series.values ?? [] { out["\(name) \(point.time)"] = point.value }
        }
        return out
    }

    var now: Int64 { Int64(time(nil)) }
}

@Suite(.serialized) struct RemoteWriteTests {
    private let remoteWrite = "remote_write: [{url: \"URL/api/v1/write\", queue_config: {batch_send_deadline: 500ms}}]"

    /// The receiver goes away and comes back, the sidecar is killed and started again: nothing is missing.
    @Test(.enabled(if: isInstalled("prometheus"), "needs the Debian package prometheus"), .timeLimit(.minutes(10)))
    func losesNothing() async throws {
        let pair = try Pair()
        let config = remoteWrite.replacing("URL", with: pair.other)
        try await pair.startPrometheus()
        try await pair.startSidecar(config)
        func arrived(after moment: Int64) async throws {
            try await eventually("samples arrive: \(pair.sidecar?.text ?? "")") {
                try await !pair.samples(pair.other, "up", at: pair.now).filter { key, _ in
                    key.split(separator: " ").last.flatMap { Double($0) } ?? 0 > Double(moment)
                }.isEmpty
            }
        }
        try await arrived(after: 0)
        // An outage of the receiver.
        pair.prometheus?.stop(SIGKILL)
        try await Task.sleep(for: .seconds(4))
        try await pair.startPrometheus()
        try await arrived(after: pair.now)
        // The sidecar is killed; while it is down the receiver is up, so what it had not sent must come afterwards.
        pair.prometheus?.stop(SIGKILL)
        try await Task.sleep(for: .seconds(3))
        pair.sidecar?.stop(SIGKILL)
        try await pair.startPrometheus()
        try await pair.startSidecar(config)
        try await arrived(after: pair.now)
        let end = pair.now - 1
        try await arrived(after: end + 2)
        let selector = #"{__name__=~"up|scrape_samples_scraped|kops_build_info|process_cpu_seconds_total"}"#
        let stored = try await pair.samples(pair.own, selector, at: end)
        let sent = try await pair.samples(pair.other, selector, at: end)
        #expect(stored.count > 30)
        let missing = stored.keys.filter { sent[$0] != stored[$0] }.sorted()
        #expect(missing.isEmpty, "\(missing.prefix(5)) of \(stored.count)")
        // What the sidecar lost itself when it was killed may have been sent before: at most its last second.
        #expect(sent.keys.filter { stored[$0] == nil }.count <= 8)
        let metrics = try await pair.http.send(HTTPRequest("GET", pair.own + "/metrics")).bodyText
        #expect(metrics.contains("prometheus_remote_storage_samples_total{remote_name="))
        #expect(!metrics.contains("kops_remote_write_lost_logs_total{") || metrics.contains("} 0"))
        pair.sidecar?.stop()
    }

    /// A Prometheus that reads from the sidecar shows its samples, whole or as chunks.
    @Test(.enabled(if: isInstalled("prometheus"), "needs the Debian package prometheus"), .timeLimit(.minutes(10)))
    func answersRemoteRead() async throws {
        let pair = try Pair()
        try await pair.startSidecar("")
        try await pair.startPrometheus(
            "remote_read: [{url: \"\(pair.own)/api/v1/read\", read_recent: true}]\n")
        try await eventually("some samples") { try await pair.samples(pair.own, "up", at: pair.now).count > 4 }
        let end = pair.now - 1
        let selector = #"{__name__=~"up|scrape_duration_seconds|process_.*"}"#
        let stored = try await pair.samples(pair.own, selector, at: end)
        #expect(stored.count > 10)
        #expect(try await pair.samples(pair.other, selector, at: end) == stored)
        pair.sidecar?.stop()
    }

    /// The sidecar reads what a Prometheus stores: the same samples, merged with its own; who does not answer is a warning.
    @Test(.enabled(if: isInstalled("prometheus"), "needs the Debian package prometheus"), .timeLimit(.minutes(10)))
    func readsFromAPrometheus() async throws {
        let pair = try Pair()
        try await pair.startPrometheus(
            """
            global: {scrape_interval: 1s, external_labels: {cluster: pair}}
            scrape_configs: [{job_name: theirs, static_configs: [{targets: ["127.0.0.1:\(pair.ports[1])"]}]}]
            """)
        func read(_ keys: String) -> String {
            "remote_read: [{name: theirs, url: \"\(pair.other)/api/v1/read\", \(keys)}]"
        }
        try await pair.startSidecar(read("read_recent: true, required_matchers: {job: theirs}"))
        try await eventually("some samples of both") {
            let theirs = try await pair.samples(pair.other, "up", at: pair.now).count
            let own = try await pair.samples(pair.own, #"up{job="self"}"#, at: pair.now).count
            return theirs > 4 && own > 2
        }
        let end = pair.now - 1
        let selector = #"{__name__=~"up|scrape_duration_seconds|process_.*|go_memstats_.*",job="theirs"}"#
        let stored = try await pair.samples(pair.other, selector, at: end)
        #expect(stored.count > 50)
        #expect(try await pair.samples(pair.own, selector, at: end) == stored)
        #expect(try await pair.samples(pair.own, "up", at: end).keys.allSatisfy { $0.contains("job=self") })
        // Without the required matcher both are there.
        try await pair.reload(read("read_recent: true"))
        let both = Set(
            try await pair.samples(pair.own, "up", at: end).keys.compactMap { $0.split(separator: " ").first })
        #expect(both.count == 2, "\(both)")
        // What is newer than the first local sample is not asked for.
        try await pair.reload(read("read_recent: false"))
        #expect(
            try await pair.samples(pair.own, #"up{job="theirs"}"#, at: end + 60).allSatisfy { key, _ in
                (key.split(separator: " ").last.flatMap { Double($0) } ?? 0) <= Double(end)
            })
        // Nobody there: an answer all the same, with a warning that names who is missing.
        try await pair.reload(read("read_recent: true"))
        pair.prometheus?.stop(SIGKILL)
        let answer = try await pair.http.send(HTTPRequest("GET", pair.own + "/api/v1/query?query=up"))
        #expect(answer.status == 200 && answer.bodyText.contains(#""warnings":["remote_read theirs: "#))
        #expect(answer.bodyText.contains(#""job":"self""#), "\(answer.bodyText)")
        let metrics = try await pair.http.send(HTTPRequest("GET", pair.own + "/metrics")).bodyText
        #expect(metrics.contains("prometheus_remote_storage_read_queries_total{remote_name=\"theirs\""))
        pair.sidecar?.stop()
    }

    /// Queries and rules are answered by another Prometheus, which gets every sample; its outage shows and ends.
    @Test(.enabled(if: isInstalled("prometheus"), "needs the Debian package prometheus"), .timeLimit(.minutes(10)))
    func runsOnARemoteEngine() async throws {
        let pair = try Pair()
        try AtomicFile.write(
            Array(
                "groups: [{name: g, interval: 1s, rules: [{record: 'job:up:sum', expr: 'sum by (job) (up)'}]}]\n".utf8),
            to: pair.directory + "/rules.yaml")
        try await pair.startPrometheus()
        try await pair.startSidecar(
            """
            rule_files: [rules.yaml]
            """,
            storage:
                "engine: remote, remote: {query_url: \"\(pair.other)\", write_url: \"\(pair.other)/api/v1/write\"}")
        // The rule reads what was written there, and its result comes back the same way.
        try await eventually("the rule's result is in the engine: \(pair.sidecar?.text ?? "")") {
            try await !pair.samples(pair.other, "job:up:sum", at: pair.now).isEmpty
        }
        #expect(try await !pair.samples(pair.own, "job:up:sum", at: pair.now).isEmpty)
        let answer = try await pair.http.send(HTTPRequest("GET", pair.own + "/api/v1/label/job/values"))
        #expect(answer.bodyText.contains("self"))
        pair.prometheus?.stop(SIGKILL)
        try await eventually("the outage shows in the rule's health") {
            let rules = try await pair.http.send(HTTPRequest("GET", pair.own + "/api/v1/rules")).bodyText
            return rules.contains(#""health":"err""#) && rules.contains("the remote engine")
        }
        #expect(try await pair.status(pair.own + "/api/v1/query?query=up") == 503)
        try await pair.startPrometheus()
        let back = pair.now
        try await eventually("the rule goes on") {
            try await pair.samples(pair.own, "job:up:sum", at: pair.now).keys.contains {
                $0.split(separator: " ").last.flatMap { Double($0) } ?? 0 > Double(back)
            }
        }
        pair.sidecar?.stop()
    }
}
