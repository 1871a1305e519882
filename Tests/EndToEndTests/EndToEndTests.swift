import Glibc
import Platform
import TestSupport
import Testing

/// A sidecar of the test's own, with the real parts it needs, all on loopback and ports of their own.
private final class Scene {
    let directory: String
    let ports: [Int]
    var programs: [Program] = []
    let http = HTTPClient(name: "e2e")
    var sidecar: Program?

    init() throws {
        directory = try scratch()
        ports = try freePorts(6)
    }

    deinit {
        http.shutdown()
        try? FileSystem.removeTree(directory)
    }

    var url: String { "http://127.0.0.1:\(ports[0])" }
    var config: String { directory + "/kops-sidecar.yaml" }

    func write(_ text: String, _ name: String) throws {
        try AtomicFile.write(Array(text.utf8), to: directory + "/" + name)
    }

    func startParts() throws {
        programs.append(
            try Program(
                [root + "/scripts/start-etcd", directory + "/etcd", "\(ports[1])", "\(ports[2])"],
                log: directory + "/etcd.log"))
        programs.append(
            try Program(
                ["prometheus-node-exporter", "--web.listen-address=127.0.0.1:\(ports[3])"],
                log: directory + "/node-exporter.log"))
        programs.append(
            try Program(
                ["/usr/bin/python3", "-m", "aiosmtpd", "-n", "-l", "127.0.0.1:\(ports[4])"],
                log: directory + "/mail.log"))
        programs.append(
            try Program(
                ["/usr/bin/python3", root + "/Tests/EndToEndTests/webhook.py", "\(ports[5])"],
                log: directory + "/webhook.log"))
    }

    /// Puts keys in transactions of a hundred.
    func fill(_ keys: Int) async throws {
        for start in stride(from: 0, to: keys, by: 100) {
            let puts = (start..<start + 100).map { "put key-\($0) value-\($0)" }.joined(separator: "\\n")
            let answer = try await etcdctl("txn <<< $'\\n\(puts)\\n\\n'")
            guard answer.status == 0 else { throw TestProblem(answer.output) }
        }
    }

    func startSidecar() async throws {
        let sidecar = try Program([binary, "run", "--config", config], log: directory + "/sidecar.log")
        self.sidecar = sidecar
        try await eventually("ready") {
            if let status = sidecar.exitStatus { throw TestProblem("it ended with \(status): \(sidecar.text)") }
            return (try? await get("/-/ready"))?.status == 200
        }
    }

    func get(_ path: String, _ method: String = "GET") async throws -> (status: Int, body: String) {
        var request = HTTPRequest(method, url + path)
        request.timeout = .seconds(90)
        let response = try await http.send(request)
        return (response.status, response.bodyText)
    }

    var mail: String { (try? FileSystem.readText(directory + "/mail.log")) ?? "" }

    var webhook: String { (try? FileSystem.readText(directory + "/webhook.log")) ?? "" }

    func configuration(extra: String = "") -> String {
        """
        global: {scrape_interval: 1s, evaluation_interval: 1s, external_labels: {cluster: e2e}}
        scrape_configs:
          - job_name: self
            honor_labels: true
            static_configs: [{targets: [self]}]
          - job_name: node
            static_configs: [{targets: ["127.0.0.1:\(ports[3])"]}]
          - job_name: etcd
            scheme: https
            tls_config: {ca_file: etcd/pki/ca.crt, cert_file: etcd/pki/healthcheck-client.crt, key_file: etcd/pki/healthcheck-client.key}
            static_configs: [{targets: ["127.0.0.1:\(ports[1])"]}]
        rule_files: [rules.yaml]
        storage: {path: \(directory)/data}
        http: {listen: "127.0.0.1:\(ports[0])"}
        notifications:
          route: {receiver: mail, group_by: [alertname], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
          receivers:
            - name: mail
              webhook_configs: [{url: "http://127.0.0.1:\(ports[5])/hook"}]
              email_configs:
                - {to: ops@example.org, from: kops@example.org, smarthost: "127.0.0.1:\(ports[4])", require_tls: false, send_resolved: true}
        etcd: {endpoints: ["https://127.0.0.1:\(ports[1])"], ca: etcd/pki/ca.crt, cert: etcd/pki/healthcheck-client.crt, key: etcd/pki/healthcheck-client.key}
        backup:
          schedule: every 24h
          destinations: [{name: local, path: \(directory)/backups, retention: {keep_last: 2}}]
        \(extra)
        """
    }

    func etcdctl(_ arguments: String) async throws -> (status: Int32, output: String) {
        let pki = directory + "/etcd/pki"
        return try await shell(
            "ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:\(ports[1]) --cacert \(pki)/ca.crt --cert \(pki)/healthcheck-client.crt --key \(pki)/healthcheck-client.key \(arguments)"
        )
    }
}

private let partsAreThere = isInstalled("etcd", "etcdctl", "prometheus-node-exporter", "python3", "openssl")

@Suite(.serialized) struct EndToEndTests {
    /// The main job from one end to the other: collect, alert, notify, back up, survive, restore.
    @Test(.enabled(if: partsAreThere, "etcd, node exporter, python3 and openssl must be installed: scripts/deps test"))
    func theMainJobOnRealParts() async throws {
        let scene = try Scene()
        try scene.write(scene.configuration(), "kops-sidecar.yaml")
        try scene.write(
            """
            groups:
              - name: e2e
                rules:
                  - {record: "job:up:sum", expr: "sum by (job) (up)"}
                  - {alert: NodeSeen, expr: 'node_cpu_seconds_total{cpu="0", mode="idle"} > 0', annotations: {summary: "{{ $labels.job }} is seen"}}
                  - {alert: TargetDown, expr: up == 0, for: 1s}
            """, "rules.yaml")
        try scene.startParts()
        try await eventually("etcd serves") { try await scene.etcdctl("endpoint health").status == 0 }
        try await scene.fill(10_000)
        let before = try await scene.etcdctl("get --prefix ''").output
        #expect(before.components(of: "value-") == 10_000)
        try await scene.startSidecar()

        // Collected from all three, over plain HTTP and over TLS with a client certificate.
        try await eventually("three targets are up") {
            try await scene.get("/api/v1/query?query=sum(job:up:sum)").body.contains("\"3\"]")
        }
        // Alerted and notified by mail.
        try await eventually("a mail tells of the alert") { scene.mail.contains("[FIRING:1] NodeSeen") }
        try await eventually("the webhook tells of it") { scene.webhook.contains("\"alertname\":\"NodeSeen\"") }
        #expect(scene.webhook.contains("\"version\":\"4\"") && scene.webhook.contains("\"status\":\"firing\""))
        #expect(try await scene.get("/api/v1/alerts").body.contains("node is seen"))
        #expect(try await scene.get("/api/v2/alerts").body.contains("\"cluster\":\"e2e\""))
        if isInstalled("amtool") {
            let answer = try await shell("amtool --alertmanager.url=\(scene.url) alert query alertname=NodeSeen")
            #expect(answer.status == 0 && answer.output.contains("NodeSeen"))
        }

        // Backed up by the scheduler's job, and whole.
        let run = try await shell("\(binary) jobs run backup --url \(scene.url)")
        #expect(run.status == 0, "\(run.output)")
        let list = try await shell("\(binary) backup list --config \(scene.config)")
        #expect(list.output.contains("good"), "\(list.output)")
        let verified = try await shell("\(binary) backup verify --config \(scene.config)")
        #expect(verified.status == 0 && verified.output.contains("whole"), "\(verified.output)")
        let drilled = try await shell("\(binary) backup drill --config \(scene.config)")
        #expect(drilled.status == 0 && drilled.output.contains("the hash of its keys agrees"), "\(drilled.output)")
        try await eventually("the backup's metric is stored") {
            try await scene.get("/api/v1/query?query=kops_backup_last_success_timestamp_seconds").body.contains("local")
        }

        // A bad configuration is refused and the running one stays.
        try scene.write(scene.configuration(extra: "scrape_confgs: []"), "kops-sidecar.yaml")
        let refused = try await scene.get("/-/reload", "POST")
        #expect(refused.status == 500 && refused.body.contains("did you mean scrape_configs?"), "\(refused.body)")
        #expect(try await scene.get("/api/v1/query?query=up").status == 200)
        try scene.write(scene.configuration(), "kops-sidecar.yaml")
        #expect(try await scene.get("/-/reload", "POST").status == 200)

        // Killed and started again: nobody is told twice, and what was collected is there.
        let mails = scene.mail.components(of: "[FIRING:1] NodeSeen")
        scene.sidecar?.stop(SIGKILL)
        try await scene.startSidecar()
        #expect(
            try await scene.get("/api/v1/query?query=count_over_time(up%7Bjob%3D%22node%22%7D%5B5m%5D)").body.contains(
                "node"))
        try await eventually("rules are evaluated again") {
            try await scene.get("/api/v1/alerts").body.contains("NodeSeen")
        }
        // A series ends with a marker only where this process has seen it.
        try await eventually("the node is scraped again") {
            try await scene.get("/api/v1/targets?scrapePool=node").body.contains("\"health\":\"up\"")
        }
        // When the node goes, its alert resolves and another fires: by then a repeat would have come as well.
        scene.programs[1].stop()
        try await eventually("mails tell that the target is down and the alert resolved") {
            scene.mail.contains("TargetDown") && scene.webhook.contains("\"status\":\"resolved\"")
                && scene.mail.contains("[RESOLVED] NodeSeen")
        }
        #expect(scene.mail.components(of: "[FIRING:1] NodeSeen") == mails)
        #expect(scene.sidecar?.stop() == 0)

        // etcd is lost; a backup and the binary bring it back.
        let living = try await shell(
            "\(binary) restore --config \(scene.config) --data-dir \(scene.directory)/etcd/data")
        #expect(living.status == 3, "a living etcd must not be touched: \(living.output)")
        scene.programs[0].stop(SIGKILL)
        try FileSystem.removeTree(scene.directory + "/etcd/data")
        let planned = try await shell(
            "\(binary) restore --config \(scene.config) --data-dir \(scene.directory)/etcd/data --dry-run")
        #expect(planned.status == 0 && !FileSystem.exists(scene.directory + "/etcd/data"), "\(planned.output)")
        let restored = try await shell(
            "\(binary) restore --config \(scene.config) --data-dir \(scene.directory)/etcd/data")
        #expect(restored.status == 0, "\(restored.output)")
        scene.programs[0] = try Program(
            [root + "/scripts/start-etcd", scene.directory + "/etcd", "\(scene.ports[1])", "\(scene.ports[2])"],
            log: scene.directory + "/etcd-2.log")
        try await eventually("the restored etcd serves") { try await scene.etcdctl("endpoint health").status == 0 }
        #expect(try await scene.etcdctl("get --prefix ''").output == before, "the same keys and values as before")
        let status = try await scene.etcdctl("endpoint status -w json").output
        #expect(status.contains("\"revision\":1000000"), "the revision was bumped: \(status)")
    }

    @Test func aBadConfigurationIsOneClearLineAndStatusTwo() async throws {
        let scene = try Scene()
        try scene.write(
            "global: {scrape_intervall: 5s}\nscrape_configs: [{job_name: a, static_config: []}]\n", "kops-sidecar.yaml")
        for command in ["run --config", "check config"] {
            let answer = try await shell("\(binary) \(command) \(scene.config)")
            #expect(answer.status == 2)
            let lines = answer.output.split(separator: "\n")
            #expect(lines.count == 2, "\(answer.output)")
            #expect(lines.first?.contains("kops-sidecar.yaml:1:10: ") == true)
            #expect(answer.output.contains("did you mean scrape_interval?"))
            #expect(answer.output.contains("did you mean static_configs?"))
        }
    }

    /// An orderly restart ends no series: an alert with a `for` that fired fires on, and nobody hears that it ended.
    @Test(.enabled(if: isInstalled("python3"), "python3 must be installed: scripts/deps test"))
    func aRestartLeavesAlertsWhereTheyWere() async throws {
        let scene = try Scene()
        scene.programs.append(
            try Program(
                ["/usr/bin/python3", root + "/Tests/EndToEndTests/webhook.py", "\(scene.ports[5])"],
                log: scene.directory + "/webhook.log"))
        try scene.write(
            "groups: [{name: g, rules: [{alert: Gone, expr: 'up == 0', for: 3s}]}]\n", "rules.yaml")
        try scene.write(
            """
            global: {scrape_interval: 1s, evaluation_interval: 1s}
            scrape_configs: [{job_name: gone, static_configs: [{targets: ["127.0.0.1:\(scene.ports[1])"]}]}]
            rule_files: [rules.yaml]
            storage: {path: \(scene.directory)/data}
            http: {listen: "127.0.0.1:\(scene.ports[0])"}
            notifications:
              route: {receiver: hook, group_wait: 0s, group_interval: 1s, repeat_interval: 4h}
              receivers: [{name: hook, webhook_configs: [{url: "http://127.0.0.1:\(scene.ports[5])/hook"}]}]
            """, "kops-sidecar.yaml")
        try await scene.startSidecar()
        try await eventually("it is told of") { scene.webhook.contains("\"status\":\"firing\"") }
        /// To the second, as it is stored.
        func activeAt() async throws -> Substring? {
            let body = try await scene.get("/api/v1/alerts").body
            guard body.contains("\"state\":\"firing\""), let key = body.firstRange(of: "\"activeAt\":\"") else {
                return nil
            }
            return body[key.upperBound...].prefix(19)
        }
        let since = try await activeAt()
        #expect(since != nil)
        for _ in 0..<2 {
            #expect(scene.sidecar?.stop() == 0)
            let moment = Double(WallClock.system.nowMilliseconds()) / 1000
            try await scene.startSidecar()
            let between = try await scene.get("/api/v1/query?query=up&time=\(moment)").body
            #expect(between.contains("\"job\":\"gone\""), "no series ended: \(between)")
            try await eventually("it fires since when it did") { try await activeAt() == since }
        }
        #expect(!scene.webhook.contains("\"status\":\"resolved\""))
        #expect(scene.sidecar?.stop() == 0)
    }

    /// As `systemctl reload` right after a start: the signal must not end what does not serve yet.
    @Test func aHangupBeforeItServesIsAReload() async throws {
        let scene = try Scene()
        try scene.write(
            "http: {listen: \"127.0.0.1:\(scene.ports[0])\"}\nstorage: {path: \(scene.directory)/data}\n",
            "kops-sidecar.yaml")
        let sidecar = try Program([binary, "run", "--config", scene.config], log: scene.directory + "/sidecar.log")
        while !FileSystem.exists(scene.directory + "/data") {
            if let status = sidecar.exitStatus { throw TestProblem("it ended with \(status): \(sidecar.text)") }
            try await Task.sleep(for: .milliseconds(1))
        }
        kill(sidecar.pid, SIGHUP)
        try await eventually("it has loaded its configuration again") {
            if let status = sidecar.exitStatus { throw TestProblem("it ended with \(status): \(sidecar.text)") }
            return sidecar.text.contains("configuration loaded")
        }
        try await eventually("ready") { (try? await scene.get("/-/ready"))?.status == 200 }
        #expect(sidecar.stop() == 0)
    }

    @Test func listeningForEverybodyNeedsAuthenticationOrInsistence() async throws {
        let scene = try Scene()
        let open = try await shell(
            "\(binary) run --data-dir \(scene.directory)/data --listen 0.0.0.0:\(scene.ports[0])")
        #expect(open.status == 3 && open.output.contains("--insecure-listen"), "\(open.output)")
    }

    @Test func aTakenPortIsToldAsSuch() async throws {
        let scene = try Scene()
        try scene.write(
            "http: {listen: \"127.0.0.1:\(scene.ports[0])\"}\nstorage: {path: \(scene.directory)/data}\n",
            "kops-sidecar.yaml")
        try await scene.startSidecar()
        let second = try await shell(
            "\(binary) run --data-dir \(scene.directory)/other --listen 127.0.0.1:\(scene.ports[0])")
        #expect(second.status == 1 && second.output.contains("taken"), "\(second.output)")
    }

    @Test func twoSidecarsNeverShareAStore() async throws {
        let scene = try Scene()
        try scene.write(
            "http: {listen: \"127.0.0.1:\(scene.ports[0])\"}\nstorage: {path: \(scene.directory)/data}\n",
            "kops-sidecar.yaml")
        try await scene.startSidecar()
        let second = try await shell(
            "\(binary) run --data-dir \(scene.directory)/data --listen 127.0.0.1:\(scene.ports[1])")
        #expect(second.status == 1, "\(second.output)")
    }
}

extension String {
    /// How often a text occurs.
    fileprivate func components(of text: String) -> Int {
        var count = 0
        var rest = Substring(self)
        while let at = rest.range(of: text) {
            count += 1
            rest = rest[at.upperBound...]
        }
        return count
    }

    fileprivate func contains(_ text: String) -> Bool { Substring(self).range(of: text) != nil }
}

extension Substring {
    fileprivate func range(of text: String) -> Range<Index>? {
        let wanted = Array(text.utf8)
        guard !wanted.isEmpty else { return nil }
        var at = startIndex
        while at < endIndex {
            if self[at...].utf8.starts(with: wanted) {
                return at..<(utf8.index(at, offsetBy: wanted.count))
            }
            at = index(after: at)
        }
        return nil
    }
}
