import Logging
import MetricModel
import Monitoring
import Platform
import TSDB

/// Sending on what the store takes: the log is the store's, the metadata the scraper's.
func makeRemoteWrite(
    _ store: Store, path: String, client: HTTPClient, scraper: ScrapeManager, clock: WallClock, metrics: MetricRegistry,
    log: Logger
) -> RemoteWriteManager {
    RemoteWriteManager(
        RemoteWriteEnvironment(
            log: store, client: client, clock: clock, metrics: metrics, logger: log,
            directory: FileSystem.resolve(Store.keptLogs, in: path),
            metadata: {
                var all: [String: MetricMetadata] = [:]
                for status in scraper.targets().active {
                    all.merge(status.metadata) { first, _ in first }
                }
                return all
            },
            userAgent: "kops-sidecar/\(productVersion)"))
}

extension RemoteWriteManager {
    func apply(_ config: SidecarConfig) {
        apply(
            config.writeDestinations, external: config.global.externalLabels,
            maxBacklog: config.storage.remoteWriteBacklog)
    }
}
