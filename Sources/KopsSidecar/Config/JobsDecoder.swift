package import ClusterOps

/// `jobs:`
package struct JobsConfig: Sendable, Equatable {
    /// Whether several sidecars agree by a lease on the one that runs the cluster's jobs; otherwise this one does.
    package var usesLease = false
    package var namespace = "kube-system"
    package var name = "kops-sidecar"
    /// This sidecar's name in the lease; the machine's where nil.
    package var identity: String?
    package var timing = LeaderElector.Timing()
}

/// `jobs: {leader: lease, lease: {namespace, name, identity, duration, renew_deadline, retry_period}}`
func decodeJobsConfig(_ section: ConfigSection?) -> JobsConfig {
    var config = JobsConfig()
    guard let section else { return config }
    config.usesLease = section.choice("leader", ["lease", "off"]) == "lease"
    if let lease = section.section("lease") {
        config.namespace = lease.string("namespace") ?? config.namespace
        config.name = lease.string("name") ?? config.name
        config.identity = lease.string("identity")
        config.timing.lease = lease.duration("duration") ?? config.timing.lease
        config.timing.renewDeadline = lease.duration("renew_deadline") ?? config.timing.renewDeadline
        config.timing.retryPeriod = lease.duration("retry_period") ?? config.timing.retryPeriod
        let timing = config.timing
        // Clocks may run at different rates by the ratio of the first two; a renewal needs time for more than one try.
        if timing.lease < 1000 || timing.lease % 1000 != 0 {
            lease.issues.add(lease.node("duration") ?? lease.node, "\(lease.node.path).duration must be whole seconds")
        } else if timing.renewDeadline >= timing.lease || timing.retryPeriod * 2 > timing.renewDeadline
            || timing.retryPeriod < 100
        {
            lease.issues.add(
                lease.node,
                "\(lease.node.path): renew_deadline must be less than duration, and retry_period at most half of renew_deadline"
            )
        }
        if !config.usesLease { lease.issues.add(lease.node, "\(lease.node.path) needs jobs.leader: lease") }
        lease.finish()
    }
    section.finish()
    return config
}
