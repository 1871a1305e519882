import Logging
package import MetricModel
import Platform
package import PromQL

/// When rules would have fired over stored samples. Queries go by range, many steps at once; what they yield goes through the
/// very code that evaluates rules in the service, so that `for`, `keep_firing_for`, limits and templates count as there.
///
/// Series that the rules record take the place of stored ones of the same name. Nothing is written anywhere.
package struct RuleBacktest {
    /// A time during which an alert fired. Milliseconds since 1970 UTC.
    package struct Episode: Sendable {
        package var labels: Labels
        /// Since when its expression held.
        package var activeAt: Int64
        package var firedAt: Int64
        /// Nil where it still fired at the end.
        package var resolvedAt: Int64?
    }

    package struct Outcome: Sendable {
        package var file: String
        package var group: String
        package var alert: String
        package var episodes: [Episode] = []
        /// How often its evaluation failed, and why the first time.
        package var failures = 0
        package var firstFailure = ""
    }

    private let groups: [RuleGroup]
    private let history: any Queryable
    private let overlay: RecordedOverHistory
    private let engine: Engine
    private let from: Int64
    private let through: Int64
    /// Steps of one range query.
    private let window: Int

    package init(
        _ definitions: [RuleGroupDefinition], history: any Queryable, engine: Engine, from: Int64, through: Int64,
        externalLabels: Labels = .empty, externalURL: String = "", window: Int = 500
    ) {
        self.window = max(1, window)
        overlay = RecordedOverHistory(history, definitions)
        var environment = RuleEnvironment(
            engine: engine, source: overlay, appender: overlay, notify: { _ in }, clock: WallClock { 0 },
            metrics: MetricRegistry(), log: Logger(label: "backtest") { _ in SwiftLogNoOpLogHandler() })
        environment.externalLabels = externalLabels
        environment.externalURL = externalURL
        groups = RuleBacktest.ordered(definitions).map { RuleGroup($0, environment) }
        self.history = history
        self.engine = engine
        self.from = from
        self.through = through
    }

    /// Groups after those whose series they read, as far as they do not read each other's.
    private static func ordered(_ definitions: [RuleGroupDefinition]) -> [RuleGroupDefinition] {
        var waiting = definitions
        var out: [RuleGroupDefinition] = []
        func reads(_ a: RuleGroupDefinition, _ b: RuleGroupDefinition) -> Bool {
            a.key != b.key
                && a.rules.contains { rule in
                    rule.expr.selectors.contains { selector in b.rules.contains { mayRead(selector, $0) } }
                }
        }
        while !waiting.isEmpty {
            let next = waiting.firstIndex { group in !waiting.contains { reads(group, $0) } } ?? 0
            out.append(waiting.remove(at: next))
        }
        return out
    }

    /// Blocks. `progress` is told the share that is done, 0 to 1.
    package func run(progress: (Double) -> Void = { _ in }) -> [Outcome] {
        var outcomes: [Outcome] = []
        for (number, group) in groups.enumerated() {
            let definition = group.definition
            var ledger = Ledger(definition)
            let interval = definition.interval
            // The grid of the service: multiples of the interval.
            var begin = from / interval * interval
            if begin < from { begin += interval }
            while begin <= through {
                let end = min(begin + Int64(window - 1) * interval, through)
                let times = Array(stride(from: begin, through: end, by: Int64.Stride(interval)))
                for stage in group.stages {
                    let found = stage.map { vectors(definition.rules[$0], times, definition) }
                    for (k, rule) in stage.enumerated() {
                        for (step, time) in times.enumerated() {
                            let vector = found[k].at(step)
                            if case .success(let samples) = vector, samples.isEmpty, group.isQuiet(rule) { continue }
                            _ = group.evaluate([rule], at: time, vectors: [rule: vector])
                            ledger.note(rule, group.status.rules[rule], at: time)
                        }
                    }
                }
                begin += Int64(window) * interval
                let share = Double(min(begin, through) - from) / Double(max(1, through - from))
                progress((Double(number) + share) / Double(groups.count))
            }
            outcomes += ledger.outcomes
        }
        return outcomes
    }

    private struct Found {
        var steps: [[VectorSample]]
        var problem: (any Error)?

        func at(_ step: Int) -> Result<[VectorSample], any Error> {
            problem.map { .failure($0) } ?? .success(steps[step])
        }
    }

    private func vectors(_ rule: RuleDefinition, _ times: [Int64], _ definition: RuleGroupDefinition) -> Found {
        var found = Found(steps: Array(repeating: [], count: times.count))
        guard let first = times.first, let last = times.last else { return found }
        do {
            let offset = definition.queryOffset
            let result = try engine.range(
                rule.expr, from: first - offset, through: last - offset, step: definition.interval, source: overlay,
                control: QueryControl(maxSamples: 200_000_000))
            guard case .matrix(let series) = result.value else { return found }
            for one in series {
                for (i, time) in one.timestamps.enumerated() {
                    found.steps[Int((time + offset - first) / definition.interval)].append(
                        VectorSample(
                            labels: one.labels, timestamp: time, value: one.values[i], histogram: one.histograms?[i]))
                }
            }
        } catch {
            found.problem = error
        }
        return found
    }

    /// What has become of the alerts of a group's rules.
    private struct Ledger {
        private let definition: RuleGroupDefinition
        private var open: [[Labels: Episode]]
        private var done: [Outcome]

        init(_ definition: RuleGroupDefinition) {
            self.definition = definition
            open = definition.rules.map { _ in [:] }
            done = definition.rules.map { Outcome(file: definition.file, group: definition.name, alert: $0.name) }
        }

        mutating func note(_ rule: Int, _ status: RuleStatus, at time: Int64) {
            if !status.lastError.isEmpty {
                done[rule].failures += 1
                if done[rule].firstFailure.isEmpty { done[rule].firstFailure = status.lastError }
                return
            }
            var firing: Set<Labels> = []
            for alert in status.alerts where alert.state == .firing {
                firing.insert(alert.labels)
                if open[rule][alert.labels] == nil {
                    open[rule][alert.labels] = Episode(
                        labels: alert.labels, activeAt: alert.activeAt, firedAt: alert.firedAt)
                }
            }
            for (labels, episode) in open[rule] where !firing.contains(labels) {
                var ended = episode
                ended.resolvedAt = time
                done[rule].episodes.append(ended)
                open[rule][labels] = nil
            }
        }

        var outcomes: [Outcome] {
            var out = done
            for i in out.indices {
                out[i].episodes += open[i].values
                out[i].episodes.sort { ($0.firedAt, $0.labels) < ($1.firedAt, $1.labels) }
            }
            return zip(out, definition.rules).filter { $1.isAlert }.map(\.0)
        }
    }
}

/// Stored samples, and over them what rules record while they are tried.
private final class RecordedOverHistory: Queryable, SampleAppender {
    private let history: any Queryable
    private let recorded = MemorySeries()
    private let names: Set<String>
    private let alerts: Set<String>

    init(_ history: any Queryable, _ groups: [RuleGroupDefinition]) {
        self.history = history
        names = Set(groups.flatMap(\.rules).filter { !$0.isAlert }.map(\.name))
        alerts = Set(groups.flatMap(\.rules).filter(\.isAlert).map(\.name))
    }

    private func isReplaced(_ labels: Labels) -> Bool {
        let name = labels[Labels.metricNameLabel] ?? ""
        if names.contains(name) { return true }
        return (name == "ALERTS" || name == "ALERTS_FOR_STATE") && alerts.contains(labels["alertname"] ?? "")
    }

    func select(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws -> [SeriesData] {
        let old = try history.select(matchers, from: from, through: through, control: control)
            .filter { !isReplaced($0.labels) }
        let new = try recorded.select(matchers, from: from, through: through, control: control)
        return new.isEmpty ? old : (old + new).sorted { $0.labels < $1.labels }
    }

    func series(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels] {
        try history.series(matcherSets, from: from, through: through, limit: limit)
    }

    func labelNames(_ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String] {
        try history.labelNames(matchers, from: from, through: through, limit: limit)
    }

    func labelValues(_ name: String, _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws
        -> [String]
    {
        try history.labelValues(name, matchers, from: from, through: through, limit: limit)
    }

    func resolve(_ series: [Labels]) throws -> [SeriesRef] { try recorded.resolve(series) }
    func append(_ batch: SampleBatch) throws -> AppendOutcome { try recorded.append(batch) }
}
