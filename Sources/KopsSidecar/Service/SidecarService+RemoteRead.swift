import MetricModel
import Monitoring
import Platform
import TSDB

/// What queries and rules read: the store, joined with `remote_read`'s endpoints where the service starts with any. Without,
/// nothing stands between a query and the store.
struct QuerySource: Sendable {
    let source: any Queryable
    private let reads: RemoteReadSource?

    init(_ config: SidecarConfig, store: Store, client: HTTPClient, clock: WallClock, metrics: MetricRegistry) {
        guard !config.remoteRead.isEmpty else {
            source = store
            reads = nil
            return
        }
        let reads = RemoteReadSource(
            local: store, oldestLocal: { store.oldestTime() }, client: client, clock: clock, metrics: metrics,
            userAgent: "kops-sidecar/\(productVersion)")
        source = reads
        self.reads = reads
    }

    /// Takes over a configuration; a line where it takes effect at the next start only.
    func apply(_ config: SidecarConfig) -> String? {
        reads?.apply(config.remoteRead, external: config.global.externalLabels)
        return reads == nil && !config.remoteRead.isEmpty
            ? "remote_read: the service was started without any; restart it to begin" : nil
    }
}
