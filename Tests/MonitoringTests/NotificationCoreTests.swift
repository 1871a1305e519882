import MetricModel
import Testing

@testable import Monitoring

/// The pipeline as a value: time goes on as the test says.
private struct Pipeline {
    var core: NotificationCore
    var now: Int64 = 0

    init(_ change: (inout AlertmanagerConfig) -> Void = { _ in }) {
        var route = RouteConfig()
        route.receiver = "hook"
        route.groupBy = ["alertname"]
        route.groupWait = 30_000
        route.groupInterval = 300_000
        route.repeatInterval = 3_600_000
        var config = AlertmanagerConfig(route: route)
        for name in ["hook", "other"] {
            var receiver = ReceiverConfig(name: name)
            receiver.integrations = [IntegrationConfig(.webhook, sendResolved: true)]
            config.receivers.append(receiver)
        }
        change(&config)
        core = NotificationCore(config: config, now: 0)
    }

    /// What is delivered, successfully, on the way to a time.
    mutating func advance(to end: Int64) -> [Delivery] {
        var out: [Delivery] = []
        while now < end {
            now = max(now + 1, min(end, core.nextDeadline))
            out += take(core.handle(.tick, now: now))
        }
        return out
    }

    mutating func post(_ alerts: [PostedAlert]) -> [Delivery] { take(core.handle(.posted(alerts), now: now)) }

    private mutating func take(_ actions: [NotificationAction]) -> [Delivery] {
        var out: [Delivery] = []
        for action in actions {
            guard case .deliver(let delivery) = action else { continue }
            out.append(delivery)
            out += take(core.handle(.delivered(delivery.id, success: true), now: now))
        }
        return out
    }
}

private func firing(_ labels: [(String, String)], from start: Int64 = 0, until end: Int64 = 1 << 50) -> PostedAlert {
    PostedAlert(labels: Labels(labels), annotations: .empty, startsAt: start, endsAt: end, generatorURL: "")
}

@Suite struct NotificationCoreTests {
    @Test func alertsOfAGroupWaitForEachOtherAndAreRepeatedLater() {
        var pipeline = Pipeline()
        #expect(pipeline.post([firing([("alertname", "A"), ("i", "1")])]).isEmpty)
        _ = pipeline.advance(to: 10_000)
        #expect(pipeline.post([firing([("alertname", "A"), ("i", "2")])]).isEmpty)
        let first = pipeline.advance(to: 31_000)
        #expect(first.count == 1)
        #expect(first.first?.alerts.count == 2)
        #expect(first.first?.key.group == "{}:{alertname=\"A\"}")
        // Nothing new: quiet until the repeat interval is over.
        #expect(pipeline.advance(to: 3_600_000).isEmpty)
        #expect(pipeline.advance(to: 4_200_000).count == 1)
    }

    @Test func aResolvedAlertIsToldOnce() {
        var pipeline = Pipeline()
        _ = pipeline.post([firing([("alertname", "A")])])
        #expect(pipeline.advance(to: 31_000).count == 1)
        _ = pipeline.post([firing([("alertname", "A")], until: 31_000)])
        let told = pipeline.advance(to: 700_000)
        #expect(told.count == 1)
        #expect(told.first?.alerts.map(\.resolved) == [true])
        #expect(pipeline.advance(to: 8_000_000).isEmpty)
    }

    @Test func aRestartTellsNobodyTwice() {
        var pipeline = Pipeline()
        _ = pipeline.post([firing([("alertname", "A")])])
        #expect(pipeline.advance(to: 31_000).count == 1)
        var after = Pipeline()
        after.now = 60_000
        after.core = NotificationCore(
            config: pipeline.core.config, alerts: Array(pipeline.core.alerts.values), log: pipeline.core.log,
            now: 60_000)
        #expect(after.advance(to: 1_000_000).isEmpty)
    }

    @Test func silencesAndInhibitionsKeepQuiet() throws {
        var pipeline = Pipeline { config in
            var rule = InhibitRule()
            rule.sourceMatchers = [LabelMatcher("severity", equals: "critical")]
            rule.targetMatchers = [LabelMatcher("severity", equals: "warning")]
            rule.equal = ["node"]
            config.inhibitRules = [rule]
        }
        let silence = Silence(
            matchers: [LabelMatcher("alertname", equals: "S")], startsAt: 0, endsAt: 100_000, createdBy: "t",
            comment: "")
        _ = try pipeline.core.setSilence(silence, newID: { "id" }, now: 0)
        _ = pipeline.post([
            firing([("alertname", "S")]), firing([("alertname", "W"), ("severity", "warning"), ("node", "1")]),
            firing([("alertname", "W"), ("severity", "warning"), ("node", "2")]),
            firing([("alertname", "C"), ("severity", "critical"), ("node", "1")]),
        ])
        let told = pipeline.advance(to: 40_000)
        let names = told.flatMap(\.alerts).map {
            "\($0.alert.labels["alertname"] ?? "")\($0.alert.labels["node"] ?? "")"
        }
        #expect(names.sorted() == ["C1", "W2"])
        // When the silence is over, its alert is told.
        let later = pipeline.advance(to: 700_000)
        #expect(later.flatMap(\.alerts).contains { $0.alert.labels["alertname"] == "S" })
    }

    @Test func routesGoToTheDeepestAndOnWhereTheySay() {
        let pipeline = Pipeline { config in
            var child = RouteConfig()
            child.receiver = "other"
            child.matchers = [LabelMatcher("team", equals: "db")]
            child.continues = true
            var second = RouteConfig()
            second.matchers = [LabelMatcher("team", equals: "db")]
            config.route.routes = [child, second]
        }
        #expect(pipeline.core.receivers(of: Labels([("team", "db")])) == ["other", "hook"])
        #expect(pipeline.core.receivers(of: Labels([("team", "web")])) == ["hook"])
    }

    @Test func aMutedTimeHoldsNotificationsBack() throws {
        var pipeline = Pipeline { config in
            var window = CalendarWindow()
            // 1970-01-01 was a Thursday.
            window.weekdays = [4...4]
            config.timeIntervals = [NamedWindows(name: "thursday", windows: [window])]
            var child = RouteConfig()
            child.matchers = [LabelMatcher("quiet", equals: "yes")]
            child.muteTimeIntervals = ["thursday"]
            config.route.routes = [child]
        }
        _ = pipeline.post([firing([("alertname", "A"), ("quiet", "yes")])])
        #expect(pipeline.advance(to: 86_399_000).isEmpty)
        #expect(pipeline.advance(to: 87_000_000).count == 1)
    }
}

/// Two sidecars see the same alerts; one of them notifies.
@Suite struct TakeoverTests {
    private func pair() -> (leader: Pipeline, other: Pipeline) {
        var other = Pipeline()
        _ = other.core.handle(.leadership(false), now: 0)
        return (Pipeline(), other)
    }

    @Test func whoDoesNotLeadTellsNobody() {
        var (leader, other) = pair()
        for alert in [firing([("alertname", "A")])] {
            #expect(leader.post([alert]).isEmpty && other.post([alert]).isEmpty)
        }
        #expect(leader.advance(to: 1_000_000).count == 1)
        #expect(other.advance(to: 1_000_000).isEmpty)
    }

    @Test func afterAWhileTheNewLeaderTrustsThatTheOldOneTold() {
        var (_, other) = pair()
        _ = other.post([firing([("alertname", "A")])])
        #expect(other.advance(to: 600_000).isEmpty)
        #expect(
            other.core.handle(.leadership(true), now: 600_000).allSatisfy {
                if case .deliver = $0 { false } else { true }
            })
        #expect(other.advance(to: 1_200_000).isEmpty, "no repeat of what was told long ago")
        // It goes on from there: the end is told.
        _ = other.post([firing([("alertname", "A")], until: 1_200_000)])
        let told = other.advance(to: 1_800_000)
        #expect(told.flatMap(\.alerts).map(\.resolved) == [true])
    }

    /// The old leader died in the moment of the flush: nobody knows whether it told, so it is told (again).
    @Test func whatTheOldLeaderMayNotHaveToldIsTold() {
        var (_, other) = pair()
        _ = other.post([firing([("alertname", "A")])])
        #expect(other.advance(to: 40_000).isEmpty)
        var told: [Delivery] = []
        for action in other.core.handle(.leadership(true), now: 40_000) {
            if case .deliver(let delivery) = action { told.append(delivery) }
        }
        #expect(told.count == 1)
        #expect(told.first?.alerts.map(\.resolved) == [false])
    }

    @Test func anEndThatTheOldLeaderMayNotHaveToldIsTold() {
        var (_, other) = pair()
        _ = other.post([firing([("alertname", "A")])])
        #expect(other.advance(to: 300_000).isEmpty)
        _ = other.post([firing([("alertname", "A")], until: 300_001)])
        #expect(other.advance(to: 340_000).isEmpty)
        var told: [Delivery] = []
        for action in other.core.handle(.leadership(true), now: 340_000) {
            if case .deliver(let delivery) = action { told.append(delivery) }
        }
        #expect(told.flatMap(\.alerts).map(\.resolved) == [true], "the end is told though it came before the takeover")
    }

    @Test func whoLosesTheLeaseStopsTelling() {
        var pipeline = Pipeline()
        _ = pipeline.core.handle(.leadership(false), now: 0)
        _ = pipeline.post([firing([("alertname", "A")])])
        #expect(pipeline.advance(to: 400_000).isEmpty)
    }
}

@Suite struct SilenceNoteTests {
    /// `alertname!="X"` alone is one for Alertmanager, `a=""` and `a=~".*"` are none.
    @Test(arguments: [
        (MatchOperator.notEqual, "b", true), (.notRegex, "b.*", true), (.equal, "", false), (.regex, ".*", false),
    ])
    func aSilenceMayBeOneThatExcludes(op: MatchOperator, value: String, isTaken: Bool) throws {
        var pipeline = Pipeline()
        let silence = Silence(
            matchers: [try LabelMatcher("a", op, value)], startsAt: 0, endsAt: 3_600_000, createdBy: "ana", comment: "")
        let id = try? pipeline.core.setSilence(silence, newID: { "one" }, now: 0).id
        #expect((id != nil) == isTaken)
    }

    @Test func aSilenceThatStillSilencesIsNotedBeforeItEnds() throws {
        var pipeline = Pipeline { $0.silenceExpiryNote = 600_000 }
        let silence = Silence(
            matchers: [LabelMatcher("alertname", equals: "S")], startsAt: 0, endsAt: 3_600_000, createdBy: "ana",
            comment: "disk")
        let idle = Silence(
            matchers: [LabelMatcher("alertname", equals: "Nothing")], startsAt: 0, endsAt: 3_600_000, createdBy: "bo",
            comment: "")
        _ = try pipeline.core.setSilence(silence, newID: { "one" }, now: 0)
        _ = try pipeline.core.setSilence(idle, newID: { "two" }, now: 0)
        _ = pipeline.post([firing([("alertname", "S")])])
        #expect(pipeline.advance(to: 2_900_000).isEmpty)
        let told = pipeline.advance(to: 3_400_000)
        #expect(told.flatMap(\.alerts).map { $0.alert.labels["silence"] } == ["one"])
        #expect(told.first?.alerts.first?.alert.annotations["comment"] == "disk")
        // Afterwards the note ends, and what was silenced is told.
        let after = pipeline.advance(to: 4_600_000).flatMap(\.alerts)
        #expect(after.contains { $0.alert.labels["alertname"] == "S" && !$0.resolved })
        #expect(after.contains { $0.alert.labels["alertname"] == "SilenceExpiresSoon" && $0.resolved })
    }
}
