import MetricModel

/// `alerting:` of a Prometheus configuration: external Alertmanagers that are sent every alert.
package struct AlertingConfig: Sendable, Equatable {
    /// Change alerts on their way out.
    package var relabel: [RelabelConfig] = []
    package var alertmanagers: [AlertmanagersConfig] = []

    package init() {}
}

/// Alertmanagers that are found together. Times are milliseconds.
package struct AlertmanagersConfig: Sendable, Hashable {
    package var discovery: [DiscoveryConfig] = []
    package var relabel: [RelabelConfig] = []
    /// Change alerts for these Alertmanagers only, after those for all.
    package var alertRelabel: [RelabelConfig] = []
    package var scheme = "http"
    package var pathPrefix = ""
    package var timeout: Int64 = 10_000
    package var http = HTTPClientConfig()

    package init() {}

    /// Where to post; nil for a target that relabelling drops or that has no address.
    func address(_ target: [String: String], group: [String: String]) -> (url: String?, discovered: Labels) {
        var builder = LabelsBuilder()
        for (name, value) in group.merging(target, uniquingKeysWith: { _, own in own }) { builder.set(name, value) }
        builder.set("__scheme__", builder["__scheme__"] ?? scheme)
        let prefix = pathPrefix.split(separator: "/").map { "/" + $0 }.joined()
        builder.set("__alerts_path__", builder["__alerts_path__"] ?? prefix + "/api/v2/alerts")
        let discovered = builder.labels()
        guard let labels = relabelled(discovered), let address = labels["__address__"],
            !address.isEmpty, !address.contains("/")
        else { return (nil, discovered) }
        let path = labels["__alerts_path__"] ?? ""
        return ("\(labels["__scheme__"] ?? "http")://\(address)\(path.hasPrefix("/") ? "" : "/")\(path)", discovered)
    }

    private func relabelled(_ labels: Labels) -> Labels? { Monitoring.relabel(labels, with: relabel) }
}

/// The Alertmanagers that are sent to now, and the targets that relabelling dropped.
package struct AlertmanagersSnapshot: Sendable {
    package var active: [String] = []
    package var dropped: [String] = []
}
