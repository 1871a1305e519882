package import MetricModel

package enum AlertState: String, Sendable, Comparable {
    case inactive
    case pending
    case firing

    private var rank: Int {
        switch self {
        case .inactive: 0
        case .pending: 1
        case .firing: 2
        }
    }

    package static func < (a: AlertState, b: AlertState) -> Bool { a.rank < b.rank }
}

/// One element of an alerting rule's result and what has become of it. Times are milliseconds since 1970 UTC; 0 is never.
package struct ActiveAlert: Sendable {
    package var labels: Labels
    package var annotations: Labels
    package var value: Double
    package var state = AlertState.pending
    package var activeAt: Int64
    package var firedAt: Int64 = 0
    package var resolvedAt: Int64 = 0
    package var lastSentAt: Int64 = 0
    package var validUntil: Int64 = 0
    /// Since when it only fires because of `keep_firing_for`.
    package var keepFiringSince: Int64 = 0

    package init(labels: Labels, annotations: Labels, value: Double, activeAt: Int64) {
        self.labels = labels
        self.annotations = annotations
        self.value = value
        self.activeAt = activeAt
    }

    /// Whether it is time to tell of it (again): at once when it has resolved, else after every `resendDelay`.
    func needsSending(at time: Int64, resendDelay: Int64) -> Bool {
        if state == .pending { return false }
        if lastSentAt == 0 || resolvedAt > lastSentAt { return true }
        return lastSentAt + resendDelay < time
    }
}

/// How the alerts of one rule go from pending to firing to resolved: Prometheus' documented behaviour.
struct AlertTable {
    /// Resolved alerts are told of again for so long, lest a message was lost.
    static let resolvedRetention: Int64 = 15 * 60_000

    private(set) var active: [Labels: ActiveAlert] = [:]

    /// Takes the elements that the expression yields at `time`, by their labels.
    mutating func update(_ found: [Labels: ActiveAlert], at time: Int64, hold: Int64, keepFiringFor: Int64) {
        for (key, alert) in found {
            if var known = active[key], known.state != .inactive {
                known.value = alert.value
                known.annotations = alert.annotations
                known.keepFiringSince = 0
                active[key] = known
            } else {
                active[key] = alert
            }
        }
        for (key, alert) in active {
            var alert = alert
            if found[key] == nil {
                var keeps = false
                if alert.state == .firing, keepFiringFor > 0 {
                    if alert.keepFiringSince == 0 { alert.keepFiringSince = time }
                    keeps = time - alert.keepFiringSince < keepFiringFor
                }
                if alert.state == .pending || alert.resolvedAt != 0 && time - alert.resolvedAt > Self.resolvedRetention
                {
                    active[key] = nil
                    continue
                }
                if alert.state != .inactive, !keeps {
                    alert.state = .inactive
                    alert.resolvedAt = time
                    alert.keepFiringSince = 0
                }
            } else if alert.state == .pending, time - alert.activeAt >= hold {
                alert.state = .firing
                alert.firedAt = time
            }
            active[key] = alert
        }
    }

    mutating func removeAll() { active.removeAll() }

    mutating func setActiveAt(_ key: Labels, _ time: Int64) { active[key]?.activeAt = time }

    mutating func markSent(_ key: Labels, at time: Int64, validUntil: Int64) {
        active[key]?.lastSentAt = time
        active[key]?.validUntil = validUntil
    }

    var state: AlertState { active.values.map(\.state).max() ?? .inactive }

    var current: [ActiveAlert] {
        active.values.filter { $0.state != .inactive }.sorted { $0.labels < $1.labels }
    }
}

/// When an alert that was pending before a restart counts as active since, given the last `ALERTS_FOR_STATE` sample
/// before it: `value` seconds written at `downAt`. As Prometheus restores: what had fired fires on, what has a good while
/// to go loses only the time the process was down, and what was about to fire gets `grace` first.
func restoredActiveAt(value: Double, downAt: Int64, now: Int64, hold: Int64, grace: Int64) -> Int64? {
    guard value.isFinite, abs(value) < 9e15 else { return nil }
    let since = Int64(value) * 1000
    let remaining = hold - (downAt - since)
    if remaining <= 0 { return since }
    if remaining < grace { return now + grace - hold }
    return since + (now - downAt)
}
