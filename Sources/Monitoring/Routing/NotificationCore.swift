package import MetricModel

/// A notification for one integration, ready to be rendered and sent.
package struct Delivery: Sendable {
    package let id: Int
    package let key: LogKey
    package let integration: IntegrationConfig
    /// Labels that the group's alerts share because they are grouped by them.
    package let groupLabels: Labels
    /// In the order of the notification; those that are resolved say so.
    package let alerts: [NotifiedAlert]
    /// When the group was flushed.
    package let flushedAt: Int64
    /// After this a retry makes no sense: the group's next flush tries again.
    package let deadline: Int64
    let entry: LogEntry
}

package struct NotifiedAlert: Sendable, Hashable {
    package var alert: RoutedAlert
    package var resolved: Bool

    package init(alert: RoutedAlert, resolved: Bool) {
        self.alert = alert
        self.resolved = resolved
    }
}

/// What the core wants done. Writes are to be made durable in the order given.
package enum NotificationAction: Sendable {
    case deliver(Delivery)
    case saveAlerts([RoutedAlert])
    case forgetAlerts([UInt64])
    case saveLog(LogKey, LogEntry)
    case forgetLog([LogKey])
    case saveSilence(Silence)
    case forgetSilences([String])
}

/// What happens to the core.
package enum NotificationEvent: Sendable {
    case posted([PostedAlert])
    /// The clock went on: at `nextDeadline` at the latest.
    case tick
    case delivered(Int, success: Bool)
    case configured(AlertmanagerConfig)
    /// This sidecar became, or is no longer, the one that notifies.
    case leadership(Bool)
}

/// The pipeline from alerts to notifications, as a value: it does no input or output and reads no clock. One thread at a
/// time. Alertmanager's order: route, group, wait; then inhibition, active and mute times, silences; then, for each
/// integration, the notification log.
package struct NotificationCore {
    struct GroupID: Hashable {
        var route: Int
        var labels: Labels
    }

    struct Group {
        let id: GroupID
        let key: String
        let sequence: Int
        var members: Set<UInt64> = []
        var nextFlush: Int64
        var hasFlushed = false
        var inFlight: Set<Int> = []
        var failed = false
        var mutedBy: [String] = []
        /// Resolved alerts of the flush under way and when they were last posted: they leave the group when all
        /// integrations were told, unless they were posted again meanwhile.
        var leaving: [(fingerprint: UInt64, updatedAt: Int64)] = []
    }

    /// More alerts than this are refused, new ones that is.
    package static let alertLimit = 200_000
    static let maintenanceInterval: Int64 = 30_000
    static let resolvedRetention: Int64 = 900_000
    /// How far back the former lease holder's doings are not trusted to have been done.
    static let takeoverWindow: Int64 = 120_000

    package private(set) var config: AlertmanagerConfig
    private(set) var routes: RouteTree
    private var windows: [String: NamedWindows] = [:]
    private var receivers: [String: ReceiverConfig] = [:]
    private(set) var inhibitor: Inhibitor
    package private(set) var alerts: [UInt64: RoutedAlert] = [:]
    private(set) var groups: [GroupID: Group] = [:]
    var silences = SilenceTable()
    package private(set) var log: [LogKey: LogEntry] = [:]
    private var beforeAssumed: [LogKey: LogEntry] = [:]
    private var deliveries: [Int: (group: GroupID, delivery: Delivery)] = [:]
    private var sequence = 0
    private var nextMaintenance: Int64
    package private(set) var isLeader = true
    package private(set) var refusedAlerts = 0
    /// Earliest thing to do, as far as is known; may be too early, never too late.
    package private(set) var nextDeadline: Int64

    /// With what was stored: alerts that had not ended get the resolve timeout as time to be posted again.
    package init(
        config: AlertmanagerConfig, alerts stored: [RoutedAlert] = [], log: [LogKey: LogEntry] = [:],
        silences: [Silence] = [], now: Int64
    ) {
        self.config = config
        self.log = log.filter { $0.value.expiresAt > now }
        routes = RouteTree(config.route)
        inhibitor = Inhibitor(rules: config.inhibitRules)
        nextMaintenance = now + NotificationCore.maintenanceInterval
        nextDeadline = nextMaintenance
        self.silences.load(silences, now: now)
        for var alert in stored {
            // How long we were away nobody knows: an end that was only a timeout did not happen.
            if alert.timesOut, alert.endsAt < now + config.resolveTimeout {
                alert.endsAt = now + config.resolveTimeout
            }
            alerts[alert.fingerprint] = alert
        }
        rebuild(now)
    }

    package mutating func handle(_ event: NotificationEvent, now: Int64) -> [NotificationAction] {
        switch event {
        case .posted(let posted): return post(posted, now)
        case .tick: return tick(now)
        case .delivered(let id, let success): return delivered(id, success, now)
        case .configured(let config):
            self.config = config
            rebuild(now)
            return tick(now)
        case .leadership(let leads): return lead(leads, now)
        }
    }

    // MARK: alerts come in

    private mutating func post(_ posted: [PostedAlert], _ now: Int64) -> [NotificationAction] {
        var save: [RoutedAlert] = []
        for post in posted {
            var alert = RoutedAlert(
                labels: post.labels, annotations: post.annotations, startsAt: post.startsAt, endsAt: post.endsAt,
                generatorURL: post.generatorURL, updatedAt: now, timesOut: false)
            if alert.startsAt == 0 { alert.startsAt = alert.endsAt == 0 ? now : alert.endsAt }
            if alert.endsAt == 0 {
                alert.timesOut = true
                alert.endsAt = now + config.resolveTimeout
            }
            let old = alerts[alert.fingerprint]
            if old == nil, alerts.count >= NotificationCore.alertLimit {
                refusedAlerts += 1
                continue
            }
            let updated = old?.updated(by: alert) ?? alert
            alerts[alert.fingerprint] = updated
            if old == nil { inhibitor.add(updated) }
            if needsSaving(old, updated, now) { save.append(updated) }
            route(updated, now)
        }
        return (save.isEmpty ? [] : [.saveAlerts(save)]) + tick(now)
    }

    /// What is stored need not follow every repetition of a post: after a restart a firing alert has until the resolve
    /// timeout to be posted again.
    private func needsSaving(_ old: RoutedAlert?, _ new: RoutedAlert, _ now: Int64) -> Bool {
        guard let old else { return true }
        return old.startsAt != new.startsAt || old.annotations != new.annotations || old.timesOut != new.timesOut
            || old.isResolved(at: now) != new.isResolved(at: now) || new.isResolved(at: now)
            || old.generatorURL != new.generatorURL
    }

    private mutating func route(_ alert: RoutedAlert, _ now: Int64) {
        for index in routes.matching(alert.labels) {
            let node = routes.nodes[index]
            let id = GroupID(route: index, labels: node.groupLabels(alert.labels))
            if groups[id] == nil {
                sequence += 1
                groups[id] = Group(
                    id: id, key: "\(node.key):\(id.labels.labelSetText)", sequence: sequence,
                    nextFlush: now + node.groupWait)
            }
            groups[id]?.members.insert(alert.fingerprint)
            if groups[id]?.hasFlushed == false, alert.startsAt + node.groupWait < now { groups[id]?.nextFlush = now }
            nextDeadline = min(nextDeadline, groups[id]?.nextFlush ?? now)
        }
    }

    /// Groups anew, after a start or a change of the configuration; the notification log keeps it from repeating.
    private mutating func rebuild(_ now: Int64) {
        routes = RouteTree(config.route)
        windows = Dictionary(config.timeIntervals.map { ($0.name, $0) }, uniquingKeysWith: { a, _ in a })
        receivers = Dictionary(config.receivers.map { ($0.name, $0) }, uniquingKeysWith: { a, _ in a })
        inhibitor = Inhibitor(rules: config.inhibitRules)
        groups = [:]
        for alert in alerts.values.sorted(by: { $0.fingerprint < $1.fingerprint }) {
            inhibitor.add(alert)
            route(alert, now)
        }
    }

    // MARK: time goes on

    private mutating func tick(_ now: Int64) -> [NotificationAction] {
        guard now >= nextDeadline else { return [] }
        var actions: [NotificationAction] = []
        let due = groups.values.filter { $0.nextFlush <= now && $0.inFlight.isEmpty }
            .sorted { ($0.nextFlush, $0.sequence) < ($1.nextFlush, $1.sequence) }
        for group in due { actions += flush(group.id, now) }
        if now >= nextMaintenance {
            nextMaintenance = now + NotificationCore.maintenanceInterval
            actions += maintain(now)
        }
        nextDeadline = groups.values.reduce(nextMaintenance) { $1.inFlight.isEmpty ? min($0, $1.nextFlush) : $0 }
        return actions
    }

    private mutating func maintain(_ now: Int64) -> [NotificationAction] {
        groups = groups.filter { !$0.value.members.isEmpty || !$0.value.inFlight.isEmpty }
        var held: Set<UInt64> = []
        for group in groups.values { held.formUnion(group.members) }
        let gone = alerts.values.filter {
            $0.endsAt < now - NotificationCore.resolvedRetention && !held.contains($0.fingerprint)
        }
        for alert in gone {
            alerts[alert.fingerprint] = nil
            inhibitor.remove(alert)
        }
        let oldLog = log.filter { $0.value.expiresAt <= now }.map(\.key)
        for key in oldLog { log[key] = nil }
        let oldSilences = silences.prune(now: now)
        var actions: [NotificationAction] = []
        if !gone.isEmpty { actions.append(.forgetAlerts(gone.map(\.fingerprint))) }
        if !oldLog.isEmpty { actions.append(.forgetLog(oldLog)) }
        if !oldSilences.isEmpty { actions.append(.forgetSilences(oldSilences)) }
        return actions + noteExpiringSilences(now)
    }

    /// One alert a silence that ends soon and still silences something, through the ordinary routes.
    private mutating func noteExpiringSilences(_ now: Int64) -> [NotificationAction] {
        guard let before = config.silenceExpiryNote else { return [] }
        let notes = silences.active(at: now).filter { silence in
            silence.endsAt - now <= before && silence.endsAt - silence.startsAt > before
                && alerts.values.contains { alert in
                    !alert.isResolved(at: now) && silence.matchers.allSatisfy { $0.matches(alert.labels) }
                }
        }
        if notes.isEmpty { return [] }
        return post(
            notes.map { silence in
                PostedAlert(
                    labels: Labels([
                        ("alertname", "SilenceExpiresSoon"), ("severity", "info"), ("silence", silence.id),
                        ("created_by", silence.createdBy),
                    ]),
                    annotations: Labels([
                        ("summary", "A silence that still silences alerts is about to expire"),
                        ("comment", silence.comment), ("matchers", matchersText(silence.matchers)),
                    ]), startsAt: silence.endsAt - before, endsAt: silence.endsAt, generatorURL: "")
            }, now)
    }

    private mutating func flush(_ id: GroupID, _ now: Int64) -> [NotificationAction] {
        guard var group = groups[id] else { return [] }
        let node = routes.nodes[id.route]
        group.nextFlush = now + node.groupInterval
        group.hasFlushed = true
        defer { groups[id] = group }
        if group.members.isEmpty { return [] }
        let all = group.members.compactMap { alerts[$0] }
            .sorted { precedesInNotification($0.labels, $1.labels) }
            .map { NotifiedAlert(alert: $0, resolved: $0.isResolved(at: now)) }
        group.leaving = all.filter(\.resolved).map { ($0.alert.fingerprint, $0.alert.updatedAt) }
        group.failed = false
        // A group that is wholly inhibited is not asked whether its time is quiet, which the API shows.
        var shown = all.filter { inhibitor.inhibiting($0.alert.labels, alerts: alerts, now: now) == nil }
        if !shown.isEmpty {
            group.mutedBy = mutedBy(node, now)
            shown =
                group.mutedBy.isEmpty
                ? shown.filter { silences.silencing($0.alert.labels, now: now).isEmpty } : []
        }
        var actions: [NotificationAction] = []
        if !shown.isEmpty { actions = notify(&group, node, shown, now) }
        if group.inFlight.isEmpty { actions += leave(&group, now) }
        return actions
    }

    /// The intervals that keep a route quiet now.
    func mutedBy(_ node: RouteNode, _ now: Int64) -> [String] {
        if !node.activeTimeIntervals.isEmpty,
            !node.activeTimeIntervals.contains(where: { windows[$0]?.contains(now) ?? false })
        {
            return node.activeTimeIntervals
        }
        return node.muteTimeIntervals.filter { windows[$0]?.contains(now) ?? false }
    }

    private mutating func notify(_ group: inout Group, _ node: RouteNode, _ shown: [NotifiedAlert], _ now: Int64)
        -> [NotificationAction]
    {
        guard let receiver = receivers[node.receiver] else { return [] }
        let firing = Set(shown.filter { !$0.resolved }.map(\.alert.fingerprint))
        let resolved = Set(shown.filter(\.resolved).map(\.alert.fingerprint))
        var actions: [NotificationAction] = []
        var counts: [IntegrationKind: Int] = [:]
        for integration in receiver.integrations {
            let index = counts[integration.kind, default: 0]
            counts[integration.kind] = index + 1
            let key = LogKey(
                group: group.key, receiver: receiver.name, kind: integration.kind.rawValue, index: index)
            let due = LogEntry.isDue(
                log[key], firing: firing, resolved: resolved, sendResolved: integration.sendResolved,
                repeatInterval: node.repeatInterval, now: now)
            guard due else { continue }
            var entry = LogEntry(
                firing: firing, resolved: resolved, at: now,
                expiresAt: now + min(LogEntry.retention, max(2 * node.repeatInterval, 2 * node.groupInterval)))
            if !isLeader {
                if let old = log[key], !old.assumed { beforeAssumed[key] = old }
                entry.assumed = true
                log[key] = entry
                actions.append(.saveLog(key, entry))
                continue
            }
            let alerts = integration.sendResolved ? shown : shown.filter { !$0.resolved }
            if alerts.isEmpty {
                // Nothing to say to who does not want to hear of ends, but the log must know that it ended.
                log[key] = entry
                actions.append(.saveLog(key, entry))
                continue
            }
            sequence += 1
            let delivery = Delivery(
                id: sequence, key: key, integration: integration, groupLabels: group.id.labels, alerts: alerts,
                flushedAt: now, deadline: now + max(node.groupInterval, 10_000), entry: entry)
            deliveries[delivery.id] = (group.id, delivery)
            group.inFlight.insert(delivery.id)
            actions.append(.deliver(delivery))
        }
        return actions
    }

    private mutating func delivered(_ id: Int, _ success: Bool, _ now: Int64) -> [NotificationAction] {
        guard let (groupID, delivery) = deliveries.removeValue(forKey: id) else { return [] }
        var actions: [NotificationAction] = []
        if success {
            log[delivery.key] = delivery.entry
            beforeAssumed[delivery.key] = nil
            actions.append(.saveLog(delivery.key, delivery.entry))
        }
        if var group = groups[groupID], group.inFlight.remove(id) != nil {
            if !success { group.failed = true }
            if group.inFlight.isEmpty {
                if !group.failed { actions += leave(&group, now) }
                nextDeadline = min(nextDeadline, group.nextFlush)
            }
            groups[groupID] = group
        }
        return actions + tick(now)
    }

    /// Lets the resolved alerts of a flush go, now that everybody was told.
    private mutating func leave(_ group: inout Group, _ now: Int64) -> [NotificationAction] {
        for (fingerprint, updatedAt) in group.leaving where alerts[fingerprint]?.updatedAt == updatedAt {
            // Who does not notify keeps them a while: if the lease holder dies before it told, we must.
            if !isLeader, let end = alerts[fingerprint]?.endsAt, end > now - NotificationCore.takeoverWindow {
                continue
            }
            group.members.remove(fingerprint)
        }
        group.leaving = []
        return []
    }

    // MARK: leadership

    /// On taking over, what the former holder may not have got done in its last two minutes is done again: a repeat is
    /// the worst that happens. Older assumptions are trusted.
    private mutating func lead(_ leads: Bool, _ now: Int64) -> [NotificationAction] {
        guard leads != isLeader else { return [] }
        isLeader = leads
        guard leads else { return [] }
        var actions: [NotificationAction] = []
        for (key, entry) in log where entry.assumed {
            if entry.at > now - NotificationCore.takeoverWindow {
                // Only what was told before is sure; what ended since then must be told as well.
                if let before = beforeAssumed[key] {
                    log[key] = before
                    actions.append(.saveLog(key, before))
                } else if entry.firing.isEmpty {
                    var kept = entry
                    kept.firing = entry.resolved
                    kept.resolved = []
                    log[key] = kept
                    actions.append(.saveLog(key, kept))
                } else {
                    log[key] = nil
                    actions.append(.forgetLog([key]))
                }
            } else {
                log[key]?.assumed = false
            }
        }
        beforeAssumed = [:]
        for id in groups.keys where groups[id]?.hasFlushed == true && groups[id]?.inFlight.isEmpty == true {
            groups[id]?.nextFlush = now
        }
        nextDeadline = now
        return actions + tick(now)
    }

    // MARK: silences

    package mutating func setSilence(_ silence: Silence, newID: () -> String, now: Int64) throws(SilenceError) -> (
        id: String, actions: [NotificationAction]
    ) {
        let (id, changed) = try silences.set(silence, newID: newID, now: now)
        return (id, changed.map { .saveSilence($0) })
    }

    /// Nil where there is no such silence.
    package mutating func expireSilence(_ id: String, now: Int64) -> [NotificationAction]? {
        guard silences.all[id] != nil else { return nil }
        return silences.expire(id, now: now).map { [.saveSilence($0)] } ?? []
    }

    // MARK: heartbeats

    private static func heartbeatKey(_ receiver: String) -> LogKey {
        LogKey(group: "heartbeat", receiver: receiver, kind: "heartbeat", index: 0)
    }

    /// When a receiver was last sent its heartbeat as a message, as far as is known.
    package func lastHeartbeat(_ receiver: String) -> Int64? { log[Self.heartbeatKey(receiver)]?.at }

    package mutating func recordHeartbeat(_ receiver: String, at time: Int64) -> [NotificationAction] {
        let interval = receivers[receiver]?.heartbeat?.interval ?? 0
        let entry = LogEntry(
            firing: [], resolved: [], at: time, expiresAt: time + max(2 * interval, LogEntry.retention))
        log[Self.heartbeatKey(receiver)] = entry
        return [.saveLog(Self.heartbeatKey(receiver), entry)]
    }

    // MARK: what the API shows

    package var groupCount: Int { groups.count }
    package var deliveriesInFlight: Int { deliveries.count }
}
