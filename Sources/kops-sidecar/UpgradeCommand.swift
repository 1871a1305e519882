import ArgumentParser
import ClusterOps
import FoundationEssentials
import Glibc
import KopsSidecar
import MetricModel
import Platform

/// `upgrade …`: works with the configuration alone, the service running or not; with `--url` the service does it.
struct UpgradeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "upgrade", abstract: "Bring a kubeadm cluster to another version, node after node.",
        subcommands: [
            UpgradePlanCommand.self, UpgradeApplyCommand.self, UpgradeStatusCommand.self, UpgradePauseCommand.self,
            UpgradeResumeCommand.self, UpgradeAbortCommand.self,
        ])
}

/// What all of them share.
struct UpgradeSource: ParsableArguments {
    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config: String?

    @Option(
        help: ArgumentHelp("The directory of the journal, in place of the configuration's.", valueName: "directory"))
    var dataDir: String?

    @Option(help: ArgumentHelp("In place of the configuration's cluster.kubeconfig.", valueName: "file"))
    var kubeconfig: String?

    @Option(help: ArgumentHelp("Let the running service there do it.", valueName: "url"))
    var url: String?

    @OptionGroup var credentials: CredentialOptions

    var server: ServerConnection? { url.map { credentials.connection(to: $0) } }

    func load() throws -> SidecarConfig {
        do {
            var loaded = try SidecarConfig.load(try configurationPath(config))
            if let dataDir { loaded.storage.path = dataDir }
            return loaded
        } catch let problems as ConfigProblems {
            throw CommandFailure.unusable(problems.lines)
        }
    }

    func assembly(_ config: SidecarConfig) throws -> UpgradeAssembly {
        let asked = AskedServer(server: ownServer(config.http))
        // Without a configuration there is no service to be asked.
        var firing: (@Sendable ([String]) async throws -> [String])?
        if config.upgrade != nil {
            firing = { severities in try await asked.firing(severities) }
        }
        do {
            return try UpgradeAssembly(config, kubeconfig: kubeconfig, firing: firing)
        } catch {
            throw CommandFailure.unusable("\(error)")
        }
    }

    /// The service that this configuration describes. Its certificate, which is not made for every address that it listens
    /// on, is known: it is trusted by itself, under its own name.
    private func ownServer(_ http: HTTPConfig) -> ServerConnection {
        let host = http.host == "0.0.0.0" ? "127.0.0.1" : http.host
        let address = host.contains(":") ? "[\(host)]" : host
        var server = credentials.connection(to: "\(http.scheme)://\(address):\(http.port)")
        if let tls = http.web.tls, credentials.caFile == nil {
            server.tls.caPEM = String(decoding: tls.certificate, as: UTF8.self)
            let names = Certificate.read(pem: tls.certificate)?.first?.sortedNames ?? []
            server.tls.serverName = names.first { $0.hasPrefix("DNS:") }.map { String($0.dropFirst(4)) }
        }
        return server
    }

    func journal() throws -> FileUpgradeJournal { FileUpgradeJournal(directory: try load().storage.path) }
}

/// A service that is asked for alerts.
private struct AskedServer: Sendable {
    let server: ServerConnection

    /// Names of alerts that fire with one of these severities.
    func firing(_ severities: [String]) async throws -> [String] {
        struct Answer: Decodable {
            struct Alert: Decodable {
                var labels: [String: String]
                var state: String
            }
            struct Alerts: Decodable { var alerts: [Alert] }
            var data: Alerts
        }
        do {
            let body = try await server.send("GET", "/api/v1/alerts")
            return try decodeAnswer(Answer.self, body).data.alerts
                .filter { $0.state == "firing" && severities.contains($0.labels["severity"] ?? "") }
                .map { $0.labels["alertname"] ?? "?" }
        } catch let failure as CommandFailure {
            throw UpgradeError(.failed, failure.lines.joined(separator: "; "))
        }
    }
}

/// Runs work that may throw an `UpgradeError`, and ends with the status that fits it.
func withUpgradeErrors<R>(_ body: () async throws -> R) async throws -> R {
    do {
        return try await body()
    } catch let error as UpgradeError {
        let lines = error.message.split(separator: "\n").map(String.init)
        switch error.kind {
        case .refused: throw CommandFailure(status: 3, lines: lines.map { "refused: \($0)" })
        case .invalid: throw CommandFailure.unusable(lines)
        case .failed, .nodeGone, .state: throw CommandFailure.failed(lines)
        }
    } catch let error as FileError {
        throw CommandFailure.failed("\(error)")
    }
}

func targetVersion(_ text: String) throws -> KubernetesVersion {
    guard let version = KubernetesVersion(text) else {
        throw CommandFailure.unusable("\"\(text)\" is no version of Kubernetes: name one as v1.31.4")
    }
    return version
}

struct UpgradePlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Tell what an upgrade would do and what stands in its way.",
        discussion: "Changes nothing but the nodes' lists of packages. Exit status 1 where something stands in the way."
    )

    @Option(help: ArgumentHelp("The version to go to, such as v1.31.4.", valueName: "version"))
    var to: String

    @OptionGroup var source: UpgradeSource
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let target = try targetVersion(to)
        let assembly = try source.assembly(try source.load())
        let plan = try await withUpgradeErrors { try await assembly.planner.plan(target: target).plan }
        await assembly.executors.close()
        if listing.output == .table {
            printTable(plan)
        } else {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            try printJSON(Array(try encoder.encode(plan)), listing)
        }
        if !plan.obstacles.isEmpty {
            let count = plan.obstacles.count
            throw CommandFailure.failed("\(count) thing\(count == 1 ? " stands" : "s stand") in the way")
        }
    }

    private func printTable(_ plan: UpgradePlan) {
        print("\(plan.cluster): \(plan.current) to \(plan.target)")
        print("")
        var nodes = TextTable(["NODE", "ROLE", "APISERVER", "KUBELET", "TARGET", "READY", "PACKAGE", "PODS TO LEAVE"])
        nodes.rows = plan.nodes.map {
            [
                $0.name + ($0.isCordoned ? " (cordoned)" : ""), $0.role, $0.apiserver.isEmpty ? "-" : $0.apiserver,
                $0.kubelet, $0.target, $0.isReady ? "yes" : "no", $0.package.isEmpty ? "-" : $0.package,
                String($0.evictedPods),
            ]
        }
        nodes.printOut()
        if !plan.budgets.isEmpty {
            print("")
            var budgets = TextTable(["BUDGET", "MAY LEAVE NOW", "HEALTHY", "MUST STAY", "PROTECTS"])
            budgets.rows = plan.budgets.map {
                [
                    $0.name, $0.neverAllows ? "never any" : String($0.allowed), String($0.healthy), String($0.desired),
                    $0.pods.prefix(4).joined(separator: ", ")
                        + ($0.pods.count > 4 ? " and \($0.pods.count - 4) more" : ""),
                ]
            }
            budgets.printOut()
        }
        if !plan.kubeadm.isEmpty {
            print("")
            var components = TextTable(["COMPONENT", "NODE", "CURRENT", "KUBEADM OFFERS"])
            components.rows = plan.kubeadm.flatMap(\.components).map { [$0.name, $0.node, $0.current, $0.new] }
            components.printOut()
        }
        if !plan.deprecatedAPIs.isEmpty {
            print("")
            var apis = TextTable(["DEPRECATED API IN USE", "GONE IN"])
            apis.rows = plan.deprecatedAPIs.map {
                [$0.id, $0.removedRelease.isEmpty ? "not known" : $0.removedRelease]
            }
            apis.printOut()
        }
        if !plan.warnings.isEmpty { print("") }
        for warning in plan.warnings { print("warning: \(warning)") }
        if !plan.obstacles.isEmpty { print("") }
        for obstacle in plan.obstacles {
            print(
                "in the way: \(obstacle.gate): \(obstacle.text)\(obstacle.canBeForced ? " (--force \(obstacle.gate))" : "")"
            )
        }
        if plan.obstacles.isEmpty {
            print("")
            print("nothing stands in the way: kops-sidecar upgrade apply --to \(plan.target)")
        }
    }
}

/// Shows a run's events on standard error as they come.
final class UpgradeProgress: Sendable {
    private let shown = Lock<(at: Int64, count: Int)>((0, 0))

    init(after run: UpgradeRun? = nil) {
        if let run { shown.withLock { $0 = (0, run.events.count) } }
    }

    func show(_ run: UpgradeRun) {
        let fresh = shown.withLock { shown -> [UpgradeRun.Event] in
            // Old events are dropped once there are many: then the last one tells what is new.
            let fresh =
                run.events.count > shown.count
                ? Array(run.events[shown.count...]) : run.events.filter { $0.at > shown.at }
            shown = (run.events.last?.at ?? 0, run.events.count)
            return fresh
        }
        for event in fresh {
            let place = event.node.isEmpty ? "" : "\(event.node): "
            printError(
                "\(formatRFC3339(event.at, fraction: false).dropFirst(11)) [\(run.visitsDone)/\(run.visits.count)] \(place)\(event.text)"
            )
        }
    }
}

/// Goes on with the journal's run in this process until it ends, showing what happens. SIGINT and SIGTERM leave it where it
/// is written down.
private func goOn(_ assembly: UpgradeAssembly, from run: UpgradeRun, _ note: CommandNote) async throws {
    let progress = UpgradeProgress(after: run)
    let runner = UpgradeRunner(context: assembly.context, journal: assembly.journal) { progress.show($0) }
    let end: UpgradeRun = try await withUpgradeErrors {
        defer { Task { await assembly.executors.close() } }
        return try await runner.run()
    }
    await assembly.executors.close()
    switch end.state {
    case .finished: note.detail = "\(end.cluster) is at \(end.target)"
    case .paused: note.detail = "paused; kops-sidecar upgrade resume goes on"
    case .aborted: note.detail = "aborted: no cordon of this upgrade is left; what was upgraded stays so"
    default:
        throw CommandFailure.failed(
            "stopped: \(end.problem ?? end.state.rawValue)",
            "put it right and run kops-sidecar upgrade resume, or kops-sidecar upgrade abort")
    }
    print(note.detail)
}

struct UpgradeApplyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Upgrade the cluster: control plane first, then the workers, drained by eviction.",
        discussion:
            "Refused (exit status 3) where something stands in the way. What it does is written down before each step: "
            + "after a kill, upgrade resume goes on.")

    @Option(help: ArgumentHelp("The version to go to, such as v1.31.4.", valueName: "version"))
    var to: String

    @Option(help: ArgumentHelp("Pass over this gate; may be given several times.", valueName: "gate"))
    var force: [String] = []

    @OptionGroup var source: UpgradeSource

    func run() async throws {
        let target = try targetVersion(to)
        if let server = source.server {
            let form = [("to", target.description)] + force.map { ("force", $0) }
            _ = try await server.send("POST", "/api/kops/v1/upgrade/apply", form: form)
            print("begun; kops-sidecar upgrade status --url \(server.url) tells where it is")
            return
        }
        let overrides = force.isEmpty ? "" : ", --force \(force.joined(separator: ", "))"
        try await audited("upgrade apply", subject: "\(target)\(overrides)") { note in
            try await apply(target, note)
        }
    }

    private func apply(_ target: KubernetesVersion, _ note: CommandNote) async throws {
        let config = try source.load()
        note.directory = config.storage.path
        await note.begins()
        let assembly = try source.assembly(config)
        try await withUpgradeErrors {
            let lock = try assembly.journal.lock()
            if let old = try assembly.journal.load(), !old.state.isOver {
                throw UpgradeError(
                    .state,
                    "an upgrade to \(old.target) is \(old.state.rawValue): kops-sidecar upgrade resume or kops-sidecar upgrade abort"
                )
            }
            let (plan, run) = try await assembly.planner.admit(
                target: target, owner: .terminal, overrides: Set(force))
            for warning in plan.warnings { printError("warning: \(warning)") }
            try assembly.journal.archive()
            _ = assembly.journal.takeRequest()
            try assembly.journal.save(run)
            try await goOn(assembly, from: run, note)
            withExtendedLifetime(lock) {}
        }
    }
}

struct UpgradeStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Tell where the upgrade is.",
        discussion: "Exit status 1 where it is stopped or was cut off.")

    @OptionGroup var source: UpgradeSource
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        if let server = source.server {
            let body = try await server.send("GET", "/api/kops/v1/upgrade")
            guard listing.output == .table else { return try printJSON(body, listing) }
            return try printAnswer(body)
        }
        let journal = try source.journal()
        let run = try await withUpgradeErrors { try journal.load() }
        let isUnderWay = journal.isLocked
        if listing.output != .table {
            var writer = JSONWriter()
            writeUpgrade(&writer, run, isUnderWay: isUnderWay)
            try printJSON(writer.bytes, listing)
        } else if let run {
            printTable(run, isUnderWay: isUnderWay)
        } else {
            print("there was no upgrade yet")
        }
        guard let run else { return }
        if run.state == .stopped || (run.state.isActive && !isUnderWay) {
            throw CommandFailure.failed(upgradeMessage(run, isUnderWay: isUnderWay))
        }
    }

    /// What the service says, as a table.
    private func printAnswer(_ body: [UInt8]) throws {
        struct Answer: Decodable {
            struct Turn: Decodable {
                var name: String, kind: String, state: String, step: String, version: String, message: String
            }
            struct Status: Decodable {
                var state: String
                var target: String?, cluster: String?, message: String?
                var nodes: [Turn]?
            }
            var data: Status
        }
        let status = try decodeAnswer(Answer.self, body).data
        guard let nodes = status.nodes else { return print("there was no upgrade yet") }
        print("\(status.cluster ?? "") to \(status.target ?? ""): \(status.state); \(status.message ?? "")")
        var table = TextTable(["NODE", "TURN", "STATE", "STEP", "FROM", "MESSAGE"])
        table.rows = nodes.map { [$0.name, $0.kind, $0.state, $0.step, $0.version, $0.message] }
        table.printOut()
        if status.state == "stopped" { throw CommandFailure.failed(status.message ?? "stopped") }
    }

    private func printTable(_ run: UpgradeRun, isUnderWay: Bool) {
        print("\(run.cluster) to \(run.target): \(run.state.rawValue); \(upgradeMessage(run, isUnderWay: isUnderWay))")
        print(
            "begun \(formatRFC3339(run.startedAt, fraction: false))"
                + (run.endedAt.map { ", ended \(formatRFC3339($0, fraction: false))" } ?? ""))
        var table = TextTable(["NODE", "TURN", "STATE", "STEP", "FROM", "MESSAGE"])
        table.rows = run.visits.map { visit in
            [
                visit.node.isEmpty ? "(cluster)" : visit.node, visit.kind.rawValue, visit.status.rawValue,
                visit.status == .done ? "" : visit.step?.rawValue ?? "",
                run.nodes[visit.node]?.from?.description ?? "", visit.note,
            ]
        }
        table.printOut()
    }
}

/// Asks whoever is at the run, or does it here where nobody is.
private func ask(_ request: UpgradeMachine.Request, _ source: UpgradeSource) async throws {
    if let server = source.server {
        _ = try await server.send("POST", "/api/kops/v1/upgrade/\(request.rawValue)")
        print("asked to \(request.rawValue)")
        return
    }
    try await audited("upgrade \(request.rawValue)") { try await askHere(request, source, $0) }
}

private func askHere(_ request: UpgradeMachine.Request, _ source: UpgradeSource, _ note: CommandNote) async throws {
    let config = try source.load()
    note.directory = config.storage.path
    let journal = FileUpgradeJournal(directory: config.storage.path)
    try await withUpgradeErrors {
        func current() throws -> UpgradeRun {
            guard let run = try journal.load(), !run.state.isOver else {
                throw UpgradeError(.state, "no upgrade is under way")
            }
            return run
        }
        note.subject = try current().target.description
        guard let lock = try await journal.pass(request) else {
            note.detail = "asked to \(request.rawValue)"
            print(note.detail)
            return
        }
        var machine = UpgradeMachine(try current())
        machine.ask(request, at: WallClock.system.nowMilliseconds())
        try journal.save(machine.run)
        if request == .abort {
            try await goOn(try source.assembly(config), from: machine.run, note)
        } else {
            // Nobody is at it: the nodes under way wait where they are.
            note.detail = "nobody is at it; kops-sidecar upgrade resume goes on"
            print(note.detail)
        }
        withExtendedLifetime(lock) {}
    }
}

struct UpgradePauseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause", abstract: "Let the nodes under way come to their end, and begin no other.")
    @OptionGroup var source: UpgradeSource
    func run() async throws { try await ask(.pause, source) }
}

struct UpgradeAbortCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "abort", abstract: "End the upgrade for good, and take back every cordon it made.",
        discussion: "What was upgraded stays upgraded: kubeadm knows no way back.")
    @OptionGroup var source: UpgradeSource
    func run() async throws { try await ask(.abort, source) }
}

struct UpgradeResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume", abstract: "Go on with an upgrade that is paused, stopped or was cut off.")
    @OptionGroup var source: UpgradeSource

    func run() async throws {
        if let server = source.server {
            _ = try await server.send("POST", "/api/kops/v1/upgrade/resume")
            print("goes on; kops-sidecar upgrade status --url \(server.url) tells where it is")
            return
        }
        try await audited("upgrade resume") { try await resume($0) }
    }

    private func resume(_ note: CommandNote) async throws {
        let config = try source.load()
        note.directory = config.storage.path
        await note.begins()
        let assembly = try source.assembly(config)
        try await withUpgradeErrors {
            let lock = try assembly.journal.lock()
            guard let run = try assembly.journal.load(), !run.state.isOver else {
                throw UpgradeError(.state, "there is no upgrade to go on with")
            }
            _ = assembly.journal.takeRequest()
            note.subject = run.target.description
            var machine = UpgradeMachine(run)
            machine.resume(at: WallClock.system.nowMilliseconds())
            try assembly.journal.save(machine.run)
            try await goOn(assembly, from: run, note)
            withExtendedLifetime(lock) {}
        }
    }
}
