package import MetricModel

/// An alert with what keeps it from being notified: what the API shows of it.
package struct AlertView: Sendable {
    package var alert: RoutedAlert
    package var receivers: [String]
    package var silencedBy: [String]
    package var inhibitedBy: [String]
    /// Time intervals that mute all its groups.
    package var mutedBy: [String]
    /// Whether any of its groups has been flushed since it came.
    package var isProcessed: Bool

    /// `unprocessed`, `active` or `suppressed`
    package var state: String {
        if !silencedBy.isEmpty || !inhibitedBy.isEmpty || !mutedBy.isEmpty { return "suppressed" }
        return isProcessed ? "active" : "unprocessed"
    }
}

/// Alerts that are notified together.
package struct AlertGroupView: Sendable {
    package var labels: Labels
    package var receiver: String
    package var key: String
    package var alerts: [AlertView]
}

extension NotificationCore {
    /// Alerts that have not ended, in the order of their fingerprints.
    package func alertViews(now: Int64) -> [AlertView] {
        var processed: Set<UInt64> = []
        var muted: [UInt64: [String]] = [:]
        for group in groups.values where group.hasFlushed {
            processed.formUnion(group.members)
            for member in group.members where !group.mutedBy.isEmpty { muted[member, default: []] += group.mutedBy }
        }
        return alerts.values.filter { !$0.isResolved(at: now) }.sorted { $0.fingerprint < $1.fingerprint }
            .map { view($0, processed.contains($0.fingerprint), muted[$0.fingerprint] ?? [], now) }
    }

    private func view(_ alert: RoutedAlert, _ processed: Bool, _ muted: [String], _ now: Int64) -> AlertView {
        AlertView(
            alert: alert, receivers: routes.matching(alert.labels).map { routes.nodes[$0].receiver },
            silencedBy: silences.silencing(alert.labels, now: now),
            inhibitedBy: inhibitor.inhibiting(alert.labels, alerts: alerts, now: now).map { [fingerprintText($0)] }
                ?? [],
            mutedBy: Set(muted).sorted(), isProcessed: processed)
    }

    package func groupViews(now: Int64) -> [AlertGroupView] {
        let views = Dictionary(
            alertViews(now: now).map { ($0.alert.fingerprint, $0) }, uniquingKeysWith: { a, _ in a })
        return groups.values.compactMap { group in
            let members = group.members.compactMap { views[$0] }.sorted { $0.alert.fingerprint < $1.alert.fingerprint }
            if members.isEmpty { return nil }
            return AlertGroupView(
                labels: group.id.labels, receiver: routes.nodes[group.id.route].receiver, key: group.key,
                alerts: members)
        }
        .sorted { ($0.labels, $0.receiver) < ($1.labels, $1.receiver) }
    }

    package func silenceList(now: Int64) -> [Silence] { silences.sorted(now: now) }
    package func silence(_ id: String) -> Silence? { silences.all[id] }

    /// The receivers that labels reach, in order, each once.
    package func receivers(of labels: Labels) -> [String] {
        var out: [String] = []
        for index in routes.matching(labels) where !out.contains(routes.nodes[index].receiver) {
            out.append(routes.nodes[index].receiver)
        }
        return out
    }
}
