import Logging
import MetricModel
import Platform
import PromQL
import Testing

@testable import Monitoring

/// A group over series in memory, evaluated at the test's own times.
private final class RuleScene {
    let store = MemorySeries()
    let sent = Lock<[PostedAlert]>([])
    private(set) var environment: RuleEnvironment

    init() {
        let sent = sent
        environment = RuleEnvironment(
            engine: Engine(), source: store, appender: store, notify: { alerts in sent.withLock { $0 += alerts } },
            clock: WallClock { 0 }, metrics: MetricRegistry(), log: Logger(label: "t") { _ in SwiftLogNoOpLogHandler() }
        )
        environment.externalURL = "http://kops"
    }

    func group(_ rules: [RuleDefinition], limit: Int = 0) -> RuleGroup {
        var definition = RuleGroupDefinition(name: "g", file: "f", interval: 10_000)
        definition.rules = rules
        definition.limit = limit
        return RuleGroup(definition, environment)
    }

    func value(_ expression: String, at time: Int64) throws -> [String] {
        let engine = Engine()
        let result = try engine.instant(
            try engine.parse(expression), at: time, source: store, control: QueryControl())
        guard case .vector(let samples) = result.value else { return [] }
        return samples.map { "\($0.labels) \(formatFloat($0.value))" }.sorted()
    }
}

private func alert(
    _ name: String, _ expression: String, hold: Int64 = 0, keep: Int64 = 0, labels: [(String, String)] = [],
    annotations: [(String, String)] = []
) throws -> RuleDefinition {
    RuleDefinition(
        name: name, kind: .alert(hold: hold, keepFiringFor: keep, annotations: Labels(annotations)),
        expr: try parseExpression(expression), labels: Labels(labels))
}

@Suite struct RuleTests {
    @Test func anAlertGoesFromPendingToFiringToResolved() throws {
        let scene = RuleScene()
        let up = Labels([("__name__", "up"), ("job", "a")])
        for (i, value) in [0, 0, 0, 0, 1, 1].enumerated() {
            scene.store.append(up, timestamp: Int64(i) * 10_000, value: Double(value))
        }
        let group = scene.group([
            try alert("Down", "up == 0", hold: 20_000, annotations: [("summary", "{{ $labels.job }}: {{ $value }}")])
        ])
        group.evaluate(at: 0)
        #expect(group.status.rules[0].alerts.map(\.state) == [.pending])
        #expect(scene.sent.withLock { $0.isEmpty })
        group.evaluate(at: 10_000)
        #expect(group.status.rules[0].alerts.map(\.state) == [.pending])
        group.evaluate(at: 20_000)
        #expect(group.status.rules[0].alerts.map(\.state) == [.firing])
        let first = try #require(scene.sent.withLock { $0.last })
        #expect(first.labels == Labels([("alertname", "Down"), ("job", "a")]))
        #expect(first.annotations["summary"] == "a: 0")
        #expect(first.startsAt == 20_000 && first.endsAt > 20_000)
        #expect(first.generatorURL == "http://kops/graph?g0.expr=up+%3D%3D+0&g0.tab=1")
        // Not told again before the resend delay.
        group.evaluate(at: 30_000)
        #expect(scene.sent.withLock { $0.count } == 1)
        #expect(try scene.value("ALERTS", at: 30_000).count == 1)
        group.evaluate(at: 40_000)
        let last = try #require(scene.sent.withLock { $0.last })
        #expect(last.endsAt == 40_000)
        // Its series have ended, not just gone silent.
        #expect(try scene.value("ALERTS", at: 40_000).isEmpty)
        #expect(try scene.value("ALERTS_FOR_STATE", at: 40_000).isEmpty)
    }

    @Test func keepFiringForBridgesAGap() throws {
        let scene = RuleScene()
        let up = Labels([("__name__", "up")])
        for (i, value) in [0, 1, 0, 1, 1, 1, 1].enumerated() {
            scene.store.append(up, timestamp: Int64(i) * 10_000, value: Double(value))
        }
        let group = scene.group([try alert("Down", "up == 0", keep: 25_000)])
        for i in 0..<5 {
            group.evaluate(at: Int64(i) * 10_000)
            #expect(group.status.rules[0].alerts.map(\.state) == [.firing], "evaluation \(i)")
        }
        group.evaluate(at: 60_000)
        #expect(group.status.rules[0].alerts.isEmpty)
    }

    @Test func aRecordedSeriesIsSeenByLaterRulesAndEndsWithItsSource() throws {
        let scene = RuleScene()
        let a = Labels([("__name__", "x"), ("job", "a")])
        scene.store.append(a, timestamp: 0, value: 2)
        scene.store.append(a, timestamp: 10_000, value: .staleMarker)
        let group = scene.group([
            RuleDefinition(
                name: "job:x", kind: .record, expr: try parseExpression("sum by (job) (x)"),
                labels: Labels([("team", "t")])),
            try alert("Much", "job:x > 1"),
        ])
        group.evaluate(at: 0)
        #expect(try scene.value("job:x", at: 0) == [#"job:x{job="a", team="t"} 2"#])
        #expect(group.status.rules[1].alerts.count == 1)
        group.evaluate(at: 10_000)
        #expect(try scene.value("job:x", at: 10_000).isEmpty)
        #expect(group.status.rules[1].alerts.isEmpty)
    }

    @Test func aLimitAndEqualLabelsAreErrorsOfTheRule() throws {
        let scene = RuleScene()
        for job in ["a", "b"] {
            scene.store.append(Labels([("__name__", "up"), ("job", job)]), timestamp: 0, value: 0)
        }
        let limited = scene.group([try alert("Down", "up == 0")], limit: 1)
        limited.evaluate(at: 0)
        #expect(limited.status.rules[0].lastError == "exceeded limit of 1 with 2 alerts")
        let same = scene.group([try alert("Down", "up == 0", labels: [("job", "x")])])
        same.evaluate(at: 0)
        #expect(same.status.rules[0].health == "err")
        #expect(same.status.rules[0].lastError.contains("same labelset"))
    }

    @Test func aBadTemplateNeverKeepsAnAlertFromFiring() throws {
        let scene = RuleScene()
        let group = scene.group([try alert("A", "vector(1)", annotations: [("summary", "{{ first query }}")])])
        group.evaluate(at: 0)
        #expect(group.status.rules[0].alerts.first?.annotations["summary"]?.hasPrefix("<error expanding") == true)
        #expect(group.status.rules[0].alerts.first?.state == .firing)
    }

    /// After a restart an alert that was pending goes on where it was.
    @Test func pendingAlertsSurviveARestart() throws {
        let scene = RuleScene()
        let up = Labels([("__name__", "up"), ("job", "a")])
        for i in 0..<200 { scene.store.append(up, timestamp: Int64(i) * 10_000, value: 0) }
        let rule = try alert("Down", "up == 0", hold: 1_200_000)
        let before = scene.group([rule])
        for i in 0..<30 { before.evaluate(at: Int64(i) * 10_000) }
        let after = scene.group([rule])
        after.evaluate(at: 320_000)
        after.evaluate(at: 330_000)
        #expect(after.status.rules[0].alerts.map(\.activeAt) == [30_000])
    }

    /// Nor does it begin anew where the first evaluation comes before the first scrape; what begins later is new.
    @Test func anAlertIsRestoredWhenItsTargetIsScrapedAgain() throws {
        let scene = RuleScene()
        let up = Labels([("__name__", "up"), ("job", "a")])
        for i in 0..<60 { scene.store.append(up, timestamp: Int64(i) * 10_000, value: 0) }
        let rule = try alert("Down", "up == 0", hold: 1_200_000)
        let before = scene.group([rule])
        for i in 0..<60 { before.evaluate(at: Int64(i) * 10_000) }
        // Away for six minutes: the last sample is too old to be seen.
        let back: Int64 = 960_000
        func restarted(scrapedAfter wait: Int64) -> [Int64] {
            let after = scene.group([rule])
            after.evaluate(at: back)
            #expect(after.status.rules[0].alerts.isEmpty)
            scene.store.append(up, timestamp: back + wait - 1, value: 0)
            after.evaluate(at: back + wait)
            after.evaluate(at: back + wait + 10_000)
            return after.status.rules[0].alerts.map(\.activeAt)
        }
        // 590 s of 1,200 had passed: the time away does not count.
        #expect(restarted(scrapedAfter: 50_000) == [back + 50_000 - 590_000])
    }

    @Test func whatBeginsLongAfterAStartIsNew() throws {
        let scene = RuleScene()
        let up = Labels([("__name__", "up"), ("job", "a")])
        for i in 0..<60 { scene.store.append(up, timestamp: Int64(i) * 10_000, value: 0) }
        let rule = try alert("Down", "up == 0", hold: 1_200_000)
        let before = scene.group([rule])
        for i in 0..<60 { before.evaluate(at: Int64(i) * 10_000) }
        let after = scene.group([rule])
        for time in stride(from: Int64(960_000), through: 1_100_000, by: 10_000) { after.evaluate(at: time) }
        scene.store.append(up, timestamp: 1_105_000, value: 0)
        after.evaluate(at: 1_110_000)
        #expect(after.status.rules[0].alerts.map(\.activeAt) == [1_110_000])
    }

    @Test(arguments: [
        // Had fired already: fires on.
        (0, 1_300_000, 1_500_000, Optional(Int64(0))),
        // About to fire within the grace period: gets it whole.
        (0, 1_000_000, 1_100_000, Optional(Int64(1_100_000 + 600_000 - 1_200_000))),
        // A good while to go: the time away does not count.
        (0, 100_000, 200_000, Optional(Int64(100_000))),
    ])
    func restoresAsDocumented(since: Int, downAt: Int, now: Int, expected: Int64?) {
        #expect(
            restoredActiveAt(
                value: Double(since), downAt: Int64(downAt), now: Int64(now), hold: 1_200_000, grace: 600_000)
                == expected)
    }

    @Test func aChangedGroupKeepsTheAlertsOfTheRulesThatStay() throws {
        let scene = RuleScene()
        scene.store.append(Labels([("__name__", "up"), ("job", "a")]), timestamp: 0, value: 0)
        let manager = RuleManager(scene.environment)
        let old = scene.group([try alert("Down", "up == 0", hold: 60_000), try alert("Other", "vector(1)")])
        old.evaluate(at: 0)
        let new = scene.group([try alert("Down", "up == 0", hold: 30_000)])
        new.takeOver(old)
        new.evaluate(at: 30_000)
        #expect(new.status.rules[0].alerts.map(\.state) == [.firing])
        // The rule that is gone leaves no series behind.
        #expect(try scene.value("ALERTS{alertname=\"Other\"}", at: 30_000).isEmpty)
        #expect(manager.status().isEmpty)
    }
}
