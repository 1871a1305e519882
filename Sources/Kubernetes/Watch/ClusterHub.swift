package import Platform

/// Clients and object caches that parts of the program share: one client for each cluster, and one watch for each cluster,
/// kind, namespace and selector, for as long as somebody holds its cache. Thread-safe.
package final class ClusterHub: Sendable {
    private struct Key: Hashable {
        var cluster: ClusterAccess
        var kind: String
        var namespace: String?
        var list: ListOptions
    }

    private struct Entry {
        weak var cache: AnyObject?
        /// Objects, whether a whole list was seen, and whether the server answers now; nil where the cache is gone.
        var look: @Sendable () -> (count: Int, synced: Bool, healthy: Bool)?
    }

    private struct State {
        var clients: [ClusterAccess: KubernetesClient] = [:]
        var caches: [Key: Entry] = [:]
    }

    private let http: HTTPClient
    private let clock: WallClock
    private let options: KubernetesClient.Options
    private let report: @Sendable (_ resource: String, _ server: String, KubernetesError) -> Void
    private let failures: Counter
    private let state = Lock(State())

    /// `report` gets every failure of a watch.
    package init(
        clock: WallClock, metrics: MetricRegistry, options: KubernetesClient.Options = KubernetesClient.Options(),
        report: @escaping @Sendable (_ resource: String, _ server: String, KubernetesError) -> Void = { _, _, _ in }
    ) {
        http = HTTPClient(name: "kops-kube")
        self.clock = clock
        self.options = options
        self.report = report
        failures = metrics.counter(
            "kops_kubernetes_watch_failures_total", "Requests of watches on the Kubernetes API that failed.")
        metrics.onCollect { [weak self] in self?.collect(&$0) }
    }

    package func client(_ access: ClusterAccess) -> KubernetesClient {
        let key = access.place
        return state.withLock { state in
            if let known = state.clients[key] { return known }
            let client = KubernetesClient(access, http: http, clock: clock, options: options)
            state.clients[key] = client
            return client
        }
    }

    /// The cache of these objects; the same for all who ask for the same.
    package func cache<T: KubernetesObject>(
        _ type: T.Type, _ access: ClusterAccess, namespace: String? = nil, _ list: ListOptions = ListOptions()
    ) -> ObjectCache<T> {
        let client = client(access)
        let key = Key(cluster: access.place, kind: T.resource.name, namespace: namespace, list: list)
        return state.withLock { state in
            if let known = state.caches[key]?.cache as? ObjectCache<T> { return known }
            let cache = ObjectCache<T>(client, namespace: namespace, list) { [report, failures] error in
                failures.add()
                report(T.resource.name, access.server, error)
            }
            state.caches = state.caches.filter { $0.value.cache != nil }
            state.caches[key] = Entry(cache: cache) { [weak cache] in
                cache.map { ($0.count, $0.isSynced, $0.failure == nil) }
            }
            return cache
        }
    }

    private func collect(_ writer: inout MetricWriter) {
        for (key, entry) in state.withLock({ $0.caches }) {
            guard let (count, synced, healthy) = entry.look() else { continue }
            var labels = [("server", key.cluster.server), ("resource", key.kind), ("namespace", key.namespace ?? "")]
            let selector = [key.list.labelSelector, key.list.fieldSelector].compactMap { $0 }.joined(separator: ";")
            if !selector.isEmpty { labels.append(("selector", selector)) }
            writer.write(
                "kops_kubernetes_watch_up", "Whether a watch has its objects and the API server answers it.",
                labels: labels, synced && healthy ? 1 : 0)
            writer.write(
                "kops_kubernetes_watch_objects", "Objects that a watch keeps.", labels: labels, Double(count))
        }
    }
}
