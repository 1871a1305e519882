package import Platform

/// The backups' own metrics. Thread-safe.
package struct BackupMetrics: Sendable {
    private let registry: MetricRegistry
    let interval: Gauge
    let duration: Gauge
    let revision: Gauge
    let clusterChanges: Counter
    let clockBehind: Gauge
    let skips: Counter
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
        clusterChanges = registry.counter(
            "kops_backup_cluster_changes_total",
            "Backups before which etcd had another cluster identifier than the newest backup.")
        clockBehind = registry.gauge(
            "kops_backup_clock_behind_seconds", "How far this machine's clock was behind the newest backup, in seconds."
        )
        skips = registry.counter(
            "kops_backup_skipped_total", "Scheduled backups that were not made because nothing had changed.")
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

    func clusterChanged() { clusterChanges.add() }
    func clockBehind(seconds: Double) { clockBehind.set(seconds) }
    func skipped() { skips.add() }

    /// A backup is where it belongs.
    func made(_ manifest: BackupManifest, seconds: Double) {
        duration.set(seconds)
        for kind in [BackupManifest.Kind.full, .incremental] {
            let made = registry.counter(
                "kops_backup_made_total", "Backups that were made.", labels: [("kind", kind.rawValue)])
            made.add(kind == manifest.kind ? 1 : 0)
        }
        observed(manifest)
    }

    /// What the newest good backup says.
    func observed(_ manifest: BackupManifest) {
        revision.set(Double(manifest.revision))
        registry.gauge("kops_backup_last_database_bytes", "Bytes of etcd's database in the last good backup.")
            .set(Double(manifest.databaseBytes))
        registry.gauge("kops_backup_last_keys", "Entries of etcd's database in the last good backup.")
            .set(Double(manifest.totalKeys))
        registry.gauge(
            "kops_backup_chain_length",
            "Incremental backups between the last good one and its full one, itself included."
        ).set(Double(manifest.chainLength))
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
