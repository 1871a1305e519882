package import Platform

/// The backups' own metrics. Thread-safe.
package struct BackupMetrics: Sendable {
    private let registry: MetricRegistry
    let interval: Gauge
    let duration: Gauge
    let revision: Gauge
    let drillTime: Gauge
    let drillSeconds: Gauge
    let drillFailures: Counter

    package init(_ registry: MetricRegistry) {
        self.registry = registry
        interval = registry.gauge(
            "kops_backup_interval_seconds", "Longest time the schedule leaves between two backups, in seconds.")
        duration = registry.gauge(
            "kops_backup_last_duration_seconds", "How long the last good backup took, in seconds.")
        revision = registry.gauge("kops_backup_last_revision", "Revision of etcd in the last good backup.")
        drillTime = registry.gauge(
            "kops_drill_last_success_timestamp_seconds", "When a backup was last restored for trial and found right.")
        drillSeconds = registry.gauge(
            "kops_drill_recovery_seconds", "How long the last trial restore took until etcd served, in seconds.")
        drillFailures = registry.counter("kops_drill_failures_total", "Trial restores that failed.")
    }

    /// For alerts that compare a backup's age with what was planned.
    package func setInterval(milliseconds: Int64) { interval.set(Double(milliseconds) / 1000) }

    package func drilled(at time: Int64, seconds: Double) {
        drillTime.set(Double(time) / 1000)
        drillSeconds.set(seconds)
    }

    package func drillFailed() { drillFailures.add() }

    func succeeded(_ destination: String, time: Int64, bytes: Int64) {
        lastSuccess(destination).set(Double(time) / 1000)
        size(destination).set(Double(bytes))
        failures(destination).add(0)
    }

    func failed(_ destination: String) { failures(destination).add() }

    func removed(_ destination: String, _ count: Int) {
        registry.counter(
            "kops_backup_pruned_total", "Backups removed by retention.", labels: [("destination", destination)]
        ).add(Double(count))
    }

    func stored(_ destination: String, count: Int, bytes: Int64) {
        let labels = [("destination", destination)]
        registry.gauge("kops_backup_stored", "Good backups at the destination.", labels: labels).set(Double(count))
        registry.gauge("kops_backup_stored_bytes", "Bytes of all backups at the destination.", labels: labels)
            .set(Double(bytes))
    }

    func lastSuccess(_ destination: String) -> Gauge {
        registry.gauge(
            "kops_backup_last_success_timestamp_seconds", "When the newest good backup there was made.",
            labels: [("destination", destination)])
    }

    func size(_ destination: String) -> Gauge {
        registry.gauge(
            "kops_backup_last_size_bytes", "Bytes of the newest good backup there.",
            labels: [("destination", destination)])
    }

    func failures(_ destination: String) -> Counter {
        registry.counter(
            "kops_backup_failures_total", "Backups that did not come to the destination.",
            labels: [("destination", destination)])
    }
}
