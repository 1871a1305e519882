import ClusterOps
import Kubernetes
import Logging
import Monitoring
import Platform

/// The election in which this sidecar takes part, or none: then it leads always.
func makeLeadership(
    _ config: JobsConfig, kubeconfig: String, clock: WallClock, metrics: MetricRegistry, log: Logger
) -> Leadership {
    // Two processes of one machine are two candidates: after a restart the old one's lease runs out first.
    let identity = "\(config.identity ?? hostName())_\(String(UInt32.random(in: 0 ... .max), radix: 16))"
    guard config.usesLease else {
        return Leadership(identity: identity, store: nil, metrics: metrics, log: log)
    }
    var options = KubernetesClient.Options()
    options.userAgent = "kops-sidecar/\(productVersion)"
    options.attempts = 1
    options.requestsPerSecond = 0
    options.timeout = .milliseconds(config.timing.renewDeadline / 2)
    let settings = options
    // Of its own: a renewal must not wait behind anything else.
    let http = HTTPClient(name: "kops-lease")
    let lease = KubernetesLease(namespace: config.namespace, name: config.name, clock: clock) {
        let access = try await WorkerPool.blocking.run { try Kubeconfig.load(path: kubeconfig) }
        return KubernetesClient(access, http: http, clock: clock, options: settings)
    }
    return Leadership(identity: identity, timing: config.timing, store: lease, metrics: metrics, log: log)
}

/// Keeps notifications to the role: only one of several sidecars speaks, and each of them where nobody can know who leads.
func followLeadership(_ leadership: Leadership, _ notifications: NotificationService) async {
    for await _ in leadership.changes() { notifications.setLeader(leadership.mayNotify) }
}
