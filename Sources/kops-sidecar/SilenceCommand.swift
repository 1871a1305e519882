import ArgumentParser
import FoundationEssentials
import Glibc
import KopsSidecar
import MetricModel
import Monitoring
import Platform

/// `silence add|list|expire`, as amtool.
struct SilenceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "silence", abstract: "Add, list and end silences.",
        subcommands: [SilenceAddCommand.self, SilenceListCommand.self, SilenceExpireCommand.self])
}

struct SilenceAddCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Silence alerts that all matchers match; prints the silence's id.")

    @Argument(help: ArgumentHelp("Matchers such as alertname=Down or instance=~\"a|b\".", valueName: "matcher"))
    var matchers: [String]

    @Option(name: .shortAndLong, help: "For how long, such as 2h.")
    var duration = "1h"

    @Option(parsing: .unconditional, help: "From when, RFC 3339 or -1h; now by default.")
    var start: String?

    @Option(help: "Until when, in place of --duration.")
    var end: String?

    @Option(name: .shortAndLong, help: "Who silences.")
    var author: String?

    @Option(name: .shortAndLong, help: "Why.")
    var comment: String

    @OptionGroup var server: ServerOptions

    func run() async throws {
        let now = WallClock.system.nowMilliseconds()
        let from = try start.map { try parseTimeArgument($0, now: now) } ?? now
        let until: Int64
        if let end {
            until = try parseTimeArgument(end, now: now)
        } else {
            guard let length = parseDuration(duration), length > 0 else {
                throw CommandFailure.unusable("--duration must be such as 2h, not \"\(duration)\"")
            }
            until = from + length
        }
        var parsed: [LabelMatcher] = []
        for text in matchers {
            do {
                parsed += try MatcherSyntax.parse(text)
            } catch {
                throw CommandFailure.unusable("bad matcher \(text): \(error)")
            }
        }
        var writer = JSONWriter()
        writer.object { writer in
            writer.key("matchers")
            writer.array(parsed) { writer, matcher in
                writer.object { writer in
                    writer.key("name")
                    writer.string(matcher.name)
                    writer.key("value")
                    writer.string(matcher.value)
                    writer.key("isRegex")
                    writer.bool(matcher.op == .regex || matcher.op == .notRegex)
                    writer.key("isEqual")
                    writer.bool(matcher.op == .equal || matcher.op == .regex)
                }
            }
            let texts = [
                ("startsAt", formatRFC3339(from)), ("endsAt", formatRFC3339(until)),
                ("createdBy", author ?? userName()), ("comment", comment),
            ]
            for (name, text) in texts {
                writer.key(name)
                writer.string(text)
            }
        }
        struct Answer: Decodable { var silenceID: String }
        let body = try await server.send("POST", "/api/v2/silences", json: writer.bytes)
        print(try decodeAnswer(Answer.self, body).silenceID)
    }

    private func userName() -> String {
        getpwuid(getuid()).map { String(cString: $0.pointee.pw_name) } ?? String(getuid())
    }
}

struct SilenceListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List silences that have not ended.")

    @Flag(help: "Those that have ended as well.")
    var expired = false

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    private struct Row: Decodable {
        struct Status: Decodable { var state: String }
        struct Matcher: Decodable {
            var name: String
            var value: String
            var isRegex: Bool
            var isEqual: Bool
        }

        var id: String
        var status: Status
        var matchers: [Matcher]
        var endsAt: String
        var createdBy: String
        var comment: String
    }

    func run() async throws {
        let body = try await server.send("GET", "/api/v2/silences")
        guard listing.output == .table else { return try printJSON(body, listing) }
        var table = TextTable(["ID", "STATE", "MATCHERS", "ENDS", "BY", "COMMENT"])
        for row in try decodeAnswer([Row].self, body) where expired || row.status.state != "expired" {
            let matchers = row.matchers.map { matcher in
                let op = matcher.isRegex ? (matcher.isEqual ? "=~" : "!~") : (matcher.isEqual ? "=" : "!=")
                return matcher.name + op + quoteGo(matcher.value)
            }
            table.rows.append([
                row.id, row.status.state, matchers.joined(separator: " "), row.endsAt, row.createdBy, row.comment,
            ])
        }
        table.printOut()
    }
}

struct SilenceExpireCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "expire", abstract: "End silences now.")

    @Argument(help: "The silences' ids.")
    var ids: [String]

    @OptionGroup var server: ServerOptions

    func run() async throws {
        for id in ids { _ = try await server.send("DELETE", "/api/v2/silence/\(percentEncoded(id))") }
    }
}
