import Logging
import MetricModel
import Platform
import PromQL

/// Evaluates one group's rules, in order, each seeing what those before it recorded. `evaluate` is for one thread at a
/// time; `status` is thread-safe. A test of rules calls `evaluate` at times of its own.
package final class RuleGroup: Sendable {
    package let definition: RuleGroupDefinition
    private let environment: RuleEnvironment
    /// Rules that may be evaluated side by side, one set after the other.
    let stages: [[Int]]
    private let texts: [Texts]

    /// An alerting rule's texts, read once.
    private struct Texts {
        var labels: [(name: String, text: RuleText)] = []
        var annotations: [(name: String, text: RuleText)] = []
        let areTemplates: Bool

        init(_ rule: RuleDefinition) {
            if case .alert(_, _, let texts) = rule.kind {
                labels = rule.labels.pairs.map { ($0.name, RuleText($0.value, rule: rule.name)) }
                annotations = texts.pairs.map { ($0.name, RuleText($0.value, rule: rule.name)) }
            }
            areTemplates = (labels + annotations).contains { if case .template = $0.text { true } else { false } }
        }
    }
    private let work: Lock<Work>
    private let published: Lock<RuleGroupStatus>

    private struct Work {
        var tables: [AlertTable]
        /// Per rule, the series that its last evaluation wrote.
        var written: [Set<Labels>]
        /// Series of rules that this group had before and has no more: to be marked as ended.
        var orphans: Set<Labels> = []
        /// Whether nothing is left to be restored after a start.
        var restored = false
        /// The first evaluation's time.
        var firstAt: Int64?
    }

    package init(_ definition: RuleGroupDefinition, _ environment: RuleEnvironment) {
        self.definition = definition
        self.environment = environment
        stages = RuleStages(definition.rules).stages
        texts = definition.rules.map(Texts.init)
        work = Lock(
            Work(
                tables: definition.rules.map { _ in AlertTable() },
                written: definition.rules.map { _ in [] }))
        published = Lock(RuleGroupStatus(definition))
    }

    package var status: RuleGroupStatus { published.withLock { $0 } }

    /// Takes over the alerts of the rules that the old group had as well; the series of the others end.
    func takeOver(_ old: RuleGroup) {
        let (tables, written, orphans) = old.work.withLock { ($0.tables, $0.written, $0.orphans) }
        work.withLock { work in
            work.orphans = orphans
            work.restored = true
            var positions: [RuleDefinition.Identity: [Int]] = [:]
            for (i, rule) in definition.rules.enumerated() { positions[rule.identity, default: []].append(i) }
            for (i, rule) in old.definition.rules.enumerated() {
                if let at = positions[rule.identity]?.first {
                    positions[rule.identity]?.removeFirst()
                    work.tables[at] = tables[i]
                    work.written[at] = written[i]
                } else {
                    work.orphans.formUnion(written[i])
                }
            }
        }
    }

    /// What a rule's expression yields, found beforehand.
    typealias Vectors = [Int: Result<[VectorSample], any Error>]

    /// Evaluates every rule as of `time` (milliseconds since 1970 UTC), one after the other. Blocks.
    package func evaluate(at time: Int64) {
        let start = monotonicNanoseconds()
        let samples = evaluate(Array(definition.rules.indices), at: time, vectors: [:])
        finish(time, start, samples)
    }

    /// The same with the queries of independent rules side by side on the pool; what they yield is taken in the rules'
    /// order, so that the outcome is the same.
    func evaluateSideBySide(at time: Int64, on pool: WorkerPool) async throws {
        if stages.allSatisfy({ $0.count < 2 }) {
            try await pool.run { self.evaluate(at: time) }
            return
        }
        let start = monotonicNanoseconds()
        let at = time - definition.queryOffset
        var samples = 0
        for stage in stages {
            let vectors = await withTaskGroup(of: (Int, Result<[VectorSample], any Error>).self) { group in
                for i in stage {
                    group.addTask { [self] in
                        do {
                            let found = try await pool.run { [self] in
                                try environment.vector(definition.rules[i].expr, at: at, of: definition)
                            }
                            return (i, .success(found))
                        } catch {
                            return (i, .failure(error))
                        }
                    }
                }
                var out: Vectors = [:]
                for await (i, found) in group { out[i] = found }
                return out
            }
            samples += try await pool.run { self.evaluate(stage, at: time, vectors: vectors) }
        }
        let total = samples
        try await pool.run { self.finish(time, start, total) }
    }

    /// Evaluates some of the rules in order; those that `vectors` holds are not queried. How many samples they yielded.
    func evaluate(_ rules: [Int], at time: Int64, vectors: Vectors) -> Int {
        let at = time - definition.queryOffset
        return work.withLock { work in
            rules.reduce(0) { $0 + evaluateRule($1, at: at, vectors[$1], &work) }
        }
    }

    /// Whether evaluating a rule whose expression yields nothing would change nothing.
    func isQuiet(_ rule: Int) -> Bool {
        work.withLock { $0.tables[rule].active.isEmpty && $0.written[rule].isEmpty }
    }

    private func finish(_ time: Int64, _ start: Int64, _ samples: Int) {
        let at = time - definition.queryOffset
        work.withLock { work in
            if !work.orphans.isEmpty {
                write([], ended: work.orphans, at: at, rule: "")
                work.orphans = []
            }
            if !work.restored {
                let first = work.firstAt ?? at
                work.firstAt = first
                restoreAlerts(at: at, before: first, &work)
                // What an alert is about may not have been scraped yet at the first evaluation.
                work.restored = at - first >= max(definition.interval, RuleGroup.restoreWindow)
            }
        }
        let seconds = Double(monotonicNanoseconds() - start) / 1e9
        published.withLock {
            $0.lastEvaluation = time
            $0.evaluationTime = seconds
        }
        observe(time, seconds, samples)
    }

    /// Marks all series as ended: the group is no more.
    package func end(at time: Int64) {
        work.withLock { work in
            let series = work.written.reduce(into: work.orphans) { $0.formUnion($1) }
            work.written = work.written.map { _ in [] }
            work.orphans = []
            if !series.isEmpty { write([], ended: series, at: time, rule: "") }
        }
    }

    private func observe(_ time: Int64, _ seconds: Double, _ samples: Int) {
        let labels = [("rule_group", definition.key)]
        let metrics = environment.metrics
        metrics.counter(
            "prometheus_rule_group_iterations_total", "Evaluations of a rule group, missed ones too.", labels: labels
        ).add()
        metrics.gauge(
            "prometheus_rule_group_last_duration_seconds", "Duration of a group's last evaluation.", labels: labels
        ).set(seconds)
        metrics.gauge(
            "prometheus_rule_group_last_evaluation_timestamp_seconds", "When a group was last evaluated.",
            labels: labels
        ).set(Double(time) / 1000)
        metrics.gauge(
            "prometheus_rule_group_last_evaluation_samples", "Samples that a group's last evaluation yielded.",
            labels: labels
        ).set(Double(samples))
    }

    // MARK: One rule

    private func evaluateRule(
        _ i: Int, at time: Int64, _ vector: Result<[VectorSample], any Error>?, _ work: inout Work
    ) -> Int {
        let rule = definition.rules[i]
        let start = monotonicNanoseconds()
        let labels = [("rule_group", definition.key)]
        environment.metrics.counter(
            "prometheus_rule_evaluations_total", "Rules evaluated.", labels: labels
        ).add()
        var status = RuleStatus(rule)
        var count = 0
        var posted: [PostedAlert] = []
        do {
            let written: [(labels: Labels, value: Double, histogram: NativeHistogram?)]
            switch rule.kind {
            case .record: written = try record(rule, vector, at: time)
            case .alert(let hold, let keepFiringFor, _):
                written = try alert(
                    rule, i, vector, hold: hold, keepFiringFor: keepFiringFor, at: time, &work.tables[i])
                posted = due(&work.tables[i], rule, at: time)
            }
            count = written.count
            let now = Set(written.map(\.labels))
            write(written, ended: work.written[i].subtracting(now), at: time, rule: rule.name)
            work.written[i] = now
            status.health = "ok"
        } catch {
            status.health = "err"
            status.lastError = "\(error)"
            environment.metrics.counter(
                "prometheus_rule_evaluation_failures_total", "Rules whose evaluation failed.", labels: labels
            ).add()
            environment.log.warning(
                "evaluating a rule failed",
                metadata: [
                    "group": "\(definition.name)", "file": "\(definition.file)", "rule": "\(rule.name)",
                    "error": "\(error)",
                ])
        }
        status.lastEvaluation = time
        status.evaluationTime = Double(monotonicNanoseconds() - start) / 1e9
        status.state = work.tables[i].state
        status.alerts = work.tables[i].current
        published.withLock { [status] in $0.rules[i] = status }
        // Last, so that who was told finds the alert as he was told of it.
        if !posted.isEmpty { environment.notify(posted) }
        return count
    }

    private typealias Written = (labels: Labels, value: Double, histogram: NativeHistogram?)

    private func record(_ rule: RuleDefinition, _ vector: Result<[VectorSample], any Error>?, at time: Int64) throws
        -> [Written]
    {
        let samples = try vector?.get() ?? environment.vector(rule.expr, at: time, of: definition)
        var seen: Set<Labels> = []
        var written: [Written] = []
        for sample in samples {
            var builder = LabelsBuilder(sample.labels)
            builder.set(Labels.metricNameLabel, rule.name)
            for name in rule.removedLabels { builder.remove(name) }
            for (name, value) in rule.labels.pairs {
                if value.isEmpty { builder.remove(name) } else { builder.set(name, value) }
            }
            let labels = builder.labels()
            guard seen.insert(labels).inserted else {
                throw RuleError("vector contains metrics with the same labelset after applying rule labels")
            }
            written.append((labels, sample.value, sample.histogram))
        }
        if definition.limit > 0, written.count > definition.limit {
            throw RuleError("exceeded limit of \(definition.limit) with \(written.count) series")
        }
        return written
    }

    private func alert(
        _ rule: RuleDefinition, _ index: Int, _ vector: Result<[VectorSample], any Error>?, hold: Int64,
        keepFiringFor: Int64,
        at time: Int64,
        _ table: inout AlertTable
    ) throws -> [Written] {
        let samples = try vector?.get() ?? environment.vector(rule.expr, at: time, of: definition)
        var found: [Labels: ActiveAlert] = [:]
        let template = RuleTemplate(at: time, of: definition, environment: environment)
        let texts = self.texts[index]
        for sample in samples {
            let data = texts.areTemplates ? template.data(sample.labels, sample.value) : .none
            func render(_ text: RuleText, _ what: String) -> String {
                let (text, problem) = template.render(text, data)
                if let problem {
                    environment.log.warning(
                        "a template of a rule cannot be rendered",
                        metadata: ["rule": "\(rule.name)", "text": "\(what)", "error": "\(problem)"])
                }
                return text
            }
            var builder = LabelsBuilder(sample.labels)
            builder.remove(Labels.metricNameLabel)
            for name in rule.removedLabels { builder.remove(name) }
            for (name, value) in texts.labels {
                let text = render(value, name)
                if text.isEmpty { builder.remove(name) } else { builder.set(name, text) }
            }
            builder.set("alertname", rule.name)
            let labels = builder.labels()
            let rendered = Labels(texts.annotations.map { ($0.name, render($0.text, $0.name)) })
            let alert = ActiveAlert(labels: labels, annotations: rendered, value: sample.value, activeAt: time)
            if found.updateValue(alert, forKey: labels) != nil {
                throw RuleError("vector contains metrics with the same labelset after applying alert labels")
            }
        }
        table.update(found, at: time, hold: hold, keepFiringFor: keepFiringFor)
        let active = table.current
        if definition.limit > 0, active.count > definition.limit {
            table.removeAll()
            throw RuleError("exceeded limit of \(definition.limit) with \(active.count) alerts")
        }
        var written: [Written] = []
        for alert in active {
            var builder = LabelsBuilder(alert.labels)
            builder.set(Labels.metricNameLabel, "ALERTS_FOR_STATE")
            written.append((builder.labels(), Double(alert.activeAt / 1000), nil))
            builder.set(Labels.metricNameLabel, "ALERTS")
            builder.set("alertstate", alert.state.rawValue)
            written.append((builder.labels(), 1, nil))
        }
        return written
    }

    /// The alerts that are to be told of now, sorted; they are marked as told.
    private func due(_ table: inout AlertTable, _ rule: RuleDefinition, at time: Int64) -> [PostedAlert] {
        var posted: [PostedAlert] = []
        let validFor = 4 * max(definition.interval, environment.resendDelay)
        let link =
            environment.externalURL.isEmpty
            ? ""
            : "\(environment.externalURL)/graph?g0.expr=\(percentEncoded(rule.expr.description, spaceAsPlus: true))&g0.tab=1"
        for (key, alert) in table.active where alert.needsSending(at: time, resendDelay: environment.resendDelay) {
            table.markSent(key, at: time, validUntil: time + validFor)
            posted.append(
                PostedAlert(
                    labels: alert.labels, annotations: alert.annotations, startsAt: alert.firedAt,
                    endsAt: alert.resolvedAt != 0 ? alert.resolvedAt : time + validFor, generatorURL: link))
        }
        return posted.sorted { $0.labels < $1.labels }
    }

    /// Appends a rule's samples and marks the series that it no longer yields. What the store refuses is logged: the rule
    /// itself has been evaluated.
    private func write(_ samples: [Written], ended: Set<Labels>, at time: Int64, rule: String) {
        do {
            let series = samples.map(\.labels) + Array(ended)
            var outcome = AppendOutcome()
            // A handle may have gone stale between the two calls, once.
            for _ in 0..<2 {
                let refs = try environment.appender.resolve(series)
                var batch = SampleBatch()
                for (i, sample) in samples.enumerated() {
                    if let histogram = sample.histogram { batch.histograms.append((batch.count, histogram)) }
                    batch.append(ref: refs[i], timestamp: time, value: sample.value)
                }
                for ref in refs[samples.count...] {
                    batch.append(ref: ref, timestamp: time, value: .staleMarker)
                }
                outcome = try environment.appender.append(batch)
                if outcome.unknownRefs.isEmpty { break }
            }
            let refused = outcome.outOfOrder + outcome.duplicate + outcome.tooOld + outcome.tooNew
            if refused > 0 {
                environment.log.warning(
                    "samples of a rule were refused as out of order or too old",
                    metadata: ["group": "\(definition.name)", "rule": "\(rule)", "samples": "\(refused)"])
            }
        } catch {
            environment.log.error(
                "the samples of a rule could not be stored",
                metadata: ["group": "\(definition.name)", "rule": "\(rule)", "error": "\(error)"])
        }
    }

    // MARK: After a restart

    /// Milliseconds after the first evaluation in which alerts that begin are taken for ones from before: a scrape's usual
    /// interval and a bit.
    private static let restoreWindow: Int64 = 65_000

    /// Gives alerts that this evaluation found pending the time back that they had been active before the process was
    /// restarted.
    private func restoreAlerts(at time: Int64, before first: Int64, _ work: inout Work) {
        for (i, rule) in definition.rules.enumerated() {
            guard case .alert(let hold, _, _) = rule.kind, hold > 0,
                work.tables[i].active.contains(where: { $0.value.activeAt == time })
            else { continue }
            do {
                let matchers = [
                    try LabelMatcher(Labels.metricNameLabel, .equal, "ALERTS_FOR_STATE"),
                    try LabelMatcher("alertname", .equal, rule.name),
                ]
                // Up to the start, without what evaluations since have written.
                let series = try environment.source.select(
                    matchers, from: time - environment.outageTolerance, through: first - 1,
                    control: QueryControl(maxSamples: environment.maxSamples, timeout: environment.timeout))
                for old in series {
                    guard let last = old.values.lastIndex(where: { !$0.isStaleMarker }) else { continue }
                    let key = old.labels.withoutMetricName
                    guard let alert = work.tables[i].active[key], alert.state == .pending, alert.activeAt == time,
                        let since = restoredActiveAt(
                            value: old.values[last], downAt: old.timestamps[last], now: time, hold: hold,
                            grace: min(environment.gracePeriod, hold))
                    else { continue }
                    work.tables[i].setActiveAt(key, since)
                }
            } catch {
                environment.log.warning(
                    "an alert's state from before the restart could not be read",
                    metadata: ["rule": "\(rule.name)", "error": "\(error)"])
            }
        }
    }
}

package struct RuleError: Error, Sendable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}
