import Platform

/// One destination's metrics, under Prometheus' names.
struct RemoteWriteMetrics: Sendable {
    let samples: Counter
    let failed: Counter
    let retried: Counter
    let bytes: Counter
    let metadata: Counter
    let relabelled: Counter
    let tooOld: Counter
    let pending: Gauge
    let shards: Gauge
    let desired: Gauge
    let highestSent: Gauge
    let duration: Histogram
    let lostLogs: Counter

    init(_ registry: MetricRegistry, _ config: RemoteWriteConfig) {
        let labels = [("remote_name", config.name), ("url", redactURL(config.url))]
        func name(_ suffix: String) -> String { "prometheus_remote_storage_" + suffix }
        samples = registry.counter(
            name("samples_total"), "Samples sent to remote storage, tries that failed included.", labels: labels)
        failed = registry.counter(
            name("samples_failed_total"), "Samples given up because remote storage refused them.", labels: labels)
        retried = registry.counter(
            name("samples_retried_total"), "Samples sent again after an answer that may get better.", labels: labels)
        bytes = registry.counter(name("bytes_total"), "Bytes of samples sent, compressed.", labels: labels)
        metadata = registry.counter(name("metadata_total"), "Metadata entries sent.", labels: labels)
        relabelled = registry.counter(
            name("samples_dropped_total"), "Samples not sent, by reason.",
            labels: labels + [("reason", "dropped_series")])
        tooOld = registry.counter(
            name("samples_dropped_total"), "Samples not sent, by reason.", labels: labels + [("reason", "too_old")])
        pending = registry.gauge(
            name("samples_pending"), "Samples read from the log that wait to be sent.", labels: labels)
        shards = registry.gauge(name("shards"), "Requests sent side by side.", labels: labels)
        desired = registry.gauge(
            name("shards_desired"), "Requests side by side that the samples at hand would need.", labels: labels)
        highestSent = registry.gauge(
            name("queue_highest_sent_timestamp_seconds"), "Newest timestamp that was sent with success.", labels: labels
        )
        duration = registry.histogram(
            name("sent_batch_duration_seconds"), "Time of requests to remote storage.", labels: labels,
            bounds: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300])
        lostLogs = registry.counter(
            "kops_remote_write_lost_logs_total", "Logs given up before they were sent, for want of room.",
            labels: labels)
        registry.gauge(name("shards_max"), "Most requests side by side.", labels: labels)
            .set(Double(config.queue.maxShards))
        registry.gauge(name("shards_min"), "Least requests side by side.", labels: labels)
            .set(Double(config.queue.minShards))
        registry.gauge(name("max_samples_per_send"), "Most samples in one request.", labels: labels)
            .set(Double(config.queue.maxSamplesPerSend))
    }
}
