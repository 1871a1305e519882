import FoundationEssentials
import Glibc
import Platform
import TestSupport
import Testing

private struct Target: Codable, Hashable {
    var scrapePool: String?
    var labels: [String: String]?
    var discoveredLabels: [String: String]
    var scrapeUrl: String?
}

private struct Answer: Decodable {
    struct Targets: Decodable {
        var activeTargets: [Target]
        var droppedTargets: [Target]?
    }
    var data: Targets
}

private func targets(_ client: HTTPClient, _ port: Int) async throws -> Set<Target>? {
    guard let answer = try? await client.send(HTTPRequest("GET", "http://127.0.0.1:\(port)/api/v1/targets")),
        answer.status == 200
    else { return nil }
    let data = try JSONDecoder().decode(Answer.self, from: Data(answer.body)).data
    return Set(
        (data.activeTargets + (data.droppedTargets ?? [])).map { target in
            var target = target
            // Debian's Prometheus does not say of which pool a dropped target was.
            if target.labels?.isEmpty ?? true { (target.labels, target.scrapePool) = (nil, nil) }
            return target
        })
}

/// Labels and targets that Prometheus 3 has and 2.53, of which the recording is, has not: init containers and sidecars behind a
/// service.
private func asBefore(_ target: Target) -> Target? {
    guard
        target.discoveredLabels.keys.contains(where: { $0.hasPrefix("__meta_kubernetes_endpoint") })
            || target.scrapePool == "endpoints" || target.scrapePool == "slices"
    else { return target }
    if target.discoveredLabels["__meta_kubernetes_pod_container_port_name"] == "side" { return nil }
    var target = target
    target.discoveredLabels["__meta_kubernetes_pod_container_init"] = nil
    return target
}

/// Discovery and relabelling against Prometheus: the same configuration, the same API server (a stand-in), the same files;
/// every target's labels, before and after relabelling, must be equal.
///
/// Debian builds its Prometheus without Kubernetes discovery, so what Prometheus 2.53 answered is recorded in
/// discovery-targets.json. KOPS_TEST_PROMETHEUS names a program to compare with instead; with KOPS_RECORD=1 its answer is
/// recorded.
@Suite struct DiscoveryDifferenceTests {
    @Test(.enabled(if: isInstalled("python3"), "needs python3"), .timeLimit(.minutes(10)))
    func findsWhatPrometheusFinds() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let server = try KubeAPIStandIn(["--objects", root + "/Tests/EndToEndTests/cluster-objects.json"])
        let pattern = try FileSystem.readText(root + "/Tests/EndToEndTests/discovery.yaml")
        let configuration = directory + "/prometheus.yml"
        try AtomicFile.write(Array(pattern.replacing("API", with: server.url).utf8), to: configuration)
        let files = #"[{"targets":["10.5.0.1:9100","10.5.0.2:9100"],"labels":{"rack":"r1","__meta_x":"y"}}]"#
        try AtomicFile.write(Array(files.utf8), to: directory + "/nodes.json")
        let client = HTTPClient(name: "test")
        let ports = try freePorts(2)
        let ours = try Program(
            [
                binary, "run", "--config", configuration, "--data-dir", directory + "/ours", "--listen",
                "127.0.0.1:\(ports[0])",
            ], log: directory + "/ours.log")
        let expected = try await prometheusTargets(configuration, directory, ports[1], client)
        var difference = ""
        do {
            try await eventually("the same targets") {
                guard let all = try await targets(client, ports[0]) else { return false }
                let found = Set(all.compactMap(asBefore))
                difference =
                    "only theirs: \(expected.subtracting(found)); only ours: \(found.subtracting(expected))"
                return found == expected && all.count == found.count + 2
            }
        } catch {
            Issue.record(
                "\(error): \(difference.replacing(directory, with: "").prefix(6000))\n\(ours.text.suffix(1000))")
            return
        }
        #expect(expected.count > 40)
        // A pod that comes and a file that changes are found.
        try await server.put(
            #"{"kind":"Pod","metadata":{"name":"late","namespace":"demo","uid":"u9","labels":{"app":"web"}},"spec":{"nodeName":"w1","#
                + #""containers":[{"name":"c","image":"i"}]},"status":{"phase":"Running","podIP":"10.1.0.77"}}"#)
        try AtomicFile.write(Array(#"[{"targets":["10.5.0.9:9100"]}]"#.utf8), to: directory + "/nodes.json")
        try await eventually("what came is found") {
            guard let all = try await targets(client, ports[0]) else { return false }
            return all.contains { $0.labels?["pod"] == "demo/late" }
                && all.contains { $0.labels?["instance"] == "10.5.0.9:9100" }
                && !all.contains { $0.labels?["instance"] == "10.5.0.1:9100" }
        }
        // The API server dies: the targets stay, and the watches say so.
        let before = try await targets(client, ports[0])
        server.stop()
        try await eventually("the watches say so") {
            let own = try await client.send(HTTPRequest("GET", "http://127.0.0.1:\(ports[0])/metrics")).bodyText
            return own.contains("kops_kubernetes_watch_up") && !own.contains(#"resource="pods",namespace=""} 1"#)
        }
        #expect(try await targets(client, ports[0]) == before)
    }

    private func prometheusTargets(
        _ configuration: String, _ directory: String, _ port: Int, _ client: HTTPClient
    ) async throws -> Set<Target> {
        let recording = root + "/Tests/EndToEndTests/discovery-targets.json"
        guard let program = environment("KOPS_TEST_PROMETHEUS") else {
            let text = try FileSystem.readText(recording).replacing("DIRECTORY", with: directory)
            return Set(try JSONDecoder().decode([Target].self, from: Data(text.utf8)))
        }
        let prometheus = try Program(
            [
                program, "--config.file=\(configuration)", "--storage.tsdb.path=\(directory)/theirs",
                "--web.listen-address=127.0.0.1:\(port)",
            ], log: directory + "/theirs.log")
        defer { prometheus.stop(SIGKILL) }
        // It gathers for five seconds before it says anything.
        var found: Set<Target> = []
        try await eventually("Prometheus has its targets") {
            guard let now = try await targets(client, port) else { return false }
            defer { found = now }
            try await Task.sleep(for: .seconds(7))
            return now == found && now.count > 40
        }
        if environment("KOPS_RECORD") != nil {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            let sorted = found.sorted {
                "\($0.discoveredLabels.sorted { $0.key < $1.key })\($0.scrapePool ?? "")"
                    < "\($1.discoveredLabels.sorted { $0.key < $1.key })\($1.scrapePool ?? "")"
            }
            let text = String(decoding: try encoder.encode(sorted), as: UTF8.self)
            try AtomicFile.write(Array(text.replacing(directory, with: "DIRECTORY").utf8), to: recording)
        }
        return found
    }
}

private func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
