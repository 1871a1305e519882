import CPlatform

/// The allocator's settings for this process.
package enum ProcessMemory {
    /// Two heaps whatever the number of threads, and large blocks back to the system. Before threads are started.
    package static func limitHeaps() { kops_limit_heaps() }

    /// Gives the system back what is free; for after work that needed much memory for a while.
    package static func trim() { kops_trim_heaps() }
}
