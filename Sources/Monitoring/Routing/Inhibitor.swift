import MetricModel

/// Which alerts are muted by others. For each rule the alerts that can be its source are indexed by the values of the
/// labels that must be equal, so that a question costs one look-up a rule, however many alerts there are.
struct Inhibitor {
    let rules: [InhibitRule]
    private var sources: [[Labels: Set<UInt64>]]

    init(rules: [InhibitRule]) {
        self.rules = rules
        sources = Array(repeating: [:], count: rules.count)
    }

    mutating func add(_ alert: RoutedAlert) {
        for (i, rule) in rules.enumerated() where rule.sourceMatchers.allSatisfy({ $0.matches(alert.labels) }) {
            sources[i][key(rule, alert.labels), default: []].insert(alert.fingerprint)
        }
    }

    mutating func remove(_ alert: RoutedAlert) {
        for (i, rule) in rules.enumerated() where rule.sourceMatchers.allSatisfy({ $0.matches(alert.labels) }) {
            let key = key(rule, alert.labels)
            sources[i][key]?.remove(alert.fingerprint)
            if sources[i][key]?.isEmpty == true { sources[i][key] = nil }
        }
    }

    private func key(_ rule: InhibitRule, _ labels: Labels) -> Labels {
        labels.removing { name in !rule.equal.contains { name.elementsEqual($0.utf8) } }
    }

    /// The alert that mutes one with these labels, or nil. An alert that matches both sides of a rule is not muted by
    /// another that does so too.
    func inhibiting(_ labels: Labels, alerts: [UInt64: RoutedAlert], now: Int64) -> UInt64? {
        for (i, rule) in rules.enumerated() where !sources[i].isEmpty {
            guard rule.targetMatchers.allSatisfy({ $0.matches(labels) }),
                let candidates = sources[i][key(rule, labels)]
            else { continue }
            let isSourceToo = rule.sourceMatchers.allSatisfy { $0.matches(labels) }
            let found = candidates.filter { fingerprint in
                guard let source = alerts[fingerprint], !source.isResolved(at: now) else { return false }
                return !(isSourceToo && rule.targetMatchers.allSatisfy { $0.matches(source.labels) })
            }
            if let first = found.min() { return first }
        }
        return nil
    }
}
