import Platform

/// Metrics of the log of changes. Thread-safe.
struct EventLogMetrics: Sendable {
    private let registry: MetricRegistry
    private let following: Gauge
    private let revision: Gauge
    private let lag: Gauge
    private let segments: Counter
    private let bytes: Counter
    private let failures: Counter
    private let pendingBytes: Gauge

    init(_ registry: MetricRegistry) {
        self.registry = registry
        following = registry.gauge("kops_backup_log_following", "1 while etcd's changes are being followed.")
        revision = registry.gauge("kops_backup_log_revision", "Newest revision that the log of changes has seen.")
        lag = registry.gauge("kops_backup_log_lag_revisions", "Revisions etcd has that the log has not seen yet.")
        segments = registry.counter("kops_backup_log_segments_total", "Segments of the log that were written.")
        bytes = registry.counter("kops_backup_log_bytes_total", "Bytes of the segments that were written.")
        failures = registry.counter("kops_backup_log_failures_total", "Times that following etcd's changes failed.")
        pendingBytes = registry.gauge(
            "kops_backup_log_pending_bytes", "Bytes of the log that a destination has not taken yet.")
    }

    func isFollowing(_ value: Bool) { following.set(value ? 1 : 0) }

    /// Nobody follows any more: what was true last would be taken for the present.
    func end() {
        for name in ["following", "revision", "lag_revisions", "pending_bytes"] {
            registry.remove("kops_backup_log_" + name)
        }
    }

    func follows(revision: Int64, lag: Int64) {
        self.revision.set(Double(revision))
        self.lag.set(Double(lag))
    }

    func wrote(bytes: Int64) {
        segments.add()
        self.bytes.add(Double(bytes))
    }

    func failed() { failures.add() }
    func pending(bytes: Int64) { pendingBytes.set(Double(bytes)) }

    func notDelivered(_ destination: String) {
        registry.counter(
            "kops_backup_log_delivery_failures_total", "Segments that a destination did not take.",
            labels: [("destination", destination)]
        ).add()
    }
}
