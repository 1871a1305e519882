import ClusterOps
import Platform

func clusterEventOptions(_ config: SidecarConfig, client: HTTPClient) -> ClusterEventOptions? {
    guard let events = config.cluster.events else { return nil }
    var options = ClusterEventOptions(kubeconfig: config.cluster.kubeconfig, origin: logOrigin(config))
    options.retention = events.retention
    options.maxEvents = events.maxEvents
    if events.ship { options.sinks = makeLogSinks(config, kind: "event", client: client) }
    return options
}
