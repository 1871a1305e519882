import Kubernetes
import Logging
import Platform

/// The clients of clusters for discovery and cluster objects. A watch that fails is said once, and again when the reason changes.
func makeClusterHub(clock: WallClock, metrics: MetricRegistry, log: Logger) -> ClusterHub {
    var options = KubernetesClient.Options()
    options.userAgent = "kops-sidecar/\(productVersion)"
    let said = Lock<[String: KubernetesError.Kind]>([:])
    return ClusterHub(clock: clock, metrics: metrics, options: options) { what, error in
        let isNew = said.withLock { said in
            if said.count > 1000 { said.removeAll() }
            return said.updateValue(error.kind, forKey: what) != error.kind
        }
        if isNew {
            log.warning(
                "the Kubernetes API does not answer; what is known stays",
                metadata: ["watch": "\(what)", "error": "\(error)"])
        }
    }
}
