import ArgumentParser
import ClusterOps
import Etcd
import FoundationEssentials
import KopsSidecar
import Logging
import MetricModel
import Platform

/// `backup …`: works with the configuration alone, the service running or not.
struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Make, list, check and remove backups of etcd.",
        subcommands: [
            BackupNowCommand.self, BackupListCommand.self, BackupShowCommand.self, BackupVerifyCommand.self,
            BackupPruneCommand.self, BackupDrillCommand.self, BackupKeyCommand.self,
        ])
}

/// `--config` and what backups need of it.
struct BackupConfiguration: ParsableArguments {
    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config: String?

    func load() throws -> SidecarConfig {
        do {
            return try SidecarConfig.load(try configurationPath(config))
        } catch let problems as ConfigProblems {
            throw CommandFailure.unusable(problems.lines)
        }
    }

    /// `backup` is the one that is asked for, which may have been meant as a file.
    func service(for backup: String = "latest") throws -> (service: BackupService, config: SidecarConfig) {
        let config = try load()
        guard let options = config.backup else {
            let file = backup == "latest" ? "" : "there is no file \(backup), and "
            throw CommandFailure.unusable("\(file)\(config.path) has no section backup: say there where backups go")
        }
        let log = Logger(label: "backup") { LineLogHandler(label: $0, level: .critical, format: .logfmt) }
        return (
            BackupService(
                options: options, etcd: config.etcd, destinations: makeDestinations(options),
                registry: MetricRegistry(), logger: log, toolVersion: productVersion), config
        )
    }
}

/// Whether a place is a directory's path, not a destination's name in the configuration.
func isDirectoryPlace(_ place: String, config: String?) -> Bool {
    if place.contains("://") { return false }
    if place.contains("/") { return true }
    return config == nil && !FileSystem.exists(defaultConfigurationPath) && FileSystem.exists(place)
}

/// Runs work that may throw a `BackupError`, and ends with the status that fits it.
func withBackupErrors<R>(_ body: () async throws -> R) async throws -> R {
    do {
        return try await body()
    } catch let error as BackupError {
        switch error.code {
        case .invalid: throw CommandFailure.unusable(error.message)
        case .refused: throw CommandFailure.refused("refused: \(error.message)")
        case .cancelled: throw CommandFailure(status: 130, lines: ["interrupted"])
        default: throw CommandFailure.failed(error.message)
        }
    } catch let error as FileError {
        throw CommandFailure.failed("\(error)")
    } catch let error as EtcdError {
        switch error.code {
        case .invalidArgument: throw CommandFailure.unusable("\(error)")
        case .cancelled: throw CommandFailure(status: 130, lines: ["interrupted"])
        default: throw CommandFailure.failed("\(error)")
        }
    }
}

func manifestJSON(_ manifest: BackupManifest) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    return Array(try encoder.encode(manifest))
}

/// `backup now`
struct BackupNowCommand: AsyncParsableCommand, CleansUpWhenInterrupted {
    static let configuration = CommandConfiguration(
        commandName: "now", abstract: "Make a backup and bring it to all destinations.",
        discussion: "Prints where it is; with --output json its manifest.")

    @OptionGroup var configuration: BackupConfiguration
    @OptionGroup var listing: OutputOptions

    func run() async throws { try await audited("backup now") { try await run($0) } }

    private func run(_ note: CommandNote) async throws {
        let (service, config) = try configuration.service()
        note.directory = config.storage.path
        let progress = ProgressLine()
        let result = try await withBackupErrors {
            defer { progress.finish() }
            return try await service.backupNow(onDemand: true, progress: progress.handler)
        }
        note.subject = result.manifest.name
        note.detail = result.skipped ? "nothing had changed" : result.path
        switch listing.output {
        case .table: print(result.path)
        case .json, .yaml: try printJSON(try manifestJSON(result.manifest), listing)
        }
        let failed = result.outcomes.compactMap { outcome in outcome.problem.map { "\(outcome.destination): \($0)" } }
        if !failed.isEmpty { throw CommandFailure.failed(failed) }
    }
}

/// `backup verify [FILE|NAME|latest]`
struct BackupVerifyCommand: AsyncParsableCommand, CleansUpWhenInterrupted {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Prove that a backup is whole, without etcd.",
        discussion: "Reads it to the last byte. A path needs no configuration. Exit status 1 where it is not whole.")

    @Argument(help: "A file, a backup's name, or latest.")
    var source = "latest"

    @Option(help: ArgumentHelp("A directory or a configured destination to look in.", valueName: "place"))
    var from: String?

    @Option(help: ArgumentHelp("The key that opens sealed backups.", valueName: "file"))
    var keyFile: String?

    @OptionGroup var configuration: BackupConfiguration
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let progress = ProgressLine()
        let directory = from.flatMap { isDirectoryPlace($0, config: configuration.config) ? $0 : nil }
        if source.contains("/") || FileSystem.exists(source) || directory != nil {
            // Changes nothing, and needs no sidecar.
            let outcome = try await withBackupErrors {
                defer { progress.finish() }
                return try await BackupVerifier.verify(
                    source, from: directory, destinations: [],
                    workDirectory: directory ?? FileSystem.parent(of: source),
                    keys: try keyFile.map { try SealingKeys(file: $0) }, progress: progress.handler)
            }
            return try report(outcome)
        }
        try await audited("backup verify", subject: source) { note in
            let outcome = try await verify(note, progress)
            note.subject = outcome.name ?? source
            note.detail = outcome.wasNotOpened ? "whole (sealed, not opened)" : "whole"
            try report(outcome)
        }
    }

    private func verify(_ note: CommandNote, _ progress: ProgressLine) async throws -> VerifyOutcome {
        try await withBackupErrors {
            defer { progress.finish() }
            let (service, config) = try configuration.service(for: source)
            note.directory = config.storage.path
            let key = keyFile ?? service.options.sealing?.keyFile
            let outcome = try await BackupVerifier.verify(
                source, from: from, cluster: service.options.cluster, destinations: service.destinations,
                workDirectory: config.storage.path, keys: try key.map { try SealingKeys(file: $0) },
                progress: progress.handler)
            if outcome.problem == nil, let name = outcome.name {
                BackupChecks.note(
                    config.storage.path, name, verified: WallClock.system.nowMilliseconds())
            }
            return outcome
        }
    }

    private func report(_ outcome: VerifyOutcome) throws {
        let state = outcome.problem != nil ? "damaged" : outcome.wasNotOpened ? "whole (sealed, not opened)" : "whole"
        let log = outcome.logRevision.map { "to r\($0)" } ?? "-"
        try printListing(
            listing, columns: ["BACKUP", "REVISION", "KEYS", "DATABASE", "HASH", "FILES", "LOG", "STATE"],
            rows: [
                [
                    outcome.title, String(outcome.revision), String(outcome.totalKeys), sizeText(outcome.databaseBytes),
                    outcome.statusHash, String(outcome.bundleFiles), log, state,
                ]
            ]
        ) { writer in
            writer.object { writer in
                writer.key("backup")
                writer.string(outcome.title)
                writer.key("revision")
                writer.int(outcome.revision)
                writer.key("totalKeys")
                writer.int(outcome.totalKeys)
                writer.key("databaseBytes")
                writer.int(outcome.databaseBytes)
                writer.key("hash")
                writer.string(outcome.statusHash)
                writer.key("files")
                writer.int(Int64(outcome.bundleFiles))
                writer.key("logSegments")
                writer.int(Int64(outcome.logSegments))
                writer.key("logRevision")
                if let revision = outcome.logRevision { writer.int(revision) } else { writer.null() }
                writer.key("opened")
                writer.bool(!outcome.wasNotOpened)
                writer.key("problem")
                if let problem = outcome.problem { writer.string(problem) } else { writer.null() }
            }
        }
        if let problem = outcome.problem { throw CommandFailure.failed(problem) }
    }
}

/// `backup prune`
struct BackupPruneCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune", abstract: "Remove backups that no destination's retention keeps.")

    @Flag(help: "Only say what would be removed.")
    var dryRun = false

    @OptionGroup var configuration: BackupConfiguration

    func run() async throws {
        if dryRun { return try await prune(CommandNote()) }
        try await audited("backup prune") { try await prune($0) }
    }

    private func prune(_ note: CommandNote) async throws {
        let (service, config) = try configuration.service()
        note.directory = config.storage.path
        var problems: [String] = []
        var removed: [String] = []
        for outcome in await service.pruneAll(dryRun: dryRun) {
            removed += outcome.removed.map { "\(outcome.destination)/\($0)" }
            for name in outcome.removed {
                print("\(outcome.destination): \(dryRun ? "would remove" : "removed") \(name)")
            }
            if let problem = outcome.problem { problems.append("\(outcome.destination): \(problem)") }
        }
        note.detail = removed.isEmpty ? "nothing to remove" : "removed " + removed.joined(separator: ", ")
        if !problems.isEmpty { throw CommandFailure.failed(problems) }
    }
}

/// `backup drill [NAME|latest]`
struct BackupDrillCommand: AsyncParsableCommand, CleansUpWhenInterrupted {
    static let configuration = CommandConfiguration(
        commandName: "drill", abstract: "Prove that a backup can be restored, with a throwaway etcd.",
        discussion:
            "Without the etcd program it is checked to its last page. Nothing of the running cluster is touched.")

    @Argument(help: "A file, a backup's name, or latest.")
    var source = "latest"

    @Option(
        help: ArgumentHelp("The etcd program; without one everything but serving is checked.", valueName: "program"))
    var etcd: String?

    @OptionGroup var configuration: BackupConfiguration

    func run() async throws { try await audited("backup drill", subject: source) { try await run($0) } }

    private func run(_ note: CommandNote) async throws {
        let progress = ProgressLine()
        let report = try await withBackupErrors {
            defer { progress.finish() }
            let (service, config) = try configuration.service(for: source)
            note.directory = config.storage.path
            var drill = Drill(destinations: service.destinations, workDirectory: config.storage.path)
            if let etcd { (drill.etcdProgram, drill.needsEtcd) = (etcd, true) }
            drill.keyFile = config.backup?.sealing?.keyFile
            drill.kubernetesDirectory = config.backup?.kubernetesDirectory ?? drill.kubernetesDirectory
            let report = try await drill.run(
                source, cluster: source == "latest" ? service.options.cluster : nil, progress: progress.handler)
            if let name = report.backup.split(separator: " ").first {
                BackupChecks.note(
                    config.storage.path, String(name), drilled: WallClock.system.nowMilliseconds())
            }
            return report
        }
        note.subject = report.backup
        note.detail = report.summary
        print(report.summary)
    }
}
