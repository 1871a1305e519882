package import MetricModel

/// An alert as the notification pipeline keeps it. Times are milliseconds since 1970 UTC. Who it is, is its labels: the
/// fingerprint is their hash, the same number that Alertmanager shows for it.
package struct RoutedAlert: Sendable, Hashable {
    package var labels: Labels
    package var annotations: Labels
    package var startsAt: Int64
    /// In the past: resolved. In the future: firing until then, unless posted again.
    package var endsAt: Int64
    package var generatorURL: String
    package var updatedAt: Int64
    /// Whether `endsAt` was made up from the resolve timeout because the sender gave none.
    package var timesOut: Bool
    package let fingerprint: UInt64

    package init(
        labels: Labels, annotations: Labels, startsAt: Int64, endsAt: Int64, generatorURL: String, updatedAt: Int64,
        timesOut: Bool
    ) {
        self.labels = labels
        self.annotations = annotations
        self.startsAt = startsAt
        self.endsAt = endsAt
        self.generatorURL = generatorURL
        self.updatedAt = updatedAt
        self.timesOut = timesOut
        fingerprint = labels.alertFingerprint
    }

    package func isResolved(at now: Int64) -> Bool { endsAt <= now }

    /// What is known after a newer post of the same alert: the two are one alert where their times overlap.
    func updated(by new: RoutedAlert) -> RoutedAlert {
        let overlaps =
            (new.endsAt > startsAt && new.endsAt < endsAt) || (new.startsAt > startsAt && new.startsAt < endsAt)
        guard overlaps else { return new }
        var result = new
        result.startsAt = min(startsAt, new.startsAt)
        if new.isResolved(at: new.updatedAt) {
            // Two ends that both have come: the later one is the truth.
            if isResolved(at: new.updatedAt), endsAt > new.endsAt { result.endsAt = endsAt }
        } else if endsAt > new.endsAt, !timesOut {
            // An end that a sender named outlives one that was guessed from the timeout.
            result.endsAt = endsAt
        }
        return result
    }
}

extension Labels {
    /// The 64-bit FNV-1a hash over the names and values in order of the names, the byte 255 after each: what Prometheus
    /// and Alertmanager call a label set's fingerprint.
    package var alertFingerprint: UInt64 {
        var hash: UInt64 = 14_695_981_039_346_656_037
        func add(_ byte: UInt8) { hash = (hash ^ UInt64(byte)) &* 1_099_511_628_211 }
        forEachPair { name, value in
            for byte in name { add(byte) }
            add(255)
            for byte in value { add(byte) }
            add(255)
        }
        return hash
    }

    /// As Alertmanager writes a label set, in group keys for one: `{a="x", b="y"}`.
    package var labelSetText: String {
        "{" + pairs.map { "\($0.name)=\(quoteGo($0.value))" }.joined(separator: ", ") + "}"
    }
}

/// Sixteen lower-case hexadecimal digits.
package func fingerprintText(_ fingerprint: UInt64) -> String {
    let digits = String(fingerprint, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}

/// The order of alerts within a notification: by `job`, then `instance` (alerts that have the label come first), then
/// by label set, smaller sets first.
func precedesInNotification(_ a: Labels, _ b: Labels) -> Bool {
    for key in ["job", "instance"] {
        switch (a[key], b[key]) {
        case (nil, nil): continue
        case (nil, _): return false
        case (_, nil): return true
        case (let x?, let y?) where x != y: return bytewisePrecedes(x, y)
        default: continue
        }
    }
    return labelSetPrecedes(a, b)
}

/// The order of label sets by size, then name by name: the set that lacks the first name in which they differ comes first.
func labelSetPrecedes(_ a: Labels, _ b: Labels) -> Bool {
    let x = a.pairs
    let y = b.pairs
    if x.count != y.count { return x.count < y.count }
    for (left, right) in zip(x, y) {
        // A name that only one side has: the other side lacks it, and so comes first.
        if left.name != right.name { return !bytewisePrecedes(left.name, right.name) }
        if left.value != right.value { return bytewisePrecedes(left.value, right.value) }
    }
    return false
}

func bytewisePrecedes(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }
