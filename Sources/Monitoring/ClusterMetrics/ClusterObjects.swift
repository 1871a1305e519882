import Kubernetes
import Logging
import MetricModel
import Platform

/// The objects of a cluster as series, under kube-state-metrics' names and labels, written into the store at every beat.
/// A kind that the server refuses or does not have is left out and told by `kops_kubernetes_watch_up`; while the server is
/// away the last known state goes on being written, and `up{job="kube-state-metrics"}` is 0.
final class ClusterObjects: Sendable {
    /// The series that one cluster may have: at 16 bytes each their bound of memory beside the objects themselves.
    static let seriesLimit = 1_000_000

    private enum Page: Hashable {
        case object(kind: Int, ObjectKey)
        case counters
        case own
    }

    /// One kind of object: its cache and what its objects become.
    private struct Source: Sendable {
        var resource: String
        var isSynced: @Sendable () -> Bool
        var failure: @Sendable () -> KubernetesError?
        /// Every object's key and version, and its samples made on demand.
        var visit: @Sendable ((ObjectKey, String, () -> [StateSample]) throws -> Void) throws -> Void
    }

    private struct Work {
        var book = SeriesBook<Page>(limit: ClusterObjects.seriesLimit)
        var counters = TroubleCounters()
    }

    private let sources: [Source]
    private let pods: ObjectCache<Pod>
    private let events: ObjectCache<Event>
    private let nodeCache: ObjectCache<Node>
    private let common: [(String, String)]
    private let appender: any SampleAppender
    private let work = Lock(Work())
    private let log: Logger
    private let up: Gauge
    private let series: Gauge
    private let written: Gauge
    private let refused: Gauge

    init(
        _ access: ClusterAccess, _ hub: ClusterHub, appender: any SampleAppender, metrics: MetricRegistry, log: Logger
    ) {
        let instance = String(access.server.drop { $0 != ":" }.drop { $0 == ":" || $0 == "/" })
        let common = [("job", "kube-state-metrics"), ("instance", instance)]
        func source<T: KubernetesObject>(
            _ cache: ObjectCache<T>, _ make: @escaping @Sendable (T, [(String, String)]) -> [StateSample]
        ) -> Source {
            Source(
                resource: T.resource.name, isSynced: { cache.isSynced }, failure: { cache.failure },
                visit: { body in
                    for (key, object) in cache.objects {
                        let version = "\(object.metadata.uid ?? "")/\(object.metadata.resourceVersion ?? "")"
                        try body(key, version) { make(object, common) }
                    }
                })
        }
        pods = hub.cache(Pod.self, access)
        // Only what is counted: events are many.
        events = hub.cache(Event.self, access, ListOptions(fieldSelector: "involvedObject.kind=Pod,type=Warning"))
        nodeCache = hub.cache(Node.self, access)
        sources = [
            source(pods, podSamples),
            source(nodeCache, nodeSamples),
            source(hub.cache(Namespace.self, access), namespaceSamples),
            source(hub.cache(Deployment.self, access), deploymentSamples),
            source(hub.cache(ReplicaSet.self, access), replicaSetSamples),
            source(hub.cache(StatefulSet.self, access), statefulSetSamples),
            source(hub.cache(DaemonSet.self, access), daemonSetSamples),
            source(hub.cache(Job.self, access), jobSamples),
            source(hub.cache(CronJob.self, access), cronJobSamples),
            source(hub.cache(PodDisruptionBudget.self, access), budgetSamples),
            source(hub.cache(PersistentVolumeClaim.self, access), claimSamples),
            source(hub.cache(PersistentVolume.self, access), volumeSamples),
            source(hub.cache(ResourceQuota.self, access), quotaSamples),
        ]
        self.common = common
        self.appender = appender
        self.log = log
        up = metrics.gauge(
            "kops_cluster_objects_up", "Whether all watches on cluster objects have their objects and are answered.")
        series = metrics.gauge("kops_cluster_objects_series", "Series that cluster objects have now.")
        written = metrics.gauge(
            "kops_cluster_objects_last_write_timestamp_seconds", "When cluster objects were last written to the store.")
        refused = metrics.gauge(
            "kops_cluster_objects_refused_series", "Series of cluster objects that found no room at the last write.")
    }

    /// Every node that is known, by name.
    func nodes() -> [Node] { nodeCache.objects.values.sorted { $0.name < $1.name } }

    /// One beat. Runs on a worker.
    func write(at time: Int64) throws {
        try work.withLock { work in
            let before = work.book.refused
            var healthy = true
            for (kind, source) in sources.enumerated() {
                healthy = healthy && source.isSynced() && source.failure() == nil
                // Before the first whole list nothing is known of what is there, and what is gone.
                guard source.isSynced() else { continue }
                try refresh(kind, source, &work, time)
            }
            if pods.isSynced, events.isSynced {
                work.counters.look(pods.objects, events.objects)
                let namespaces = Set(pods.objects.keys.map(\.namespace))
                try work.book.set(
                    .counters, version: "", counterSamples(work.counters, namespaces), at: time, appender: appender)
            }
            var own = SampleMaker(common)
            own.add("up", flag: healthy)
            try work.book.set(.own, version: "", own.take(), at: time, appender: appender)
            // The store lets go of series that were idle: with a beat they are not, but a clock may jump.
            if !(try work.book.write(at: time, appender: appender)).isEmpty {
                log.debug("series of cluster objects are made anew")
            }
            up.set(healthy ? 1 : 0)
            series.set(Double(work.book.seriesCount))
            refused.set(Double(work.book.refused - before))
            written.set(Double(time) / 1000)
        }
    }

    private func refresh(_ kind: Int, _ source: Source, _ work: inout Work, _ time: Int64) throws {
        var gone: Set<ObjectKey> = []
        for case .object(kind, let key) in work.book.keys { gone.insert(key) }
        try source.visit { key, version, make in
            gone.remove(key)
            if work.book.version(.object(kind: kind, key)) != version {
                try work.book.set(
                    .object(kind: kind, key), version: version, make(), at: time, appender: appender)
            }
        }
        for key in gone { work.book.remove(.object(kind: kind, key), at: time) }
    }

    /// Counters begin at zero, so that `increase` sees the first trouble.
    private func counterSamples(_ counters: TroubleCounters, _ namespaces: Set<String>) -> [StateSample] {
        var out = SampleMaker(common)
        for namespace in namespaces.union(counters.counts.keys.map(\.namespace)) {
            for trouble in TroubleCounters.Trouble.allCases {
                let place = TroubleCounters.Place(trouble: trouble, namespace: namespace)
                out.add(
                    "kops_cluster_pod_troubles_total", TroubleCounters.labels(place),
                    Double(counters.counts[place] ?? 0))
            }
        }
        return out.take()
    }

    /// The end: every series ends.
    func end(at time: Int64) {
        work.withLock { work in
            work.book.removeAll(at: time)
            try? work.book.writeEnds(appender: appender)
        }
        up.set(0)
    }
}
