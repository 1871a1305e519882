import Platform

/// The store's own figures.
struct StoreMetrics: Sendable {
    let appended: Counter
    let outOfOrder: Counter
    let duplicates: Counter
    let damagedFiles: Counter
    let damagedRows: Counter
    let commitFailures: Counter
    let lostSamples: Counter
    let shedSamples: Counter
    let commits: Histogram
    let flushes: Histogram

    init(_ registry: MetricRegistry) {
        appended = registry.counter("kops_store_samples_appended_total", "Samples taken into the store.")
        outOfOrder = registry.counter(
            "kops_store_out_of_order_samples_total", "Samples refused because they came too late.")
        duplicates = registry.counter(
            "kops_store_duplicate_samples_total", "Samples refused because another value has their time.")
        damagedFiles = registry.counter("kops_store_damaged_files_total", "Files set aside or read in part.")
        damagedRows = registry.counter("kops_store_damaged_rows_total", "Rows of chunks that could not be read.")
        commitFailures = registry.counter("kops_store_commit_failures_total", "Commits or flushes that failed.")
        lostSamples = registry.counter(
            "kops_store_dropped_batches_total",
            "Batches dropped from the log because the disk took nothing for too long.")
        shedSamples = registry.counter(
            "kops_store_shed_samples_total", "Samples dropped from memory because the disk took nothing for too long.")
        commits = registry.histogram(
            "kops_store_commit_duration_seconds", "Time to make the newest samples durable.",
            bounds: [0.005, 0.025, 0.1, 0.5, 2, 10])
        flushes = registry.histogram(
            "kops_store_flush_duration_seconds", "Time to write the head to partitions.",
            bounds: [0.05, 0.25, 1, 5, 20, 60])
    }

    /// Figures that are read when asked for.
    func observe(_ store: Store, _ registry: MetricRegistry) {
        registry.onCollect { [weak store] writer in
            guard let store else { return }
            let (series, bytes, pending) = store.front.withLock { front in
                (front.head.seriesCount, front.head.chunkBytes, front.log.bytes + front.waitingBytes)
            }
            writer.write("kops_store_head_series", "Series in the head.", Double(series))
            writer.write("kops_store_head_chunk_bytes", "Memory of the head's chunks.", Double(bytes))
            writer.write("kops_store_pending_bytes", "Bytes of samples not yet durable.", Double(pending))
            let partitions = store.partitions
            writer.write("kops_store_partitions", "Partitions (days).", Double(partitions.count))
            writer.write(
                "kops_store_partition_bytes", "Bytes of all partitions.",
                Double(partitions.reduce(0) { $0 + $1.bytes }))
        }
    }
}
