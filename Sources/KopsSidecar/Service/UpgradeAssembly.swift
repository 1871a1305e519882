package import ClusterOps
import Etcd
import FoundationEssentials
import Kubernetes
import Platform

/// The ways to the nodes, each opened once. Thread-safe.
package final class NodeExecutors: Sendable {
    private let options: UpgradeOptions
    private let control: SSHControlDirectory
    private let opened = Lock<[String: any Executor]>([:])

    init(_ options: UpgradeOptions) throws {
        self.options = options
        control = try SSHControlDirectory()
    }

    func executor(_ name: String, _ address: String) throws -> any Executor {
        let node = options.node(name)
        let isLocal = (node.transport ?? options.transport) == .local
        if isLocal, node.transport == nil, name != hostName() {
            throw ExecutorError(
                .notStarted, host: name,
                "upgrade.executor is local, and this machine is \(hostName()): say ssh, or executor: local for this node"
            )
        }
        return opened.withLock { opened in
            let key = "\(name) \(address)"
            if let there = opened[key] { return there }
            let made: any Executor
            if isLocal {
                made = LocalExecutor(host: name)
            } else {
                var ssh = options.ssh
                ssh.user = node.user ?? ssh.user
                ssh.port = node.port ?? ssh.port
                made = SSHExecutor(host: name, address: address, options: ssh, control: control)
            }
            opened[key] = made
            return made
        }
    }

    /// Ends the connections.
    package func close() async {
        for executor in opened.withLock({ Array($0.values) }) { await executor.close() }
    }
}

/// What an upgrade is made of, from the configuration.
package struct UpgradeAssembly: Sendable {
    package let context: UpgradeContext
    package let planner: UpgradePlanner
    package let journal: FileUpgradeJournal
    package let executors: NodeExecutors

    /// `kubeconfig` in place of the configuration's; `firing` tells the names of alerts that fire with one of these
    /// severities, or throws why it cannot. Throws where the kubeconfig cannot be used.
    package init(
        _ config: SidecarConfig, kubeconfig: String? = nil,
        firing: (@Sendable (_ severities: [String]) async throws -> [String])?
    ) throws {
        let upgrade = config.upgrade ?? UpgradeConfig()
        let access = try Kubeconfig.load(path: kubeconfig ?? config.cluster.kubeconfig)
        var clientOptions = KubernetesClient.Options()
        clientOptions.userAgent = "kops-sidecar/\(productVersion)"
        // A server that hangs must not take a whole step's patience.
        clientOptions.timeout = .seconds(20)
        clientOptions.attempts = 2
        let client = KubernetesClient(access, http: HTTPClient(name: "kops-upgrade"), options: clientOptions)
        let executors = try NodeExecutors(upgrade.options)
        let http = HTTPClient(name: "kops-hooks")
        var context = UpgradeContext(
            cluster: KubernetesUpgradeCluster(client), options: upgrade.options, pacing: .real,
            here: LocalExecutor(host: "here"), executor: { try executors.executor($0, $1) },
            sendHTTP: { try await sendHook($0, $1, http) })
        context.checkEtcd = etcdCheck(config.etcd)
        self.context = context
        self.executors = executors
        planner = UpgradePlanner(
            context: context, clusterName: config.cluster.name,
            gates: makeGates(upgrade.gates, backup: config.backup, firing: firing))
        journal = FileUpgradeJournal(directory: config.storage.path)
    }
}

/// Whether the members that the configuration names are well; nil where this machine has no certificate for them.
private func etcdCheck(_ options: EtcdOptions) -> (@Sendable () async throws -> Void)? {
    for file in [options.ca, options.cert, options.key] {
        if let file, !FileSystem.exists(file) { return nil }
    }
    return {
        let http = HTTPClient(name: "kops-etcd")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: options.endpoints, tls: options.tls, http: http)
        for member in await client.survey() {
            let status = try member.status.get()
            if status.leader == 0 { throw UpgradeError(.failed, "\(member.endpoint) knows no leader") }
            if let error = status.errors.first { throw UpgradeError(.failed, "\(member.endpoint): \(error)") }
        }
    }
}

private func sendHook(
    _ hook: UpgradeOptions.Hook, _ fill: @Sendable (String) -> String, _ http: HTTPClient
) async throws -> Int {
    guard case .http(let url, let method, let headers, let body, _) = hook.action else { return 0 }
    var request = HTTPRequest(method, fill(url))
    request.timeout = .milliseconds(hook.timeout)
    request.maxBodyBytes = 1 << 20
    if !body.isEmpty {
        request.body = Array(fill(body).utf8)
        if !headers.contains(where: { $0.name.lowercased() == "content-type" }) {
            request.headers.append(("Content-Type", "application/json"))
        }
    }
    for header in headers {
        var value = fill(header.value)
        if let file = header.file {
            let text = try FileSystem.readText(file, maxBytes: 65_536)
            value += String(text.split(whereSeparator: \.isNewline).first ?? "")
        }
        request.headers.append((header.name, value))
    }
    return try await http.send(request).status
}

private func makeGates(
    _ gates: UpgradeGatesConfig, backup: BackupOptions?,
    firing: (@Sendable (_ severities: [String]) async throws -> [String])?
) -> [UpgradeGate] {
    var out: [UpgradeGate] = []
    if let maxAge = gates.backupMaxAge {
        out.append(UpgradeGate("backup") { await backupProblem(backup, maxAge: maxAge) })
    }
    if let severities = gates.alertSeverities, let firing {
        out.append(
            UpgradeGate("alerts") {
                do {
                    let names = try await firing(severities)
                    return names.isEmpty ? nil : "alerts fire: \(names.prefix(10).joined(separator: ", "))"
                } catch {
                    return "whether alerts fire is not known: \(error)"
                }
            })
    }
    if let window = gates.schedule {
        out.append(
            UpgradeGate("window") {
                window.contains(WallClock.system.nowMilliseconds())
                    ? nil : "it is not the time for it: upgrade.gates.window"
            })
    }
    return out
}

/// Why there is no fresh, verified backup; nil where there is one.
private func backupProblem(_ options: BackupOptions?, maxAge: Int64) async -> String? {
    guard let options else { return "no backups are configured: there would be nothing to go back to" }
    var newest: Int64 = 0
    var problems: [String] = []
    for destination in makeDestinations(options) {
        do {
            let entries = try await BackupCatalogue.read(destination, cluster: options.cluster)
            let good = entries.filter { $0.isGood && $0.manifest?.verified != nil }
            newest = max(newest, good.map(\.name.time).max() ?? 0)
        } catch {
            problems.append("\(destination.name): \(error)")
        }
    }
    let why = problems.isEmpty ? "" : " (\(problems.joined(separator: "; ")))"
    guard newest > 0 else { return "there is no verified backup: make one with kops-sidecar backup now\(why)" }
    let age = WallClock.system.nowMilliseconds() - newest
    guard age > maxAge else { return nil }
    return
        "the newest verified backup is \(age / 3_600_000) h old, at most \(maxAge / 3_600_000) h are allowed: make one with kops-sidecar backup now\(why)"
}

/// The run as the API and `upgrade status -o json` tell it.
package func writeUpgrade(_ writer: inout JSONWriter, _ run: UpgradeRun?, isUnderWay: Bool, events: Int = 100) {
    writer.object { writer in
        func text(_ key: String, _ value: String) {
            writer.key(key)
            writer.string(value)
        }
        guard let run else { return text("state", "none") }
        text("state", run.state.rawValue)
        text("target", run.target.description)
        text("cluster", run.cluster)
        text("message", upgradeMessage(run, isUnderWay: isUnderWay))
        text("run", run.id)
        text("startedAt", formatRFC3339(run.startedAt))
        writer.key("endedAt")
        if let end = run.endedAt { writer.string(formatRFC3339(end)) } else { writer.null() }
        writer.key("underWay")
        writer.bool(isUnderWay)
        writer.key("visitsDone")
        writer.int(Int64(run.visitsDone))
        writer.key("visits")
        writer.int(Int64(run.visits.count))
        writer.key("nodes")
        writer.array(run.visits) { writer, visit in
            writer.object { writer in
                for (key, value) in [
                    ("name", visit.node.isEmpty ? "(cluster)" : visit.node), ("kind", visit.kind.rawValue),
                    ("state", visit.status.rawValue), ("step", visit.status == .done ? "" : visit.step?.rawValue ?? ""),
                    ("version", run.nodes[visit.node]?.from?.description ?? ""), ("message", visit.note),
                ] {
                    writer.key(key)
                    writer.string(value)
                }
            }
        }
        writer.key("events")
        writer.array(run.events.suffix(events)) { writer, event in
            writer.object { writer in
                for (key, value) in [("at", formatRFC3339(event.at)), ("node", event.node), ("text", event.text)] {
                    writer.key(key)
                    writer.string(value)
                }
            }
        }
    }
}

/// One line on where a run is.
package func upgradeMessage(_ run: UpgradeRun, isUnderWay: Bool) -> String {
    if let problem = run.problem { return problem }
    if run.state.isActive, !isUnderWay { return "cut off: nobody is at it; upgrade resume goes on" }
    let active = run.visits.filter { $0.status == .active }.map { visit in
        "\(visit.node.isEmpty ? "cluster" : visit.node): \(visit.note.isEmpty ? visit.step?.rawValue ?? "" : visit.note)"
    }
    return active.isEmpty ? "\(run.visitsDone) of \(run.visits.count) turns done" : active.joined(separator: "; ")
}
