/// The lease as it stands in the cluster.
package struct LeaseRecord: Sendable, Hashable {
    /// Empty where it was given up.
    package var holder: String
    /// Milliseconds that others wait after they saw its last change.
    package var duration: Int64
    package var transitions: Int
    /// As the server has them; carried along, never compared: the writers' clocks may be wrong.
    package var acquiredAt: String
    package var renewedAt: String

    package init(holder: String, duration: Int64, transitions: Int, acquiredAt: String = "", renewedAt: String = "") {
        self.holder = holder
        self.duration = duration
        self.transitions = transitions
        self.acquiredAt = acquiredAt
        self.renewedAt = renewedAt
    }
}

/// Who leads, decided by one lease, as client-go's leader election does it: whoever saw no change of the lease for its
/// duration, by his own monotonic clock, may take it; the holder believes in his leadership for a shorter time, counted from
/// before he sent the last write that succeeded. So no two lead at once, as long as no clock runs faster than another by more
/// than `lease / renewDeadline`, whatever the time of day they show and however late a write arrives.
///
/// A value: requests out, replies in, the time (monotonic milliseconds) always handed in. One request is under way at most.
package struct LeaderElector: Sendable, Hashable {
    package struct Timing: Sendable, Hashable {
        package var lease: Int64 = 15_000
        package var renewDeadline: Int64 = 10_000
        package var retryPeriod: Int64 = 2_000

        package init() {}
    }

    package enum Request: Sendable, Hashable {
        case read
        case create(LeaseRecord)
        case update(LeaseRecord, version: String)
    }

    package enum Reply: Sendable, Hashable {
        case absent
        case found(LeaseRecord, version: String)
        case written(version: String)
        /// Somebody else wrote in between.
        case conflict
        /// No answer, or one that says nothing: the write may have happened.
        case failed
    }

    package let identity: String
    package let timing: Timing
    var observed: LeaseRecord?
    var version = ""
    /// When the record was first seen as it is.
    var observedAt: Int64 = 0
    /// Leadership ends then, unless it is renewed.
    var validUntil = Int64.min
    var pending: Request?
    var pendingSince: Int64 = 0
    var nextAttempt = Int64.min
    /// Whether the next request is a write on what was just read.
    var writesNext = false
    /// Whether the lease may be another than the one observed, after a write that did not succeed.
    var mustRead = false

    package init(identity: String, timing: Timing) {
        self.identity = identity
        self.timing = timing
    }

    package func isLeader(now: Int64) -> Bool { now < validUntil }

    /// Who holds the lease as far as is known; empty where nobody does.
    package var holder: String { observed?.holder ?? "" }

    /// When `next` has something to do.
    package var wakeAt: Int64 { nextAttempt }

    /// The request to send now; nil while one is under way, or before it is time.
    package mutating func next(now: Int64) -> Request? {
        guard pending == nil, now >= nextAttempt else { return nil }
        let request = request(now)
        pending = request
        pendingSince = now
        return request
    }

    private mutating func request(_ now: Int64) -> Request {
        defer { writesNext = false }
        if mustRead { return .read }
        guard let observed else { return writesNext ? .create(record(transitions: 0)) : .read }
        if observed.holder == identity, isLeader(now: now) || writesNext {
            return .update(record(transitions: observed.transitions), version: version)
        }
        if writesNext, mayTake(observed, now) {
            return .update(record(transitions: observed.transitions + 1), version: version)
        }
        return .read
    }

    private func record(transitions: Int) -> LeaseRecord {
        LeaseRecord(
            holder: identity, duration: timing.lease, transitions: transitions, acquiredAt: observed?.acquiredAt ?? "")
    }

    private func mayTake(_ record: LeaseRecord, _ now: Int64) -> Bool {
        record.holder.isEmpty || now - observedAt >= max(record.duration, timing.lease)
    }

    package mutating func handle(_ reply: Reply, now: Int64) {
        guard let request = pending else { return }
        pending = nil
        nextAttempt = now + timing.retryPeriod
        switch (request, reply) {
        case (_, .absent):
            observed = nil
            version = ""
            mustRead = false
            if request == .read { writeAtOnce(now) }
        case (_, .found(let record, let version)):
            mustRead = false
            if self.version != version || observed?.holder != record.holder {
                observed = record
                self.version = version
                observedAt = now
            }
            if record.holder == identity || mayTake(record, now) { writeAtOnce(now) }
        case (.create(let record), .written(let version)), (.update(let record, _), .written(let version)):
            observed = record
            self.version = version
            observedAt = now
            // From before it was sent: others count from when they saw it, which is later.
            validUntil = pendingSince + timing.renewDeadline
        case (_, .conflict):
            mustRead = true
            if isLeader(now: now) { nextAttempt = now }
        default:
            // A write may have happened all the same.
            if request != .read { mustRead = true }
        }
    }

    private mutating func writeAtOnce(_ now: Int64) {
        writesNext = true
        nextAttempt = now
    }

    /// What gives the lease up, where it is held; leadership ends at once.
    package mutating func release(now: Int64) -> Request? {
        let isHeld = isLeader(now: now)
        validUntil = Int64.min
        guard isHeld, let observed, observed.holder == identity, !mustRead else { return nil }
        pending = nil
        var record = observed
        record.holder = ""
        record.duration = 1000
        return .update(record, version: version)
    }
}
