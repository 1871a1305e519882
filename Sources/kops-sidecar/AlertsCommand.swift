import ArgumentParser
import FoundationEssentials
import MetricModel
import Monitoring
import Platform

/// One alert of the API v2.
struct AlertmanagerAlert: Decodable {
    struct Status: Decodable {
        var state: String
        var silencedBy: [String]
        var inhibitedBy: [String]
    }

    struct Receiver: Decodable { var name: String }

    var labels: [String: String]
    var annotations: [String: String]
    var startsAt: String
    var status: Status
    var receivers: [Receiver]
}

/// `alerts`: what is firing, as amtool's `alert query`.
struct AlertsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alerts", abstract: "List alerts that fire.",
        discussion: "Filters are matchers such as severity=critical or instance=~\"node.*\".")

    @Argument(help: ArgumentHelp("Matchers that alerts must have.", valueName: "matcher"))
    var filters: [String] = []

    @Flag(name: .shortAndLong, help: "Silenced ones as well.")
    var silenced = false

    @Flag(name: .shortAndLong, help: "Inhibited ones as well.")
    var inhibited = false

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        for filter in filters {
            do { _ = try MatcherSyntax.parse(filter) } catch {
                throw CommandFailure.unusable("bad matcher \(filter): \(error)")
            }
        }
        var form = filters.map { ("filter", $0) }
        form += [("silenced", String(silenced)), ("inhibited", String(inhibited))]
        let body = try await server.send("GET", "/api/v2/alerts", form: form)
        guard listing.output == .table else { return try printJSON(body, listing) }
        let alerts = try decodeAnswer([AlertmanagerAlert].self, body)
        var table = TextTable(["ALERT", "SEVERITY", "SINCE", "STATE", "SUMMARY"])
        for alert in alerts.sorted(by: { $0.startsAt < $1.startsAt }) {
            table.rows.append([
                alert.labels["alertname"] ?? "", alert.labels["severity"] ?? "", alert.startsAt, alert.status.state,
                alert.annotations["summary"]
                    ?? alert.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
                    .joined(separator: " "),
            ])
        }
        table.printOut()
    }
}

func decodeAnswer<T: Decodable>(_ type: T.Type, _ body: [UInt8]) throws -> T {
    do {
        return try JSONDecoder().decode(type, from: Data(body))
    } catch {
        throw CommandFailure.failed("the answer cannot be read: \(error)")
    }
}
