import ArgumentParser
import ClusterOps
import FoundationEssentials
import KopsSidecar
import Platform

/// `events`: the cluster's events as a sidecar has kept them, the cluster alive or not.
struct EventsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "events", abstract: "List the cluster's events that were kept, those that happened last first.",
        discussion: "Needs cluster.events in the sidecar's configuration, but no cluster that is alive.")

    @Option(name: .shortAndLong, help: "Only about objects of this namespace.")
    var namespace: String?

    @Option(help: "Only Normal or Warning.")
    var type: String?

    @Option(help: "Only with this reason, such as FailedScheduling.")
    var reason: String?

    @Option(parsing: .unconditional, help: "Only that happened since this time (RFC 3339, Unix seconds or -1h).")
    var since: String?

    @Option(help: "At most so many.")
    var limit = 50

    @Option(
        help: ArgumentHelp(
            "Read the events of this data directory, the service running or not.", valueName: "directory")
    )
    var dataDir: String?

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    private struct Answer: Decodable {
        struct Events: Decodable {
            var kept: Bool
            var events: [Row]
        }
        struct Row: Decodable {
            var last: String
            var type: String
            var reason: String
            var namespace: String
            var kind: String
            var name: String
            var message: String
            var source: String
            var count: Int64
        }
        var data: Events
    }

    func run() async throws {
        let now = WallClock.system.nowMilliseconds()
        let from = try since.map { try parseTimeArgument($0, now: now) }
        if let dataDir { return try await list(in: dataDir, from ?? 0, now) }
        var form = [("limit", String(limit))]
        for (name, value) in [("namespace", namespace), ("type", type), ("reason", reason)] {
            if let value { form.append((name, value)) }
        }
        if let from { form.append(("since", formatRFC3339(from))) }
        let body = try await server.send("GET", "/api/kops/v1/events", form: form)
        let answer = try decodeAnswer(Answer.self, body).data
        if !answer.kept { printError("events are not kept: say cluster.events in the sidecar's configuration") }
        guard listing.output == .table else { return try printJSON(body, listing) }
        printTable(answer.events, now)
    }

    private func list(in directory: String, _ from: Int64, _ now: Int64) async throws {
        let path = ClusterEventStore.path(in: directory)
        guard FileSystem.exists(path) else { throw CommandFailure.unusable("there are no events in \(directory)") }
        var filter = ClusterEventFilter()
        (filter.namespace, filter.type, filter.reason) = (namespace, type, reason)
        (filter.since, filter.limit) = (from, limit)
        let events: [ClusterEvent]
        do {
            events = try await WorkerPool.blocking.run { [filter] in try ClusterEventStore(path: path).list(filter) }
        } catch {
            throw CommandFailure.failed("\(path) cannot be read: \(error)")
        }
        guard listing.output == .table else {
            var writer = JSONWriter()
            writeClusterEvents(&writer, events, isKept: true)
            return try printJSON(writer.bytes, listing)
        }
        printTable(
            events.map {
                Answer.Row(
                    last: formatRFC3339($0.last), type: $0.type, reason: $0.reason, namespace: $0.namespace,
                    kind: $0.kind, name: $0.name, message: $0.message, source: $0.source, count: $0.count)
            }, now)
    }

    private func printTable(_ events: [Answer.Row], _ now: Int64) {
        var table = TextTable(["LAST", "TYPE", "REASON", "OBJECT", "COUNT", "MESSAGE"])
        table.rows = events.map { event in
            let place = event.namespace.isEmpty ? "" : "\(event.namespace)/"
            return [
                parseRFC3339(event.last).map { ageText(milliseconds: now - $0) + " ago" } ?? event.last, event.type,
                event.reason, "\(place)\(event.kind.lowercased())/\(event.name)", String(event.count),
                String(event.message.split(separator: "\n").joined(separator: " ").prefix(200)),
            ]
        }
        table.printOut()
    }
}
