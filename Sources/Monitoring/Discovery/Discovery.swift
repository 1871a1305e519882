package import Kubernetes
package import Logging
package import Platform

/// Targets with labels in common, as discovery finds them.
package struct TargetGroup: Sendable, Hashable {
    /// The labels of each target, `__address__` among them.
    package var targets: [[String: String]]
    package var labels: [String: String]
    /// What the group is called, so that an update takes the place of the one before.
    package var source: String

    package init(targets: [[String: String]], labels: [String: String], source: String) {
        self.targets = targets
        self.labels = labels
        self.source = source
    }
}

/// One discovery of a scrape configuration.
package enum DiscoveryConfig: Sendable, Hashable {
    case staticTargets([TargetGroup])
    case files(patterns: [String], refreshInterval: Int64)
    case http(url: String, refreshInterval: Int64, client: HTTPClientConfig)
    case dns(names: [String], type: String, port: Int, refreshInterval: Int64)
    case kubernetes(KubernetesDiscoveryConfig)
}

/// What discoveries need of the outside. `parseTargets` reads a file of target groups (YAML or JSON); it throws what is wrong.
package struct DiscoveryEnvironment: Sendable {
    package var client: HTTPClient
    package var clock: WallClock
    package var log: Logger
    package var metrics: MetricRegistry
    /// Nil: Kubernetes discovery finds nothing.
    package var clusters: ClusterHub?
    package var parseTargets: @Sendable ([UInt8], String) throws -> [TargetGroup]

    package init(
        client: HTTPClient, clock: WallClock, log: Logger, metrics: MetricRegistry, clusters: ClusterHub? = nil,
        parseTargets: @escaping @Sendable ([UInt8], String) throws -> [TargetGroup]
    ) {
        self.client = client
        self.clock = clock
        self.log = log
        self.metrics = metrics
        self.clusters = clusters
        self.parseTargets = parseTargets
    }
}

extension DiscoveryConfig {
    /// Finds targets until the task is cancelled; `update` gets all groups each time they change.
    func run(_ environment: DiscoveryEnvironment, update: @Sendable ([TargetGroup]) async -> Void) async {
        switch self {
        case .staticTargets(let groups): await update(groups)
        case .files(let patterns, let interval):
            await FileDiscovery(patterns: patterns, refreshInterval: interval).run(environment, update: update)
        case .http(let url, let interval, let client):
            await HTTPDiscovery(url: url, refreshInterval: interval, config: client).run(environment, update: update)
        case .dns(let names, let type, let port, let interval):
            await DNSDiscovery(names: names, type: type, port: port, refreshInterval: interval)
                .run(environment, update: update)
        case .kubernetes(let config): await KubernetesDiscovery(config: config).run(environment, update: update)
        }
    }
}
