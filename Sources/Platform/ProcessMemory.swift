import CPlatform
import Synchronization

/// The allocator's settings for this process. Thread-safe.
package enum ProcessMemory {
    private static let wasUsed = Atomic<Bool>(false)

    /// Two heaps whatever the number of threads, and large blocks back to the system. Before threads are started.
    package static func limitHeaps() { kops_limit_heaps() }

    /// For a process that queries again and again: what a query's columns and answer take is used by the next one; mapped and
    /// unmapped each time, their pages cost more than the query. `trimIfUsed` has to be called then.
    package static func keepForQueries() { kops_keep_heaps() }

    /// Gives the system back what is free; for after work that needed much memory for a while.
    package static func trim() { kops_trim_heaps() }

    /// Says that memory was used which the next work of the kind may use again.
    package static func noteUse() { wasUsed.store(true, ordering: .relaxed) }

    /// Trims where memory was used since the last time; to be called every few seconds, so that what was free for so long
    /// goes back.
    package static func trimIfUsed() {
        if wasUsed.exchange(false, ordering: .relaxed) { kops_trim_heaps() }
    }
}
