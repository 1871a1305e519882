/// `cluster.events:`
package struct ClusterEventsConfig: Sendable, Equatable {
    /// Milliseconds.
    package var retention: Int64 = 7 * 86_400_000
    package var maxEvents = 100_000
    /// Whether they go where `audit:` sends its entries.
    package var ship = false
}

/// `{enabled: true, retention: 7d, max_events: 100000, ship: false}`; nil where events are not kept.
func decodeClusterEvents(_ section: ConfigSection?, _ isNull: Bool) -> ClusterEventsConfig? {
    var config = ClusterEventsConfig()
    guard let section else { return isNull ? config : nil }
    let enabled = section.bool("enabled") ?? true
    if let retention = section.duration("retention"), let at = section.node("retention") {
        config.retention = retention
        if retention < 3_600_000 { section.issues.add(at, "\(at.path) must be at least 1h") }
    }
    config.maxEvents = section.int("max_events", range: 100...10_000_000) ?? config.maxEvents
    config.ship = section.bool("ship") ?? false
    section.finish()
    return enabled ? config : nil
}

/// Events that are to be sent on need somewhere to go.
func checkShippedEvents(_ root: ConfigSection, _ cluster: ClusterConfig, _ audit: AuditConfig) {
    guard cluster.events?.ship == true, audit.loki == nil, audit.elasticsearch == nil else { return }
    let at = root.section("cluster")?.section("events")?.node("ship") ?? root.node
    root.issues.add(at, "cluster.events.ship needs audit.loki or audit.elasticsearch, which say where to")
}
