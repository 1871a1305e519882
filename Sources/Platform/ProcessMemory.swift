import CPlatform
import Synchronization

/// The allocator's settings for this process. Thread-safe.
package enum ProcessMemory {
    private static let (idle, resting, busy) = (0, 1, 2)
    private static let queries = Atomic<Int>(0)

    /// Two heaps whatever the number of threads, and large blocks back to the system. Before threads are started.
    package static func limitHeaps() { kops_limit_heaps() }

    /// For a process that queries again and again: what a large query's columns and answer take is used by the next one; mapped
    /// and unmapped each time, their pages cost more than the query. From then on `noteLargeQuery` and `settle` are to be called.
    package static func keepForQueries() { kops_keep_heaps(4 << 20) }

    /// The heaps keep up to 64 MiB each from now on, until none was noted for a while.
    package static func noteLargeQuery() {
        if queries.exchange(busy, ordering: .relaxed) == idle { kops_keep_heaps(64 << 20) }
    }

    /// To be called every few seconds: the second call without a large query before it gives back what is free.
    package static func settle() {
        switch queries.load(ordering: .relaxed) {
        case busy: queries.store(resting, ordering: .relaxed)
        case resting where queries.compareExchange(expected: resting, desired: idle, ordering: .relaxed).exchanged:
            kops_keep_heaps(4 << 20)
            kops_trim_heaps()
        default: break
        }
    }

    /// Gives the system back what is free; for after work that needed much memory for a while.
    package static func trim() { kops_trim_heaps() }
}
