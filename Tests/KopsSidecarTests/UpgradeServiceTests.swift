import Logging
import Platform
import TestSupport
import Testing

@testable import ClusterOps
@testable import KopsSidecar

@Suite struct UpgradeConfigTests {
    private func load(_ text: String) throws -> SidecarConfig {
        let directory = try scratchDirectory()
        defer { try? FileSystem.removeTree(directory) }
        try AtomicFile.write(Array(text.utf8), to: directory + "/c.yml")
        return try SidecarConfig.load(directory + "/c.yml")
    }

    private func findings(_ text: String) throws -> [String] {
        do {
            _ = try load(text)
            return []
        } catch let problems as ConfigProblems {
            return problems.issues.map { "\($0.line):\($0.column) \($0.message)" }
        }
    }

    @Test func everyKeyIsRead() throws {
        let config = try load(
            """
            upgrade:
              executor: ssh
              ssh: {user: ops, port: 2222, identity_file: /i, known_hosts_file: /k, config_file: /c, connect_timeout: 5s}
              nodes: [{name: cp1, executor: local}, {name: w1, address: 10.0.0.9, user: root, port: 22}]
              max_unavailable: 3
              drain: {timeout: 5m, grace_period: 30s, delete_emptydir_data: true, force_unmanaged: true, on_timeout: force}
              packages: {manager: command, install: [in, "{package}"], check: [has, "{package}"]}
              kubeadm_args: [--v=2]
              gates: [{backup: {max_age: 2h}}, {alerts: {severity: warning}}, {window: {from: "22:00", to: "04:00", days: [sat], timezone: Europe/Berlin}}]
              hooks:
                snapshot: {http: "https://api/x", bearer_token_file: /t, body: "{}", expect_status: [202]}
                before_node: {command: [a, "{node}"], on: node, timeout: 1m}
                after_node: {command: [b]}
                health: [{http: "http://x"}]
              staging: {nodes: [w1], healthy_for: 20m}
              api_timeout: 20m
              node_timeout: 5m
              health_timeout: 2m
              kubeadm_timeout: 30m
              package_timeout: 9m
            doctor: {schedule: "@daily", timezone: Europe/Berlin}
            """)
        let upgrade = try #require(config.upgrade)
        let options = upgrade.options
        #expect(options.ssh.user == "ops" && options.ssh.port == 2222 && options.ssh.connectTimeout == 5000)
        #expect(options.node("cp1").transport == .local && options.node("w1").address == "10.0.0.9")
        #expect(options.maxUnavailable == 3 && options.kubeadmArguments == ["--v=2"])
        #expect(options.drain.gracePeriod == 30 && options.drain.forcesAtTimeout && options.drain.deletesEmptyDirData)
        #expect(options.packages.manager == .command && options.packages.install == ["in", "{package}"])
        #expect(upgrade.gates.backupMaxAge == 7_200_000)
        #expect(upgrade.gates.alertSeverities == ["warning", "critical"])
        #expect(options.beforeNode?.action == .command(["a", "{node}"], onNode: true))
        #expect(
            options.snapshotHook?.action
                == .http(
                    url: "https://api/x", method: "POST",
                    headers: [.init(name: "Authorization", value: "Bearer ", file: "/t")], body: "{}", statuses: [202]))
        #expect(options.staging == ["w1"] && options.stagingTime == 1_200_000 && options.kubeadmTimeout == 1_800_000)
        #expect(config.doctor?.schedule == "@daily")
        // 2026-11-28 is a Saturday; Berlin is an hour ahead of UTC then.
        let window = try #require(upgrade.gates.schedule)
        let saturday: Int64 = 1_795_824_000_000
        #expect(!window.contains(saturday + 20 * 3_600_000))
        #expect(window.contains(saturday + 21 * 3_600_000))
        #expect(window.contains(saturday + 26 * 3_600_000))
        #expect(!window.contains(saturday + 28 * 3_600_000))
    }

    @Test func withoutGatesABackupOfADayAndNoCriticalAlertAreAskedFor() throws {
        let gates = try #require(try load("upgrade: {executor: local}\n").upgrade?.gates)
        #expect(gates.backupMaxAge == 86_400_000 && gates.alertSeverities == ["critical"] && gates.schedule == nil)
        let none = try #require(try load("upgrade: {gates: []}\n").upgrade?.gates)
        #expect(none.backupMaxAge == nil && none.alertSeverities == nil)
    }

    @Test(arguments: [
        ("upgrade: {executer: ssh}\n", "1:11 unknown key upgrade.executer (did you mean executor?)"),
        ("upgrade: {executor: telnet}\n", "1:21 upgrade.executor must be ssh or local, not \"telnet\""),
        ("upgrade: {max_unavailable: 0}\n", "1:28 upgrade.max_unavailable must be from 1 to 1000, not 0"),
        ("upgrade: {hooks: {before_node: {}}}\n", "1:32 upgrade.hooks.before_node needs either command or http"),
        (
            "upgrade: {hooks: {health: [{http: ftp://x}]}}\n",
            "1:35 upgrade.hooks.health[0].http must be a URL, not \"ftp://x\""
        ),
        ("upgrade: {packages: {install: [a]}}\n", "1:31 upgrade.packages.install goes with manager: command only"),
        (
            "upgrade: {gates: [{window: {from: \"25:00\", to: \"04:00\"}}]}\n",
            "1:35 upgrade.gates[0].window.from must be a time such as \"02:30\", not \"25:00\"; quote it"
        ),
        // Taken for no window at all, it would let an upgrade begin at any hour.
        (
            "upgrade: {gates: [{window: {from: \"04:00\", to: \"04:00\"}}]}\n",
            "1:28 upgrade.gates[0].window: from and to must differ, and from be before 24:00"
        ),
    ]) func eachMistakeIsNamedWithItsPlace(_ text: String, _ finding: String) throws {
        #expect(try findings(text) == [finding])
    }
}

/// The service's own side of an upgrade, against the stand-in API server.
@Suite struct UpgradeServiceTests {
    private func service(_ directory: String, server: String) throws -> (UpgradeService, MetricRegistry) {
        try AtomicFile.write(
            Array(
                """
                {"apiVersion": "v1", "kind": "Config", "current-context": "c",
                 "clusters": [{"name": "k", "cluster": {"server": "\(server)"}}], "users": [{"name": "u", "user": {}}],
                 "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}
                """.utf8), to: directory + "/kubeconfig")
        try AtomicFile.write(
            Array(
                """
                storage: {path: \(directory)/data}
                cluster: {name: test, kubeconfig: \(directory)/kubeconfig}
                upgrade: {gates: []}
                """.utf8), to: directory + "/c.yml")
        let metrics = MetricRegistry()
        let config = try SidecarConfig.load(directory + "/c.yml")
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        return (UpgradeService(config, metrics: metrics, log: log) { _ in [] }, metrics)
    }

    private func text(_ metrics: MetricRegistry) -> String { String(decoding: metrics.expose(), as: UTF8.self) }

    @Test func aPausedRunIsGoneOnWithToItsEndAndTold() async throws {
        guard KubeAPIStandIn.isPossible else { return }
        let server = try KubeAPIStandIn()
        defer { server.stop() }
        let directory = try scratchDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let (service, metrics) = try service(directory, server: server.url)
        #expect(try service.status().run == nil)
        #expect(throws: UpgradeError.self) { try service.prepareToResume() }
        await #expect(throws: UpgradeError.self) { try await service.ask(.pause) }
        // Only the last look at the cluster is left to be done.
        let run = UpgradeRun(
            id: "r", cluster: "test", target: KubernetesVersion(1, 20, 3), owner: .terminal, startedAt: 0,
            state: .paused, maxUnavailable: 1,
            visits: [.init(node: "", kind: .cluster, group: 6, steps: [.proveCluster])], nodes: [:], overrides: [])
        try FileUpgradeJournal(directory: directory + "/data").save(run)
        #expect(text(metrics).contains("kops_upgrade_state{state=\"paused\"} 1\n"))
        #expect(!service.isUnfinished)
        try service.prepareToResume()
        // Cut off here, a restart would go on by itself.
        #expect(service.isUnfinished)
        let lines = Lock<[String]>([])
        let word = try await service.run(JobContext(onDemand: true) { line in lines.withLock { $0.append(line) } })
        #expect(word == "test is at v1.20.3")
        #expect(lines.withLock { $0 }.contains("finished"))
        let (end, isUnderWay) = try service.status()
        #expect(end?.state == .finished && end?.owner == .service && !isUnderWay && !service.isUnfinished)
        #expect(text(metrics).contains("kops_upgrade_state{state=\"finished\"} 1\n"))
        #expect(text(metrics).contains("kops_upgrade_state{state=\"paused\"} 0\n"))
        #expect(text(metrics).contains("kops_upgrade_visits_done 1\n"))
    }

    @Test func aPlanAgainstAnEmptyClusterIsRefusedAndNothingIsWritten() async throws {
        guard KubeAPIStandIn.isPossible else { return }
        let server = try KubeAPIStandIn(["--kubernetes", "1.20"])
        defer { server.stop() }
        let directory = try scratchDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let (service, _) = try service(directory, server: server.url)
        let error = await #expect(throws: UpgradeError.self) {
            try await service.begin(KubernetesVersion(1, 20, 3), overrides: [])
        }
        #expect(error?.kind == .refused)
        #expect(error?.message.contains("no API server runs as kubeadm's static pod") == true)
        #expect(!FileSystem.exists(directory + "/data/upgrade.json"))
        server.stop()
        let away = await #expect(throws: UpgradeError.self) { try await service.plan(KubernetesVersion(1, 20, 3)) }
        #expect(away?.message.contains("the API server does not tell") == true)
    }
}
