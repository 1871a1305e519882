import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Why a query was stopped before its end.
package enum QueryStop: Error, Equatable, Sendable {
    case cancelled
    case timedOut
    case tooManySamples(limit: Int)
    /// It would have had to wait for a disk or another server, and was not to.
    case wouldWait
}

/// One query's limits, shared by everything that works for it. Thread-safe.
package final class QueryControl: @unchecked Sendable {
    /// Calls the body with 0..<n, on several threads at once, and returns when all calls have.
    package typealias Parallel = @Sendable (_ n: Int, _ body: @escaping @Sendable (Int) -> Void) -> Void

    package let maxSamples: Int
    /// Nil: one thread.
    package let parallel: Parallel?
    /// False on a thread that others wait for: what is not in memory is not read then.
    package let mayWait: Bool
    /// Of the clock that `coarseNanoseconds` reads.
    private let deadline: Int64?
    private let cancelled = Atomic<Bool>(false)
    private let samples = Atomic<Int>(0)
    // Unchecked: `notes` is touched only while `mutex` is held; all else is constant or atomic.
    private var notes: [String] = []
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    /// `timeout` counts from now; nil means none.
    package init(
        maxSamples: Int = 50_000_000, timeout: Duration? = nil, parallel: Parallel? = nil, mayWait: Bool = true
    ) {
        self.maxSamples = maxSamples
        self.mayWait = mayWait
        self.parallel = parallel
        deadline = timeout.map { timeout in
            let (seconds, attoseconds) = timeout.components
            return Self.coarseNanoseconds + min(seconds, 1 << 32) * 1_000_000_000 + attoseconds / 1_000_000_000
        }
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    package func cancel() { cancelled.store(true, ordering: .relaxed) }

    /// Cheap enough for every series; not for every sample.
    package func check() throws(QueryStop) {
        if cancelled.load(ordering: .relaxed) { throw .cancelled }
        if let deadline, Self.coarseNanoseconds > deadline { throw .timedOut }
    }

    /// Called by a source before it reads what may not be in memory.
    package func checkMayWait() throws(QueryStop) {
        if !mayWait { throw .wouldWait }
    }

    /// A clock that moves every few milliseconds only and costs next to nothing.
    private static var coarseNanoseconds: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// Accounts for samples now held in memory on the query's behalf (negative: given back).
    package func charge(_ n: Int) throws(QueryStop) {
        let after = samples.wrappingAdd(n, ordering: .relaxed).newValue
        if after > maxSamples { throw .tooManySamples(limit: maxSamples) }
    }

    /// Notes that the answer may be incomplete, for the one who asked. At most 20 different ones are kept.
    package func warn(_ text: String) {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        if notes.count < 20, !notes.contains(text) { notes.append(text) }
    }

    package var warnings: [String] {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return notes
    }

    package var samplesHeld: Int { samples.load(ordering: .relaxed) }
}

/// A source of stored series. Calls block; make them from the worker pool. Thread-safe. All bounds are milliseconds
/// since 1970 UTC and inclusive. `limit` 0 means no limit.
package protocol Queryable: Sendable {
    /// Every series that all matchers match and that has a sample within the bounds, with the samples within them,
    /// sorted by labels. Charges `control` with the samples returned.
    func select(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws -> [SeriesData]
    /// The same, but only the newest sample within the bounds need be there of each series: for looking up values.
    func selectNewest(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws
        -> [SeriesData]
    /// The label sets of series that all matchers of at least one of the sets match; sorted, each once.
    func series(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels]
    /// Names in use, sorted; of all series when `matchers` is empty.
    func labelNames(_ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String]
    /// Values of a label, sorted.
    func labelValues(_ name: String, _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws
        -> [String]
}

extension Queryable {
    package func selectNewest(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws
        -> [SeriesData]
    {
        try select(matchers, from: from, through: through, control: control)
    }
}
