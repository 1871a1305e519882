import ArgumentParser
import FoundationEssentials
import KopsSidecar
import Logging
import MetricModel
import Monitoring
import Platform
import PromQL
import TSDB

/// `test rules --against-history`: when the alerts of rule files would have fired, how often and how long.
struct BacktestOptions: ParsableArguments {
    @Option(parsing: .unconditional, help: "The first moment: RFC 3339, Unix seconds, or -7d.")
    var from: String?

    @Option(parsing: .unconditional, help: "The last moment; now by default.")
    var to: String?

    @Option(help: ArgumentHelp("The data directory of a stopped sidecar.", valueName: "directory"))
    var dataDir: String?

    @Option(help: "A running sidecar, Prometheus or another server with its API.")
    var url: String?

    @OptionGroup var credentials: CredentialOptions

    @Option(help: ArgumentHelp("The interval of groups that name none.", valueName: "duration"))
    var interval = "1m"

    var isGiven: Bool { from != nil || to != nil || dataDir != nil || url != nil }

    func run(_ files: [String], _ listing: OutputOptions) async throws {
        let now = WallClock.system.nowMilliseconds()
        guard let from else { throw CommandFailure.unusable("--against-history needs --from") }
        let begin = try parseTimeArgument(from, now: now)
        let end = try parseTimeArgument(to ?? "now", now: now)
        guard begin < end else { throw CommandFailure.unusable("--from must be before --to") }
        guard let step = parseDuration(interval), step > 0 else {
            throw CommandFailure.unusable("--interval must be a duration such as 1m")
        }
        let issues = ConfigIssues()
        let groups = files.flatMap { decodeRuleFile($0, defaultInterval: step, issues: issues) }
        if !issues.all.isEmpty { throw CommandFailure.unusable(issues.all.map(\.description)) }
        let outcomes: [RuleBacktest.Outcome]
        switch (dataDir, url) {
        case (let directory?, nil):
            var group = StoreOptionGroup()
            group.dataDir = directory
            group.config = nil
            let store = try group.open(readOnly: true)
            defer { store.abandon() }
            outcomes = try await evaluate(groups, store, begin, end)
        case (nil, let url?):
            let client = HTTPClient(name: "backtest")
            defer { client.shutdown() }
            let history: MemorySeries
            do {
                history = try await HistoryDownload(server: credentials.connection(to: url), client: client)
                    .fetch(groups, from: begin, through: end)
            } catch {
                throw CommandFailure.failed("\(error)")
            }
            outcomes = try await evaluate(groups, history, begin, end)
        default: throw CommandFailure.unusable("give either --data-dir or --url")
        }
        try report(outcomes, begin, end, listing)
    }

    private func evaluate(_ groups: [RuleGroupDefinition], _ history: any Queryable, _ from: Int64, _ through: Int64)
        async throws -> [RuleBacktest.Outcome]
    {
        let backtest = RuleBacktest(groups, history: history, engine: Engine(), from: from, through: through)
        return try await WorkerPool.shared.run { backtest.run() }
    }

    private func report(_ outcomes: [RuleBacktest.Outcome], _ from: Int64, _ end: Int64, _ listing: OutputOptions)
        throws
    {
        var rows: [[String]] = []
        for outcome in outcomes {
            for episode in outcome.episodes {
                let until = episode.resolvedAt ?? end
                rows.append([
                    outcome.alert, episode.labels.removing { $0.elementsEqual("alertname".utf8) }.description,
                    formatRFC3339(episode.activeAt, fraction: false), formatRFC3339(episode.firedAt, fraction: false),
                    episode.resolvedAt.map { formatRFC3339($0, fraction: false) } ?? "still firing",
                    formatDuration((until - episode.firedAt) / 1000 * 1000),
                ])
            }
        }
        try printListing(
            listing, columns: ["ALERT", "LABELS", "ACTIVE", "FIRED", "RESOLVED", "DURATION"], rows: rows
        ) { writer in
            writer.array(outcomes) { writer, outcome in write(&writer, outcome, end) }
        }
        guard listing.output == .table else { return }
        for outcome in outcomes {
            let lengths = outcome.episodes.map { ($0.resolvedAt ?? end) - $0.firedAt }
            let total = formatDuration(lengths.reduce(0, +) / 1000 * 1000)
            let longest = formatDuration((lengths.max() ?? 0) / 1000 * 1000)
            printError(
                outcome.episodes.isEmpty
                    ? "\(outcome.alert): never fired"
                    : "\(outcome.alert): fired \(outcome.episodes.count) times, \(total) in all, \(longest) at most")
            if outcome.failures > 0 {
                printError("\(outcome.alert): \(outcome.failures) evaluations failed: \(outcome.firstFailure)")
            }
        }
    }
}

private func write(_ writer: inout JSONWriter, _ outcome: RuleBacktest.Outcome, _ end: Int64) {
    writer.object { writer in
        for (key, text) in [("file", outcome.file), ("group", outcome.group), ("alert", outcome.alert)] {
            writer.key(key)
            writer.string(text)
        }
        writer.key("episodes")
        writer.array(outcome.episodes) { writer, episode in
            writer.object { writer in
                writer.key("labels")
                writer.labels(episode.labels)
                writer.key("activeAt")
                writer.string(formatRFC3339(episode.activeAt))
                writer.key("firedAt")
                writer.string(formatRFC3339(episode.firedAt))
                if let resolved = episode.resolvedAt {
                    writer.key("resolvedAt")
                    writer.string(formatRFC3339(resolved))
                }
                writer.key("seconds")
                writer.double(Double((episode.resolvedAt ?? end) - episode.firedAt) / 1000)
            }
        }
        writer.key("failures")
        writer.int(outcome.failures)
        if outcome.failures > 0 {
            writer.key("firstFailure")
            writer.string(outcome.firstFailure)
        }
    }
}

/// Brings the samples that rules may read from a server with Prometheus' API into memory: each selector's raw samples, as an
/// instant query for a range gives them.
struct HistoryDownload {
    let server: ServerConnection
    let client: HTTPClient

    func fetch(_ groups: [RuleGroupDefinition], from: Int64, through: Int64) async throws -> MemorySeries {
        let history = MemorySeries()
        // Each selector once, as far back as the rule that looks furthest.
        var reaches: [String: Int64] = [:]
        for rule in groups.flatMap(\.rules) {
            let reach = rule.expr.reach + 300_000
            for selector in rule.expr.selectors {
                let text = "{" + selector.matchers.map(\.description).joined(separator: ",") + "}"
                reaches[text] = max(reaches[text] ?? 0, reach)
            }
        }
        for (text, reach) in reaches.sorted(by: { $0.key < $1.key }) {
            try await fetch(text, from: from - reach, through: through, into: history)
        }
        return history
    }

    private func fetch(_ selector: String, from: Int64, through: Int64, into history: MemorySeries) async throws {
        // A day at a time, so that no answer is too large.
        var begin = from
        while begin < through {
            let end = min(through, begin + 86_400_000)
            var base = server.url
            while base.hasSuffix("/") { base.removeLast() }
            var request = HTTPRequest("POST", base + "/api/v1/query")
            let query = "\(selector)[\(end - begin)ms]"
            request.headers = [("Content-Type", "application/x-www-form-urlencoded")]
            request.body = Array("query=\(percentEncoded(query))&time=\(Double(end) / 1000)".utf8)
            request.timeout = .seconds(300)
            request.maxBodyBytes = 1 << 30
            try server.authenticate(&request)
            let response = try await client.send(request)
            guard response.status == 200 else {
                throw CommandFailure.failed("\(base): status \(response.status): \(response.bodyText.prefix(300))")
            }
            let answer = try JSONDecoder().decode(QueryAnswer.self, from: Data(response.body))
            if case .series(let series) = answer.data.result {
                for one in series {
                    let labels = Labels(one.metric.map { ($0.key, $0.value) })
                    for point in one.points {
                        history.append(
                            labels, timestamp: Int64((point.time * 1000).rounded()), value: parseValue(point.value))
                    }
                }
            }
            begin = end
        }
    }

    private func parseValue(_ text: String) -> Double {
        switch text {
        case "NaN": .nan
        case "+Inf", "Inf": .infinity
        case "-Inf": -.infinity
        default: Double(text) ?? .nan
        }
    }
}

extension Expr {
    /// How far back it may look, as far as its ranges and offsets are literals. Milliseconds.
    fileprivate var reach: Int64 {
        func length(_ span: Span) -> Int64 { if case .literal(let value) = span { max(0, value) } else { 86_400_000 } }
        let own: Int64 =
            switch kind {
            case .vector(let selector): length(selector.time.offset)
            case .matrix(let selector, let range): length(range) + length(selector.time.offset)
            case .subquery(let subquery): length(subquery.range) + length(subquery.time.offset)
            default: 0
            }
        return own + (children.map(\.reach).max() ?? 0)
    }
}
