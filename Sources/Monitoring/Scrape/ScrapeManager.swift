package import Logging
package import MetricModel
package import Platform

/// Scrapes every target of every configuration, each on its own beat. Thread-safe.
///
/// Each configuration is a pool with its discoveries; each target of a pool a task. A new configuration keeps the pools that
/// did not change, and within a pool a target that is found again goes on undisturbed.
package final class ScrapeManager: Sendable {
    private struct State {
        var configs: [ScrapeConfig] = []
        var pools: [String: ScrapePool] = [:]
        var running = false
    }

    private let environment: ScrapeEnvironment
    private let state = Lock(State())

    package init(_ environment: ScrapeEnvironment) { self.environment = environment }

    /// Takes a new set of configurations; job names are unique.
    package func apply(_ configs: [ScrapeConfig]) {
        let (stopped, started) = state.withLock { state -> ([ScrapePool], [ScrapePool]) in
            var pools: [String: ScrapePool] = [:]
            var started: [ScrapePool] = []
            for config in configs {
                if let pool = state.pools[config.jobName], pool.config == config {
                    pools[config.jobName] = pool
                } else {
                    let pool = ScrapePool(config, environment)
                    pools[config.jobName] = pool
                    started.append(pool)
                }
            }
            let stopped = state.pools.filter { pools[$0.key] !== $0.value }.map(\.value)
            state.configs = configs
            state.pools = pools
            return (stopped, state.running ? started : [])
        }
        for pool in stopped { pool.stop() }
        for pool in started { pool.start() }
    }

    /// Scrapes until the task is cancelled.
    package func run() async throws {
        for pool in state.withLock({ state in
            state.running = true
            return Array(state.pools.values)
        }) { pool.start() }
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
        let pools = state.withLock { state in
            state.running = false
            return Array(state.pools.values)
        }
        for pool in pools { pool.stop(endsSeries: false) }
        for pool in pools { await pool.finished() }
    }

    package func targets() -> TargetsSnapshot {
        let (configs, pools) = state.withLock { ($0.configs, $0.pools) }
        var snapshot = TargetsSnapshot()
        for config in configs {
            guard let pool = pools[config.jobName] else { continue }
            let (active, dropped, droppedCount) = pool.snapshot()
            snapshot.active += active
            snapshot.dropped += dropped.map { (config.jobName, $0) }
            snapshot.droppedCounts.append((config.jobName, droppedCount))
        }
        return snapshot
    }
}

/// What scraping needs of the outside.
package struct ScrapeEnvironment: Sendable {
    package var appender: any SampleAppender
    package var client: HTTPClient
    package var discovery: DiscoveryEnvironment
    package var clock: WallClock
    package var metrics: MetricRegistry
    package var log: Logger
    /// The sidecar's own metrics, for a target whose address is `self`.
    package var ownMetrics: @Sendable () -> [UInt8]
    package var userAgent: String
    /// Told of each failed scrape of a configuration that names a file for them.
    package var logFailure: @Sendable (_ file: String, _ job: String, _ target: String, _ problem: String) -> Void = {
        _, _, _, _ in
    }

    package init(
        appender: any SampleAppender, client: HTTPClient, discovery: DiscoveryEnvironment, clock: WallClock,
        metrics: MetricRegistry, log: Logger, ownMetrics: @escaping @Sendable () -> [UInt8], userAgent: String
    ) {
        self.appender = appender
        self.client = client
        self.discovery = discovery
        self.clock = clock
        self.metrics = metrics
        self.log = log
        self.ownMetrics = ownMetrics
        self.userAgent = userAgent
    }
}
