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
    var data: Entries
}

struct AuditListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List entries, the newest first.")

    @Option(help: "Only actions that begin with this, such as backup or \"POST /api\".")
    var action: String?

    @Option(help: "Only since this time (RFC 3339 or Unix seconds).")
    var since: String?

    @Option(help: "At most so many.")
    var limit = 50

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        var form = [("limit", String(limit))]
        if let action { form.append(("action", action)) }
        if let since { form.append(("since", since)) }
        let body = try await server.send("GET", "/api/kops/v1/audit", form: form)
        guard listing.output == .table else { return try printJSON(body, listing) }
        var table = TextTable(["TIME", "ACTOR", "ACTION", "SUBJECT", "RESULT", "DETAIL"])
        for entry in try decodeAnswer(Answer.self, body).data.entries {
            table.rows.append([
                entry.time, entry.actor, entry.action, entry.subject, entry.result,
                String(entry.detail.prefix(200)),
            ])
        }
        table.printOut()
    }
}

/// Notes what a command did in the trail of the sidecar beside it, where there is one. What cannot be noted is no failure.
func noteInAuditTrail(_ action: String, subject: String = "", succeeded: Bool, detail: String = "") async {
    let time = WallClock.system.nowMilliseconds()
    let user = ProcessInfo.processInfo.environment["SUDO_USER"] ?? ProcessInfo.processInfo.environment["USER"] ?? ""
    let entry = AuditEntry(
        time: time, actor: user.isEmpty ? "command line" : "command line (\(user))", action: action, subject: subject,
        succeeded: succeeded, detail: detail)
    _ = try? await WorkerPool.blocking.run {
        try AuditTrail.append(entry, path: "/var/lib/kops-sidecar/audit.sqlite")
    }
}
