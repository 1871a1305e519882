import Glibc

/// The two variables by which a pod finds its API server.
package func podEnvironment() -> [String: String] {
    var out: [String: String] = [:]
    for name in ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"] {
        if let value = getenv(name) { out[name] = String(cString: value) }
    }
    return out
}
