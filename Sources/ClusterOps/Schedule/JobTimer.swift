/// When a job begins next: its schedule, its window and its jitter as a value; the time is always handed in, in
/// milliseconds since 1970 UTC.
struct JobTimer: Sendable {
    private let schedule: Schedule?
    private let window: MaintenanceWindow?
    private let jitter: Int64
    private(set) var due: Int64?
    private var lastSeen: Int64

    /// `lastStart` is when the job last began, if ever: a run that was missed since is made up for, once, as soon as the
    /// window allows. `isDue` makes it begin at once, whatever the window.
    init(
        _ schedule: Schedule?, window: MaintenanceWindow?, jitter: Int64, now: Int64, lastStart: Int64? = nil,
        isDue: Bool = false, random: (ClosedRange<Int64>) -> Int64 = { Int64.random(in: $0) }
    ) {
        self.schedule = schedule
        self.window = window
        self.jitter = max(0, jitter)
        lastSeen = now
        if isDue {
            due = now
        } else if let lastStart, let missed = nextWithoutJitter(after: lastStart), missed + self.jitter < now {
            due = window == nil ? now : window?.opening(notBefore: now)
        } else {
            due = next(after: now, random)
        }
    }

    /// Whether the job is to begin now; the next time is set then. However many times were missed, it begins once.
    mutating func isDue(now: Int64, random: (ClosedRange<Int64>) -> Int64 = { Int64.random(in: $0) }) -> Bool {
        // The clock was put back: what was computed from the old time may be far away.
        if now < lastSeen - 60_000 { due = next(after: now, random) }
        lastSeen = now
        guard let time = due, time <= now else { return false }
        due = next(after: now, random)
        return true
    }

    private func nextWithoutJitter(after time: Int64) -> Int64? {
        guard let next = schedule?.next(after: time) else { return nil }
        return window == nil ? next : window?.opening(notBefore: next)
    }

    private func next(after time: Int64, _ random: (ClosedRange<Int64>) -> Int64) -> Int64? {
        guard let next = nextWithoutJitter(after: time) else { return nil }
        guard jitter > 0 else { return next }
        let moved = next + random(0...jitter)
        // Jitter never moves a run out of its window.
        return window.map { $0.contains(moved) ? moved : next } ?? moved
    }
}
