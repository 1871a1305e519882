package import MetricModel

/// A silence: alerts that all its matchers match are not notified while it is active. Times are milliseconds since 1970.
package struct Silence: Sendable, Hashable {
    package enum State: String, Sendable { case active, pending, expired }

    package var id: String
    package var matchers: [LabelMatcher]
    package var startsAt: Int64
    package var endsAt: Int64
    package var updatedAt: Int64
    package var createdBy: String
    package var comment: String

    package init(
        id: String = "", matchers: [LabelMatcher], startsAt: Int64, endsAt: Int64, updatedAt: Int64 = 0,
        createdBy: String, comment: String
    ) {
        self.id = id
        self.matchers = matchers
        self.startsAt = startsAt
        self.endsAt = endsAt
        self.updatedAt = updatedAt
        self.createdBy = createdBy
        self.comment = comment
    }

    package func state(at now: Int64) -> State { now < startsAt ? .pending : now < endsAt ? .active : .expired }
}

/// Why a silence was not taken: what to answer and with which HTTP status.
package struct SilenceError: Error, Hashable, CustomStringConvertible {
    package let status: Int
    package let description: String

    package init(_ status: Int, _ description: String) {
        self.status = status
        self.description = description
    }
}

/// All silences, with Alertmanager's rules for changing them.
struct SilenceTable {
    /// How long an expired silence is still listed.
    static let retention: Int64 = 120 * 3_600_000
    static let limit = 10_000

    private(set) var all: [String: Silence] = [:]
    /// Silences that may be active, so that a question does not look at years of expired ones.
    private var live: Set<String> = []

    mutating func load(_ silences: [Silence], now: Int64) {
        for silence in silences { keep(silence, now) }
    }

    private mutating func keep(_ silence: Silence, _ now: Int64) {
        all[silence.id] = silence
        if silence.state(at: now) == .expired { live.remove(silence.id) } else { live.insert(silence.id) }
    }

    /// Creates or changes; returns the id under which it now is and every silence that changed. A change that cannot be
    /// made in place (other matchers, another start of an active one) expires the old silence and makes a new one.
    mutating func set(_ wanted: Silence, newID: () -> String, now: Int64) throws(SilenceError) -> (
        id: String, changed: [Silence]
    ) {
        var silence = wanted
        if silence.startsAt == 0 { silence.startsAt = now }
        guard !silence.matchers.isEmpty else {
            throw SilenceError(400, "invalid silence: at least one matcher required")
        }
        // As Alertmanager: what excludes a value is enough, though it matches where the label is missing.
        guard silence.matchers.contains(where: { $0.op == .notEqual || $0.op == .notRegex || !$0.matchesEmpty }) else {
            throw SilenceError(400, "invalid silence: at least one matcher must not match the empty string")
        }
        guard silence.endsAt > silence.startsAt else {
            throw SilenceError(400, "Failed to create silence: start time must be before end time")
        }
        guard silence.endsAt > now else {
            throw SilenceError(400, "Failed to create silence: end time can't be in the past")
        }
        silence.updatedAt = now
        var changed: [Silence] = []
        if !silence.id.isEmpty {
            guard let old = all[silence.id] else { throw SilenceError(404, "silence not found") }
            if canUpdate(old, silence, now) {
                keep(silence, now)
                return (silence.id, [silence])
            }
            if let expired = expire(old.id, now: now) { changed.append(expired) }
        }
        guard all.count < SilenceTable.limit else {
            throw SilenceError(400, "there are \(all.count) silences already, which is the limit")
        }
        silence.id = newID()
        silence.startsAt = max(silence.startsAt, now)
        keep(silence, now)
        return (silence.id, changed + [silence])
    }

    private func canUpdate(_ old: Silence, _ new: Silence, _ now: Int64) -> Bool {
        guard old.matchers == new.matchers else { return false }
        switch old.state(at: now) {
        case .active: return old.startsAt / 1000 == new.startsAt / 1000 && new.endsAt >= now
        case .pending: return new.startsAt >= now
        case .expired: return false
        }
    }

    /// Ends a silence now; nil where it has ended already or is unknown.
    mutating func expire(_ id: String, now: Int64) -> Silence? {
        guard var silence = all[id] else { return nil }
        switch silence.state(at: now) {
        case .active: silence.endsAt = now
        case .pending: (silence.startsAt, silence.endsAt) = (now, now)
        case .expired: return nil
        }
        silence.updatedAt = now
        keep(silence, now)
        return silence
    }

    /// The ids of the active silences that mute these labels, sorted.
    func silencing(_ labels: Labels, now: Int64) -> [String] {
        var out: [String] = []
        for id in live {
            guard let silence = all[id], silence.state(at: now) == .active,
                silence.matchers.allSatisfy({ $0.matches(labels) })
            else { continue }
            out.append(id)
        }
        return out.sorted()
    }

    func active(at now: Int64) -> [Silence] { live.compactMap { all[$0] }.filter { $0.state(at: now) == .active } }

    /// Forgets silences long expired; their ids.
    mutating func prune(now: Int64) -> [String] {
        for id in live where all[id]?.state(at: now) == .expired { live.remove(id) }
        let old = all.values.filter { $0.endsAt < now - SilenceTable.retention }.map(\.id)
        for id in old { all[id] = nil }
        return old
    }

    /// Active ones by their end, then pending ones by their start, then expired ones, the latest first.
    func sorted(now: Int64) -> [Silence] {
        func rank(_ s: Silence) -> Int {
            switch s.state(at: now) {
            case .active: 0
            case .pending: 1
            case .expired: 2
            }
        }
        return all.values.sorted { a, b in
            if rank(a) != rank(b) { return rank(a) < rank(b) }
            switch rank(a) {
            case 0: return (a.endsAt, a.id) < (b.endsAt, b.id)
            case 1: return (a.startsAt, a.id) < (b.startsAt, b.id)
            default: return (b.endsAt, a.id) < (a.endsAt, b.id)
            }
        }
    }
}
