import ArgumentParser
import ClusterOps
import FoundationEssentials
import KopsSidecar
import MetricModel
import Platform

/// `backup list`
struct BackupListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the backups of all destinations, the newest first.")

    @OptionGroup var configuration: BackupConfiguration
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let (service, config) = try configuration.service()
        let checks = BackupChecks.load(config.storage.path)
        let now = WallClock.system.nowMilliseconds()
        var entries: [BackupEntry] = []
        var problems: [String] = []
        for destination in service.destinations {
            do {
                entries += try await BackupCatalogue.read(destination)
            } catch {
                problems.append("\(destination.name): \(error)")
            }
        }
        entries.sort { ($1.name, $0.destination) < ($0.name, $1.destination) }
        try printListing(
            listing,
            columns: [
                "NAME", "AGE", "KIND", "NODE", "SIZE", "REVISION", "KEYS", "WHERE", "VERIFIED", "DRILLED", "STATE",
            ],
            rows: entries.map { entry in
                let checked = checks.backups["\(entry.name)"]
                return [
                    "\(entry.name)", ageText(milliseconds: now - entry.name.time), kindText(entry),
                    entry.manifest?.node ?? "-", sizeText(entry.bytes), String(entry.name.revision),
                    entry.manifest.map { String($0.totalKeys) } ?? "-", entry.destination,
                    checkText(checked?.verified ?? verifiedTime(entry), now), checkText(checked?.drilled, now),
                    entry.problem ?? "good",
                ]
            }
        ) { writer in
            writer.array(entries) { writer, entry in
                let checked = checks.backups["\(entry.name)"]
                writer.object { writer in
                    writer.key("name")
                    writer.string("\(entry.name)")
                    writer.key("destination")
                    writer.string(entry.destination)
                    writer.key("kind")
                    writer.string(kindText(entry))
                    writer.key("bytes")
                    writer.int(entry.bytes)
                    writer.key("logSegments")
                    writer.int(Int64(entry.eventSegments.count))
                    for (key, time) in [
                        ("verified", checked?.verified ?? verifiedTime(entry)), ("drilled", checked?.drilled),
                    ] {
                        writer.key(key)
                        if let time { writer.string(formatRFC3339(time, fraction: false)) } else { writer.null() }
                    }
                    writer.key("problem")
                    if let problem = entry.problem { writer.string(problem) } else { writer.null() }
                    writer.key("manifest")
                    if let json = entry.manifest.flatMap({ try? manifestJSON($0) }) {
                        writer.raw(json)
                    } else {
                        writer.null()
                    }
                }
            }
        }
        if !problems.isEmpty { throw CommandFailure.failed(problems) }
    }
}

/// `full`, `+3` for the third increment of a chain, with what lies beside it.
private func kindText(_ entry: BackupEntry) -> String {
    guard let manifest = entry.manifest else { return "-" }
    var text = manifest.kind == .full ? "full" : "increment \(manifest.chainLength)"
    if manifest.sealing != nil { text += ", sealed" }
    if !entry.eventSegments.isEmpty { text += ", log" }
    return text
}

/// Each backup is read back when it is made.
private func verifiedTime(_ entry: BackupEntry) -> Int64? {
    entry.manifest?.verified.flatMap { parseRFC3339($0) }
}

private func checkText(_ time: Int64?, _ now: Int64) -> String {
    time.map { ageText(milliseconds: now - $0) + " ago" } ?? "never"
}

/// `backup show NAME`
struct BackupShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show all that is known of a backup.",
        discussion: "With --output json or yaml its manifest.")

    @Argument(help: "The backup's name, or latest.")
    var name = "latest"

    @OptionGroup var configuration: BackupConfiguration
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let (service, config) = try configuration.service()
        let entries = try await withBackupErrors {
            var found: [BackupEntry] = []
            for destination in service.destinations {
                for entry in try await BackupCatalogue.read(destination)
                where name == "latest" ? entry.manifest != nil : "\(entry.name)" == name {
                    found.append(entry)
                }
            }
            guard let newest = found.map(\.name).max() else {
                throw BackupError(.notFound, "there is no backup \(name)")
            }
            return found.filter { $0.name == newest }
        }
        guard let manifest = entries.lazy.compactMap(\.manifest).first else {
            throw CommandFailure.failed("\(name): \(entries[0].problem ?? "it has no manifest")")
        }
        guard listing.output == .table else { return try printJSON(try manifestJSON(manifest), listing) }
        let now = WallClock.system.nowMilliseconds()
        let checked = BackupChecks.load(config.storage.path).backups[manifest.name]
        var lines: [(String, String)] = [
            ("name", manifest.name),
            ("made", "\(manifest.created), \(ageText(milliseconds: now - manifest.time)) ago, in \(seconds(manifest))"),
            ("kind", kindText(entries[0]) + (manifest.parent.map { ", builds on \($0)" } ?? "")),
            ("cluster", "\(manifest.cluster) (\(manifest.clusterID)), etcd \(manifest.etcdVersion)"),
            ("made by", manifest.node ?? "-"),
            (
                "snapshot of",
                "\(manifest.memberName.isEmpty ? manifest.memberID : manifest.memberName) at \(manifest.endpoint)"
            ),
            ("revision", String(manifest.revision)),
            ("keys", String(manifest.totalKeys)),
            ("database", "\(sizeText(manifest.databaseBytes)), hash \(manifest.statusHash)"),
            ("stored", sizeText(manifest.storedBytes)),
        ]
        for file in manifest.files { lines.append(("file", "\(file.name)  \(sizeText(file.bytes))  \(file.sha256)")) }
        if !manifest.bundle.isEmpty { lines.append(("files of node", String(manifest.bundle.count))) }
        if let sealing = manifest.sealing {
            lines.append(("sealed to", sealing.recipients.joined(separator: ", ")))
        }
        for entry in entries {
            let log = entry.eventSegments.isEmpty ? "" : ", log of \(entry.eventSegments.count) segments"
            lines.append(("where", "\(entry.destination): \(entry.problem ?? "good")\(log)"))
        }
        lines.append(("verified", checkText(checked?.verified ?? verifiedTime(entries[0]), now)))
        lines.append(("drilled", checkText(checked?.drilled, now)))
        for (key, value) in lines {
            print(key + String(repeating: " ", count: max(1, 15 - key.count)) + value)
        }
    }

    private func seconds(_ manifest: BackupManifest) -> String {
        formatFloat((Double(manifest.durationMilliseconds) / 100).rounded() / 10) + " s"
    }
}

/// `backup key`
struct BackupKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "Make a key that backups are sealed with.",
        discussion: """
            Writes the secret key to FILE and prints the public one. With the secret key backups can be made and read, with the \
            public one (backup.encryption.recipients) only made. Without the secret key a sealed backup is lost: keep a copy elsewhere.
            """)

    @Argument(help: ArgumentHelp("Where the secret key goes; it must not be there yet.", valueName: "file"))
    var file: String

    @Flag(help: "Make nothing; print the public key of the secret one in FILE.")
    var `public` = false

    func run() async throws {
        if self.public {
            try await withBackupErrors {
                for recipient in try SealingKeys(file: file).recipients { print(recipient.text) }
            }
            return
        }
        try await audited("backup key", subject: file) { try await make($0) }
    }

    private func make(_ note: CommandNote) async throws {
        try await withBackupErrors {
            guard !FileSystem.exists(file) else {
                throw BackupError(
                    .refused, "\(file) is there already, and what it opens would be lost with it: name another file")
            }
            let (text, recipient) = try SealingKeys.generate(now: WallClock.system.nowMilliseconds())
            try AtomicFile.write(Array(text.utf8), to: file, mode: 0o600)
            note.detail = "public key \(recipient.text)"
            print(recipient.text)
        }
    }
}
