package import MetricModel

/// An alert with what keeps it from being notified: what the API shows of it.
package struct AlertView: Sendable {
    package var alert: RoutedAlert
    package var receivers: [String]
    package var silencedBy: [String]
    package var inhibitedBy: [String]
    /// Time intervals that mute it in the group that is looked at; empty outside a group.
    package var mutedBy: [String] = []

    /// `active` or `suppressed`
    package var state: String {
        silencedBy.isEmpty && inhibitedBy.isEmpty && mutedBy.isEmpty ? "active" : "suppressed"
    }
}

/// A route that takes an alert.
package struct ReachedRoute: Sendable {
    package var receiver: String
    package var key: String
    package var groupLabels: Labels
    /// The time intervals that keep it quiet.
    package var mutedBy: [String]
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
        alerts.values.filter { !$0.isResolved(at: now) }.sorted { $0.fingerprint < $1.fingerprint }
            .map { view($0, now) }
    }

    private func view(_ alert: RoutedAlert, _ now: Int64) -> AlertView {
        AlertView(
            alert: alert, receivers: routes.matching(alert.labels).map { routes.nodes[$0].receiver },
            silencedBy: silences.silencing(alert.labels, now: now),
            inhibitedBy: inhibitor.inhibiting(alert.labels, alerts: alerts, now: now).map { [fingerprintText($0)] }
                ?? [])
    }

    package func groupViews(now: Int64) -> [AlertGroupView] {
        let views = Dictionary(
            alertViews(now: now).map { ($0.alert.fingerprint, $0) }, uniquingKeysWith: { a, _ in a })
        return groups.values.compactMap { group in
            var members = group.members.compactMap { views[$0] }.sorted { $0.alert.fingerprint < $1.alert.fingerprint }
            for i in members.indices {
                members[i].mutedBy = group.mutedBy
                members[i].receivers.sort()
            }
            if members.isEmpty { return nil }
            return AlertGroupView(
                labels: group.id.labels, receiver: routes.nodes[group.id.route].receiver, key: group.key,
                alerts: members)
        }
        .sorted { ($0.labels, $0.receiver) < ($1.labels, $1.receiver) }
    }

    package func silenceList(now: Int64) -> [Silence] { silences.sorted(now: now) }
    package func silence(_ id: String) -> Silence? { silences.all[id] }

    /// The routes that labels reach at a time, in order, and the time intervals that keep each quiet then.
    package func routes(of labels: Labels, at now: Int64) -> [ReachedRoute] {
        routes.matching(labels).map { index in
            let node = routes.nodes[index]
            return ReachedRoute(
                receiver: node.receiver, key: node.key, groupLabels: node.groupLabels(labels),
                mutedBy: mutedBy(node, now))
        }
    }

    /// The receivers that labels reach, in order, each once.
    package func receivers(of labels: Labels) -> [String] {
        var out: [String] = []
        for index in routes.matching(labels) where !out.contains(routes.nodes[index].receiver) {
            out.append(routes.nodes[index].receiver)
        }
        return out
    }
}
