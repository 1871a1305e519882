import Platform

/// A token bucket: so many requests a second, so many at once after a pause. Thread-safe.
final class RequestPace: Sendable {
    private let interval: Int64
    private let burst: Int64
    /// When the bucket would be full, in monotonic nanoseconds; each request moves it on by one interval.
    private let fullAt = Lock<Int64>(0)

    init(perSecond: Double, burst: Int) {
        interval = perSecond > 0 ? Int64(1e9 / perSecond) : 0
        self.burst = Int64(max(1, burst))
    }

    /// Nanoseconds that the caller has to wait before its request, 0 where it may go at once.
    func take(now: Int64) -> Int64 {
        if interval == 0 { return 0 }
        return fullAt.withLock { fullAt in
            fullAt = max(fullAt, now) + interval
            return max(0, fullAt - now - interval * burst)
        }
    }

    func wait() async throws {
        let nanoseconds = take(now: monotonicNanoseconds())
        if nanoseconds > 0 { try await Task.sleep(for: .nanoseconds(nanoseconds)) }
    }
}
