import ArgumentParser
import ClusterOps
import FoundationEssentials
import KopsSidecar
import MetricModel
import Platform

/// `restore`: brings etcd, and with `--control-plane` the control plane of this node, back from a backup.
struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Bring etcd, or the whole control plane of this node, back from a backup.",
        discussion: """
            Prints the plan, then does it step by step. Each step is written down first, so that --resume goes on after a \
            kill and --undo takes it back. Needs nothing but a backup: no cluster, no service, no configuration.
            """)

    @Argument(help: "A snapshot file, a backup's name, or latest.")
    var source = "latest"

    @OptionGroup(title: "Where the backup is") var place: PlaceOptions

    @Option(
        help: ArgumentHelp("The key that opens a sealed backup; - reads it from standard input.", valueName: "file"))
    var keyFile: String?

    @Option(
        help: ArgumentHelp(
            "The state at this time (RFC 3339), or latest: the last backup before it and the log of changes up to it.",
            valueName: "time"))
    var at: String?

    @Option(
        help: ArgumentHelp("The state at this revision of etcd, from a backup and its log of changes.", valueName: "n"))
    var revision: Int64?

    @Flag(help: "Only print the plan.")
    var dryRun = false

    @Option(help: ArgumentHelp("etcd's data directory.", valueName: "directory"))
    var dataDir: String?

    @Option(help: "The member's name.")
    var name: String?

    @Option(help: ArgumentHelp("All members: NAME=PEER-URL,…", valueName: "members"))
    var initialCluster: String?

    @Option(help: "The restored cluster's token.")
    var initialClusterToken: String?

    @Option(help: ArgumentHelp("The member's peer URLs.", valueName: "urls"))
    var initialAdvertisePeerUrls: String?

    @Option(help: ArgumentHelp("Raise all revisions by this and mark the old ones compacted.", valueName: "n"))
    var bumpRevision: Int64?

    @Flag(help: "Leave revisions as they are; controllers may then miss changes.")
    var noBump = false

    @Flag(help: "Restore this node's whole control plane, stopping and starting its static pods.")
    var controlPlane = false

    @Flag(help: "Restore as a cluster of this member only.")
    var singleMember = false

    @Flag(help: "Rename a data directory that is not empty, and keep it.")
    var setAside = false

    @Option(
        help: ArgumentHelp("Override a refusal: live-quorum, older, other-cluster or unchecked.", valueName: "reason"))
    var force: [String] = []

    @Flag(help: "Go on with a restore that was interrupted.")
    var resume = false

    @Flag(help: "Take the last restore into the data directory back.")
    var undo = false

    @Option(help: ArgumentHelp("The configuration file, for its destinations.", valueName: "file"))
    var config: String?

    @OptionGroup(title: "The other members") var others: OtherMembersOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        if dryRun { return try await run(CommandNote()) }
        let action = undo ? "restore --undo" : resume ? "restore --resume" : "restore"
        let overrides = force.isEmpty ? "" : ", --force \(force.joined(separator: ", "))"
        let subject =
            "\(dataDir ?? RestoreOptions().dataDirectory)\(undo || resume ? "" : " from \(source)")\(overrides)"
        try await audited(action, subject: subject) { try await run($0) }
    }

    private func run(_ note: CommandNote) async throws {
        var options = RestoreOptions()
        var destinations: [any Destination] = []
        let isFile = source.contains("/") || FileSystem.exists(source)
        let isPlace = place.from.map { $0.contains("/") || isDirectoryPlace($0, config: config) } ?? false
        if let destination = try place.destination() { destinations = [destination] }
        // The configuration is a help, not a need: a file, a directory or a URL is enough.
        if config != nil || !(isFile || isPlace || undo) {
            let loaded = try BackupConfiguration.parse(config.map { ["--config", $0] } ?? []).load()
            note.directory = loaded.storage.path
            options.etcd = loaded.etcd
            // Where nothing says which etcd is meant, the cluster's own is no concern.
            if !loaded.etcdIsNamed, loaded.backup == nil, !controlPlane { options.etcd.endpoints = [] }
            if let backup = loaded.backup {
                // Other clusters may have their backups at the same place.
                if place.from == nil { options.cluster = backup.cluster }
                destinations += makeDestinations(backup)
                options.keyFile = backup.sealing?.keyFile
                options.kubernetesDirectory = backup.kubernetesDirectory
                options.kubeletDirectory = backup.kubeletDirectory
            }
        } else if !controlPlane {
            options.etcd.endpoints = []
        }
        await note.begins()
        options.source = source
        options.from = place.from
        options.placeArguments = place.arguments
        options.keyFile = keyFile ?? options.keyFile
        if let at {
            options.atTime = at == "latest" ? .max : try parseTimeArgument(at, now: WallClock.system.nowMilliseconds())
        }
        if let revision {
            guard at == nil, revision > 0 else {
                throw CommandFailure.unusable("--revision takes a positive number, and not together with --at")
            }
            options.atRevision = revision
        }
        options.dataDirectory = dataDir ?? options.dataDirectory
        options.name = name
        options.initialCluster = initialCluster
        options.initialClusterToken = initialClusterToken
        options.initialAdvertisePeerURLs = initialAdvertisePeerUrls
        if noBump, bumpRevision != nil {
            throw CommandFailure.unusable("--no-bump and --bump-revision exclude each other")
        }
        if let bumpRevision, bumpRevision < 0 { throw CommandFailure.unusable("--bump-revision must not be negative") }
        options.bumpRevision = noBump ? nil : bumpRevision ?? options.bumpRevision
        options.controlPlane = controlPlane
        options.singleMember = singleMember
        options.setAside = setAside
        options.remote = try others.options()
        for text in force {
            guard let reason = RestoreOverride(rawValue: text) else {
                let known = RestoreOverride.allCases.map(\.rawValue)
                throw CommandFailure.unusable(
                    "--force \(text) is none of \(known.joined(separator: ", "))" + didYouMean(text, known))
            }
            options.overrides.insert(reason)
        }
        let progress = ProgressLine()
        let announce: @Sendable (Int, RestoreStep) -> Void = { index, step in
            progress.finish()
            printError("\(index + 1). \(step.description)")
        }
        let tell: @Sendable (String) -> Void = { line in
            progress.finish()
            printError(line)
        }
        try await withBackupErrors { [options, destinations] in
            defer { progress.finish() }
            if undo {
                let lines = try await RestorePlan.undo(dataDirectory: options.dataDirectory)
                for line in lines { print(line) }
                note.detail = lines.joined(separator: "; ")
                return
            }
            if resume {
                try show(
                    try await RestorePlan.resume(
                        dataDirectory: options.dataDirectory, keyFile: keyFile, destinations: destinations,
                        announce: announce, tell: tell, progress: progress.handler), note)
                return
            }
            let plan = try await RestorePlan.make(options, destinations: destinations)
            if dryRun {
                for line in plan.describe() { print(line) }
                return
            }
            for line in plan.describe() { printError(line) }
            try show(try await plan.execute(announce: announce, tell: tell, progress: progress.handler), note)
        }
    }

    private func show(_ report: RestoreReport, _ note: CommandNote) throws {
        note.detail = "revision \(report.revision), cluster \(report.clusterID)"
        if listing.output == .table {
            let seconds = formatFloat((report.seconds * 10).rounded() / 10)
            print(
                "restored \(report.dataDirectory) in \(seconds) s: revision \(report.revision), member \(report.memberID), cluster \(report.clusterID)"
            )
            if let aside = report.asideDirectory { print("the old directory is \(aside)") }
            for note in report.notes { print("note: \(note)") }
            return
        }
        var writer = JSONWriter()
        writer.object { writer in
            let texts = [
                ("dataDirectory", report.dataDirectory), ("memberID", report.memberID), ("clusterID", report.clusterID),
                ("asideDirectory", report.asideDirectory ?? ""),
            ]
            for (name, text) in texts {
                writer.key(name)
                writer.string(text)
            }
            writer.key("snapshotRevision")
            writer.int(report.snapshotRevision)
            writer.key("revision")
            writer.int(report.revision)
            writer.key("seconds")
            writer.double(report.seconds)
            writer.key("notes")
            writer.strings(report.notes)
        }
        try printJSON(writer.bytes, listing)
    }
}
