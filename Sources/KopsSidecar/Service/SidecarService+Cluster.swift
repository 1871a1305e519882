import Kubernetes
import Logging
import Platform

/// The clients of clusters for discovery and cluster objects. A server that is away is said once for all its watches, and again
/// every ten minutes; so is a kind that a server refuses.
func makeClusterHub(clock: WallClock, metrics: MetricRegistry, log: Logger) -> ClusterHub {
    var options = KubernetesClient.Options()
    options.userAgent = "kops-sidecar/\(productVersion)"
    let said = Lock<[String: Int64]>([:])
    return ClusterHub(clock: clock, metrics: metrics, options: options) { resource, server, error in
        let concernsAll = error.kind == .unreachable || error.kind == .unauthorized || error.kind == .server
        let key = concernsAll ? server : "\(resource) \(server) \(error.kind)"
        let now = monotonicNanoseconds()
        let isNew = said.withLock { said in
            if let before = said[key], now - before < 600_000_000_000 { return false }
            if said.count > 1000 { said.removeAll() }
            said[key] = now
            return true
        }
        if isNew {
            log.warning(
                "the Kubernetes API cannot be watched; what is known stays",
                metadata: ["server": "\(server)", "resource": "\(resource)", "error": "\(error)"])
        }
    }
}
