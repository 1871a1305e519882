import FoundationEssentials
import Glibc
import Platform
import TestSupport
import Testing

/// What a server made of its targets: its series and their values, and why targets are down.
private struct Scraped: Codable, Equatable {
    /// By the series' labels as JSON.
    var series: [String: String] = [:]
    /// By job.
    var errors: [String: String] = [:]
}

private struct QueryAnswer: Decodable {
    struct Value: Decodable {
        var text: String
        init(from decoder: any Decoder) throws {
            var container = try decoder.unkeyedContainer()
            _ = try container.decode(Double.self)
            text = try container.decode(String.self)
        }
    }
    struct Series: Decodable {
        var metric: [String: String]
        var value: Value
    }
    struct Result: Decodable { var result: [Series] }
    var data: Result
}

private struct TargetsAnswer: Decodable {
    struct Target: Decodable {
        var scrapePool: String
        var lastError: String
    }
    struct Targets: Decodable { var activeTargets: [Target] }
    var data: Targets
}

/// Every key of a scrape configuration and its effect, against Prometheus: the same targets under the same configuration must
/// give the same series, `scrape_…` and `up` among them, and the same errors where tools show them. What Prometheus 2.53
/// gave is recorded in scrapes.json; KOPS_TEST_PROMETHEUS and KOPS_RECORD as in DiscoveryDifferenceTests.
@Suite struct ScrapeDifferenceTests {
    /// Reasons that are worded in each program's own way.
    private static let ownWords: Set<String> = ["broken", "hexadecimal", "open-without-end"]

    @Test(.enabled(if: isInstalled("python3"), "needs python3"), .timeLimit(.minutes(10)))
    func takesWhatPrometheusTakes() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let targets = try Program(
            ["python3", root + "/Tests/EndToEndTests/scrape_targets.py"], log: directory + "/port")
        defer { targets.stop(SIGKILL) }
        try await eventually("the targets serve") { targets.text.hasSuffix("\n") }
        let port = String(targets.text.prefix { $0.isNumber })
        for (name, text) in [("token", "secret\n"), ("password", "p\n")] {
            try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(name)")
        }
        let pattern = try FileSystem.readText(root + "/Tests/EndToEndTests/scrapes.yaml")
        let configuration = directory + "/prometheus.yml"
        try AtomicFile.write(Array(pattern.replacing("PORT", with: port).utf8), to: configuration)
        let ports = try freePorts(2)
        let client = HTTPClient(name: "test")
        let ours = try Program(
            [
                binary, "run", "--config", configuration, "--data-dir", directory + "/ours", "--listen",
                "127.0.0.1:\(ports[0])",
            ], log: directory + "/ours.log")
        let expected = try await prometheus(configuration, directory, ports[1], port, client)
        #expect(expected.series.count > 100)
        var found = Scraped()
        var difference: [String] = []
        do {
            try await eventually("the same series") {
                found = try await scraped(client, ports[0], port)
                difference = Set(expected.series.keys).union(found.series.keys).sorted().compactMap { key in
                    let (theirs, own) = (expected.series[key], found.series[key])
                    return theirs == own ? nil : "\(key): theirs \(theirs ?? "-"), ours \(own ?? "-")"
                }
                difference += Set(expected.errors.keys).union(found.errors.keys).sorted().compactMap { job in
                    let (theirs, own) = (expected.errors[job] ?? "", found.errors[job] ?? "")
                    let same = Self.ownWords.contains(job) ? theirs.isEmpty == own.isEmpty : theirs == own
                    return same ? nil : "\(job): theirs \"\(theirs)\", ours \"\(own)\""
                }
                return difference.isEmpty
            }
        } catch {
            Issue.record("\(error): \(difference.prefix(40).joined(separator: "\n"))\n\(ours.text.suffix(500))")
        }
    }

    private func scraped(_ client: HTTPClient, _ port: Int, _ targets: String) async throws -> Scraped {
        var out = Scraped()
        let query = "%7Bjob%3D~%22.%2B%22%7D"
        guard
            let answer = try? await client.send(
                HTTPRequest("GET", "http://127.0.0.1:\(port)/api/v1/query?query=\(query)")), answer.status == 200,
            let state = try? await client.send(HTTPRequest("GET", "http://127.0.0.1:\(port)/api/v1/targets"))
        else { return out }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        for series in try JSONDecoder().decode(QueryAnswer.self, from: Data(answer.body)).data.result {
            // How long it took, and what was new at the first scrape, differ from one moment to the next.
            let name = series.metric["__name__"] ?? ""
            if name == "scrape_duration_seconds" || name == "scrape_series_added" || name.hasPrefix("kops_") {
                continue
            }
            // As the documentation says, a scrape over its limit is a failed one; 2.53 says `up` 1 of it all the same.
            if name == "up", series.metric["job"] == "sample-limit" { continue }
            let key = String(decoding: try encoder.encode(series.metric), as: UTF8.self)
            out.series[key.replacing(targets, with: "PORT")] = series.value.text
        }
        for target in try JSONDecoder().decode(TargetsAnswer.self, from: Data(state.body)).data.activeTargets
        where target.scrapePool != "sample-limit" && !target.lastError.isEmpty {
            out.errors[target.scrapePool] = target.lastError.replacing(targets, with: "PORT")
        }
        return out
    }

    private func prometheus(
        _ configuration: String, _ directory: String, _ port: Int, _ targets: String, _ client: HTTPClient
    ) async throws -> Scraped {
        let recording = root + "/Tests/EndToEndTests/scrapes.json"
        guard let program = getenv("KOPS_TEST_PROMETHEUS").map({ String(cString: $0) }) else {
            return try JSONDecoder().decode(Scraped.self, from: Data(try FileSystem.read(recording)))
        }
        let server = try Program(
            [
                program, "--config.file=\(configuration)", "--storage.tsdb.path=\(directory)/theirs",
                "--web.listen-address=127.0.0.1:\(port)",
            ], log: directory + "/theirs.log")
        defer { server.stop(SIGKILL) }
        var last = Scraped()
        try await eventually("Prometheus has scraped everything") {
            let now = try await scraped(client, port, targets)
            defer { last = now }
            try await Task.sleep(for: .seconds(4))
            return now == last && now.series.count > 100
        }
        if getenv("KOPS_RECORD") != nil {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            try AtomicFile.write(Array(try encoder.encode(last)), to: recording)
        }
        return last
    }
}
