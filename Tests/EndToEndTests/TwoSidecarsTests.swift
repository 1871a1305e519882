import Glibc
import Platform
import TestSupport
import Testing

/// Two sidecars with the same rules and one Lease, in a stand-in for the cluster's API, which serves the exporter too. Each has
/// a path of its own at the receiver, so that it is seen who speaks.
private final class Pair {
    let directory: String
    let ports: [Int]
    let cluster: KubeAPIStandIn
    let sink: Program
    let http = HTTPClient(name: "two-sidecars")
    private(set) var sidecars: [String: Program] = [:]

    init() throws {
        directory = try scratch()
        ports = try freePorts(3)
        cluster = try KubeAPIStandIn()
        sink = try Program(
            ["/usr/bin/python3", root + "/Tests/EndToEndTests/receivers.py", "http", "\(ports[2])"],
            log: directory + "/sink")
        try write(
            """
            apiVersion: v1
            kind: Config
            current-context: c
            clusters: [{name: c, cluster: {server: "\(cluster.url)"}}]
            users: [{name: u, user: {token: t}}]
            contexts: [{name: c, context: {cluster: c, user: u}}]
            """, "kubeconfig")
        try write(
            "groups: [{name: g, interval: 1s, rules: [{alert: Flag, expr: 'flag == 1', labels: {n: '{{ $labels.i }}'}}]}]",
            "rules.yaml")
    }

    deinit {
        for sidecar in sidecars.values { sidecar.stop(SIGKILL) }
        sink.stop(SIGKILL)
        http.shutdown()
        try? FileSystem.removeTree(directory)
    }

    private func write(_ text: String, _ name: String) throws {
        try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(name)")
    }

    /// Which flags are up.
    func raise(_ flags: Set<Int>) async throws {
        let body = (1...5).map { "flag{i=\\\"\($0)\\\"} \(flags.contains($0) ? 1 : 0)\\n" }.joined()
        try await cluster.control(
            "route", #"{"path": "/exporter/metrics", "status": 200, "type": "text/plain", "body": "\#(body)"}"#)
    }

    func start(_ name: String) async throws {
        let port = ports[name == "a" ? 0 : 1]
        try write(
            """
            global: {scrape_interval: 1s, evaluation_interval: 1s}
            scrape_configs:
              - {job_name: exporter, metrics_path: /exporter/metrics, static_configs: [{targets: ["127.0.0.1:\(cluster.port)"]}]}
            rule_files: [rules.yaml]
            storage: {path: \(directory)/data-\(name)}
            http: {listen: "127.0.0.1:\(port)"}
            cluster: {kubeconfig: kubeconfig}
            jobs: {leader: lease, lease: {identity: \(name), duration: 10s, renew_deadline: 8s, retry_period: 500ms}}
            notifications:
              route: {receiver: r, group_by: [n], group_wait: 500ms, group_interval: 1s, repeat_interval: 4h}
              receivers: [{name: r, webhook_configs: [{url: 'http://127.0.0.1:\(ports[2])/ok/\(name)'}]}]
            """, "\(name).yaml")
        sidecars[name] = try Program(
            [binary, "run", "--config", "\(directory)/\(name).yaml"], log: "\(directory)/log-\(name)")
        try await eventually("\(name) answers") { (try? await self.get(name, "/-/ready")) != nil }
    }

    func get(_ name: String, _ path: String) async throws -> String {
        try await http.send(HTTPRequest("GET", "http://127.0.0.1:\(ports[name == "a" ? 0 : 1])\(path)")).bodyText
    }

    func leads(_ name: String) async throws -> Bool {
        try await get(name, "/metrics").contains("kops_leader_is_leader 1")
    }

    func isFiring(_ flag: Int, at name: String) async throws -> Bool {
        try await get(name, "/api/v2/alerts").contains(#""n":"\#(flag)""#)
    }

    /// Messages of one sidecar about one flag with that status.
    func told(_ name: String, _ flag: Int, _ status: String = "firing") -> Int {
        let lines = ((try? FileSystem.readText(directory + "/sink")) ?? "").split(separator: "\n")
        return lines.count {
            $0.contains(" /ok/\(name) ") && $0.contains(#""groupLabels":{"n":"\#(flag)"}"#)
                && $0.contains(#""status":"\#(status)","alerts""#)
        }
    }

    func kill(_ name: String, _ signal: Int32) { sidecars.removeValue(forKey: name)?.stop(signal) }
}

@Suite(.enabled(if: KubeAPIStandIn.isPossible, "needs python3"), .serialized) struct TwoSidecarsTests {
    @Test(.timeLimit(.minutes(10))) func theHolderTellsAndItsEndLosesNothing() async throws {
        let pair = try Pair()
        try await pair.raise([])
        try await pair.start("a")
        try await eventually("a leads") { try await pair.leads("a") }
        try await pair.start("b")
        try await pair.raise([1])
        try await eventually("a tells") { pair.told("a", 1) == 1 }
        try await eventually("b knows") { try await pair.isFiring(1, at: "b") }

        // Killed while a new alert is about to be told: the other takes over within the lease and tells it.
        let killed = ContinuousClock.now
        pair.kill("a", SIGKILL)
        try await pair.raise([1, 2])
        try await eventually("b tells of what a could not") { pair.told("b", 2) == 1 }
        print("b told it \(ContinuousClock.now - killed) after a was killed, with a lease of 10 s")
        #expect(try await pair.leads("b"))
        #expect(pair.told("b", 1) <= 1, "a repeat is the worst that happens")
        let repeats = pair.told("b", 1)
        // What a told as firing, b tells as resolved.
        try await pair.raise([2])
        try await eventually("b tells the end of what a had told") { pair.told("b", 1, "resolved") == 1 }

        // Back again, a listens.
        try await pair.start("a")
        try await eventually("a knows") { try await pair.isFiring(2, at: "a") }
        try await pair.raise([2, 3])
        try await eventually("b tells") { pair.told("b", 3) == 1 }
        try await eventually("a knows that too") { try await pair.isFiring(3, at: "a") }
        // An orderly end hands over at once.
        pair.kill("b", SIGTERM)
        try await pair.raise([2, 3, 4])
        try await eventually("a leads and tells") { pair.told("a", 4) == 1 }
        #expect(try await pair.leads("a"))
        // Nobody was told twice by one sidecar, and nothing was lost.
        for flag in 1...4 {
            #expect(pair.told("a", flag) <= (flag == 1 ? 2 : 1) && pair.told("b", flag) <= 1, "flag \(flag)")
            #expect(pair.told("a", flag) + pair.told("b", flag) >= 1, "flag \(flag)")
        }
        #expect(pair.told("b", 1) == repeats && pair.told("a", 1) == 1)
    }
}
