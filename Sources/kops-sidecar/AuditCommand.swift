import ArgumentParser
import ClusterOps
import FoundationEssentials
import KopsSidecar
import Platform

/// `audit list`: who did what, by a running sidecar's trail.
struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Show who did what, when, and what came of it.",
        subcommands: [AuditListCommand.self])
}

private struct Answer: Decodable {
    struct Entries: Decodable { var entries: [Entry] }
    struct Entry: Decodable {
        var time: String
        var actor: String
        var action: String
        var subject: String
        var result: String
        var detail: String
    }

    init(_ entries: [AuditEntry]) {
        data = Entries(
            entries: entries.map {
                Entry(
                    time: formatRFC3339($0.time), actor: $0.actor, action: $0.action, subject: $0.subject,
                    result: $0.succeeded ? "success" : "failure", detail: $0.detail)
            })
    }

    var data: Entries
}

struct AuditListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List entries, the newest first.")

    @Option(help: "Only actions that begin with this, such as backup or \"POST /api\".")
    var action: String?

    @Option(parsing: .unconditional, help: "Only since this time (RFC 3339, Unix seconds or -1h).")
    var since: String?

    @Option(help: "At most so many.")
    var limit = 50

    @Option(
        help: ArgumentHelp("Read the trail of this data directory, the service running or not.", valueName: "directory")
    )
    var dataDir: String?

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        if let dataDir { return try await list(in: dataDir) }
        var form = [("limit", String(limit))]
        if let action { form.append(("action", action)) }
        if let since {
            let from = try parseTimeArgument(since, now: WallClock.system.nowMilliseconds())
            form.append(("since", formatRFC3339(from)))
        }
        let body = try await server.send("GET", "/api/kops/v1/audit", form: form)
        guard listing.output == .table else { return try printJSON(body, listing) }
        printTable(try decodeAnswer(Answer.self, body).data.entries)
    }

    private func list(in directory: String) async throws {
        let now = WallClock.system.nowMilliseconds()
        let from = try since.map { try parseTimeArgument($0, now: now) } ?? 0
        let (limit, action) = (limit, action)
        let entries: [AuditEntry]?
        do {
            entries = try await WorkerPool.blocking.run {
                try AuditTrail.read(in: directory, limit: limit, since: from, action: action)
            }
        } catch {
            throw CommandFailure.failed("the audit trail in \(directory) cannot be read: \(error)")
        }
        guard let entries else { throw CommandFailure.unusable("there is no audit trail in \(directory)") }
        guard listing.output == .table else {
            var writer = JSONWriter()
            AuditRoutes.write(&writer, entries)
            return try printJSON(writer.bytes, listing)
        }
        printTable(Answer(entries).data.entries)
    }

    private func printTable(_ entries: [Answer.Entry]) {
        var table = TextTable(["TIME", "ACTOR", "ACTION", "SUBJECT", "RESULT", "DETAIL"])
        for entry in entries {
            table.rows.append([
                entry.time, entry.actor, entry.action, entry.subject, entry.result,
                String(entry.detail.prefix(200)),
            ])
        }
        table.printOut()
    }
}
