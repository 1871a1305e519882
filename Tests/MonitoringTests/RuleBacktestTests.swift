import Logging
import MetricModel
import Platform
import PromQL
import Testing

@testable import Monitoring

private let minute: Int64 = 60_000

private func rule(_ text: String, record: String) throws -> RuleDefinition {
    RuleDefinition(name: record, kind: .record, expr: try parseExpression(text), labels: .empty)
}

private func rule(_ text: String, alert: String, hold: Int64 = 0, keep: Int64 = 0) throws -> RuleDefinition {
    RuleDefinition(
        name: alert, kind: .alert(hold: hold, keepFiringFor: keep, annotations: .empty),
        expr: try parseExpression(text), labels: Labels([("level", "{{ if gt $value 5.0 }}high{{ else }}low{{ end }}")])
    )
}

private func group(_ name: String, _ rules: [RuleDefinition]) -> RuleGroupDefinition {
    var group = RuleGroupDefinition(name: name, file: "f", interval: minute)
    group.rules = rules
    return group
}

@Suite struct RuleBacktestTests {
    /// Random samples; what the backtest finds is what evaluating step after step finds.
    @Test(arguments: 1...3)
    func findsWhatEvaluatingStepByStepFinds(seed: Int) throws {
        var random = Numbers(UInt64(seed))
        let history = MemorySeries()
        for series in 0..<4 {
            let labels = Labels([("__name__", "m"), ("i", "\(series)")])
            var value = 0.0
            for step in 0..<320 where random.next(10) > 0 {
                value = max(-10, min(10, value + Double(random.next(5)) - 2))
                history.append(labels, timestamp: Int64(step) * minute, value: value)
            }
        }
        let definitions = [
            // Reads the group behind it.
            group("second", [try rule("ALERTS{alertname=\"High\", alertstate=\"firing\"}", alert: "Chained")]),
            group(
                "first",
                [
                    try rule("m * 2", record: "double"), try rule("sum(double)", record: "total"),
                    try rule("double > 6", alert: "High", hold: 3 * minute),
                    try rule("total > 10", alert: "Total", hold: minute, keep: 4 * minute),
                    try rule("absent(m{i=\"1\"})", alert: "Gone"),
                ]),
        ]
        let from = 17 * minute
        let through = 310 * minute
        let found = RuleBacktest(
            definitions, history: history, engine: Engine(), from: from, through: through, window: 70
        ).run()

        let store = MemorySeries()
        for one in try history.select([], from: .min, through: .max, control: QueryControl()) {
            for (time, value) in zip(one.timestamps, one.values) {
                store.append(one.labels, timestamp: time, value: value)
            }
        }
        let environment = RuleEnvironment(
            engine: Engine(), source: store, appender: store, notify: { _ in }, clock: WallClock { 0 },
            metrics: MetricRegistry(), log: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() })
        let groups = [definitions[1], definitions[0]].map { RuleGroup($0, environment) }
        var firing: [String: Int64] = [:]
        var expected: [String] = []
        for time in stride(from: from, through: through, by: Int64.Stride(minute)) {
            var now: Set<String> = []
            for group in groups {
                group.evaluate(at: time)
                for rule in group.status.rules {
                    for alert in rule.alerts where alert.state == .firing {
                        now.insert("\(alert.labels)")
                        if firing["\(alert.labels)"] == nil { firing["\(alert.labels)"] = time }
                    }
                }
            }
            for (labels, start) in firing where !now.contains(labels) {
                expected.append("\(labels) \(start) \(time)")
                firing[labels] = nil
            }
        }
        for (labels, start) in firing { expected.append("\(labels) \(start) on") }
        let got = found.flatMap(\.episodes).map { episode in
            "\(episode.labels) \(episode.firedAt) " + (episode.resolvedAt.map { "\($0)" } ?? "on")
        }
        #expect(got.sorted() == expected.sorted())
        #expect(expected.count > 2, "the random walk makes alerts")
    }

    @Test func failuresAreTold() throws {
        let history = MemorySeries()
        for job in ["a", "b"] {
            history.append(Labels([("__name__", "up"), ("job", job)]), timestamp: 0, value: 1)
        }
        var clash = try rule("up", alert: "Clash")
        clash.removedLabels = ["job"]
        let outcome = RuleBacktest(
            [group("g", [clash])], history: history, engine: Engine(), from: 0, through: 2 * minute
        ).run()
        #expect(outcome.first?.failures == 3)
        #expect(outcome.first?.firstFailure.contains("same labelset") == true)
    }
}

@Suite struct RuleStagesTests {
    private func stages(_ rules: [RuleDefinition]) -> [[Int]] { RuleStages(rules).stages }

    @Test func independentRulesStandSideBySide() throws {
        let rules = [
            try rule("up", record: "a"), try rule("up == 0", alert: "X"), try rule("sum(other)", record: "b"),
        ]
        #expect(stages(rules) == [[0, 1, 2]])
    }

    @Test func whoReadsWaitsAndWhoIsReadLaterIsNotSeenTooEarly() throws {
        let rules = [
            try rule("b + 1", record: "reads_b_of_before"), try rule("up", record: "a"), try rule("a", record: "b"),
            try rule("{__name__=~\"a|c\"}", record: "d"), try rule("ALERTS{alertname=\"X\"}", record: "e"),
            try rule("up", alert: "X"), try rule("ALERTS{alertname=\"Y\"}", record: "f"),
        ]
        let found = stages(rules)
        func place(_ i: Int) -> Int { found.firstIndex { $0.contains(i) } ?? -1 }
        #expect(place(2) > place(1))
        #expect(place(3) > place(1))
        #expect(place(0) <= place(2), "it sees what b was before")
        #expect(place(4) <= place(5), "it sees the alerts of before")
        #expect(place(6) == 0)
    }

    @Test func sideBySideYieldsTheSame() async throws {
        let rules = [
            try rule("m * 2", record: "double"), try rule("m + 1", record: "more"),
            try rule("double + more", record: "both"), try rule("m > 3", alert: "High", hold: 2 * minute),
            try rule("count(ALERTS)", record: "alerts"),
        ]
        var written: [[String]] = []
        for sideBySide in [false, true] {
            let store = MemorySeries()
            for step in 0..<10 {
                store.append(Labels([("__name__", "m")]), timestamp: Int64(step) * minute, value: Double(step))
            }
            let environment = RuleEnvironment(
                engine: Engine(), source: store, appender: store, notify: { _ in }, clock: WallClock { 0 },
                metrics: MetricRegistry(), log: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() })
            let one = RuleGroup(group("g", rules), environment)
            for step in 0..<10 {
                if sideBySide {
                    try await one.evaluateSideBySide(at: Int64(step) * minute, on: .shared)
                } else {
                    one.evaluate(at: Int64(step) * minute)
                }
            }
            written.append(
                try store.select([], from: .min, through: .max, control: QueryControl()).map {
                    "\($0.labels) \($0.timestamps) \($0.values.map(\.bitPattern))"
                })
        }
        #expect(written[0] == written[1])
        #expect(written[0].count > 5)
    }
}

/// SplitMix64: the same numbers for the same seed.
private struct Numbers {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next(_ bound: Int) -> Int {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return Int((z ^ (z >> 31)) % UInt64(bound))
    }
}
