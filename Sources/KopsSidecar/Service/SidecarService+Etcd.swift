import ClusterOps
import Platform

/// Jobs on etcd itself.
func etcdJobs(_ etcd: EtcdOptions) throws -> [Job] {
    guard let options = etcd.defragment else { return [] }
    let schedule = try options.schedule.map { try makeSchedule($0, zone: options.timezone) }
    var job = Job(name: "etcd-defragment", schedule: schedule) { context in
        let outcomes = try await Defragment(etcd: etcd, options: options).run { context.log($0) }
        let done = outcomes.filter { $0.after != $0.before }
        if done.isEmpty { return "nothing to gain" }
        return done.map { "\($0.member): \($0.before >> 20) → \($0.after >> 20) MiB" }.joined(separator: ", ")
    }
    job.scope = .cluster
    job.timeout = 4 * 3_600_000
    return [job]
}

/// Asks the members for their state where the configuration names an etcd; the default endpoints alone say nothing.
func etcdMonitor(_ metrics: MetricRegistry, _ config: @escaping @Sendable () -> SidecarConfig) -> EtcdMonitor {
    EtcdMonitor(registry: metrics) {
        let config = config()
        return config.etcdIsNamed || config.backup != nil ? config.etcd : nil
    }
}
