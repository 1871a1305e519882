package import MetricModel
import Platform

/// A target after relabelling: where to scrape and under which labels.
package struct Target: Sendable, Hashable {
    package var labels: Labels
    package var url: String
    package var scrapeInterval: Int64
    package var scrapeTimeout: Int64
    /// As discovery found it.
    package var discovered: Labels

    package static func == (a: Target, b: Target) -> Bool {
        a.labels == b.labels && a.url == b.url && a.scrapeInterval == b.scrapeInterval
            && a.scrapeTimeout == b.scrapeTimeout
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(labels)
        hasher.combine(url)
    }
}

/// What became of a discovered target.
enum TargetOutcome {
    case active(Target)
    case dropped(discovered: Labels)
    case invalid(String)
}

/// Gives a discovered target its default labels, relabels it and reads from it where to scrape.
func makeTarget(_ found: [String: String], group: [String: String], config: ScrapeConfig) -> TargetOutcome {
    var builder = LabelsBuilder()
    for (name, value) in group.merging(found, uniquingKeysWith: { _, own in own }) { builder.set(name, value) }
    func setDefault(_ name: String, _ value: String) {
        if builder[name] ?? "" == "" { builder.set(name, value) }
    }
    setDefault("job", config.jobName)
    setDefault("__scrape_interval__", formatDuration(config.scrapeInterval))
    setDefault("__scrape_timeout__", formatDuration(config.scrapeTimeout))
    setDefault("__metrics_path__", config.metricsPath)
    setDefault("__scheme__", config.scheme)
    for (name, values) in config.params {
        if let first = values.first { setDefault("__param_\(name)", first) }
    }
    let discovered = builder.labels()
    guard let relabeled = relabel(discovered, with: config.relabel) else { return .dropped(discovered: discovered) }
    guard let address = relabeled["__address__"], !address.isEmpty else { return .invalid("no address") }
    if address.contains("/") { return .invalid("\"\(address)\" is not a valid hostname") }
    guard let interval = parseDuration(relabeled["__scrape_interval__"] ?? ""), interval > 0 else {
        return .invalid("scrape interval \"\(relabeled["__scrape_interval__"] ?? "")\" is not a duration above zero")
    }
    guard let timeout = parseDuration(relabeled["__scrape_timeout__"] ?? ""), timeout > 0 else {
        return .invalid("scrape timeout \"\(relabeled["__scrape_timeout__"] ?? "")\" is not a duration above zero")
    }
    if timeout > interval {
        return .invalid("scrape timeout cannot be greater than scrape interval (\"\(timeout)\" > \"\(interval)\")")
    }
    var params = config.params
    var kept = LabelsBuilder()
    for (name, value) in relabeled.pairs {
        if name.hasPrefix("__param_") {
            let key = String(name.dropFirst(8))
            params[key] = [value] + (params[key] ?? []).dropFirst()
        }
        if !name.hasPrefix("__") { kept.set(name, value) }
    }
    if kept["instance"] ?? "" == "" { kept.set("instance", address) }
    let query = params.keys.sorted().flatMap { key in
        (params[key] ?? []).map { "\(queryEscaped(key))=\(queryEscaped($0))" }
    }
    var path = relabeled["__metrics_path__"] ?? ""
    if !path.hasPrefix("/") { path = "/" + path }
    let scheme = relabeled["__scheme__"] ?? "http"
    guard scheme == "http" || scheme == "https" else { return .invalid("scheme \"\(scheme)\" is not http or https") }
    let separator = path.contains("?") ? "&" : "?"
    let url = "\(scheme)://\(address)\(path)" + (query.isEmpty ? "" : separator + query.joined(separator: "&"))
    return .active(
        Target(
            labels: kept.labels(), url: url, scrapeInterval: interval, scrapeTimeout: timeout,
            discovered: discovered))
}

/// As Go writes a query: a space is a plus.
private func queryEscaped(_ text: String) -> String { percentEncoded(text, spaceAsPlus: true) }

/// What the API tells of a target's scrapes.
package struct TargetStatus: Sendable {
    package var target: Target
    package var pool: String
    /// `up`, `down` or `unknown`.
    package var health = "unknown"
    package var lastError = ""
    /// Milliseconds; 0 before the first scrape.
    package var lastScrape: Int64 = 0
    package var lastDuration: Double = 0
    package var metadata: [String: MetricMetadata] = [:]
}

/// All targets at a moment.
package struct TargetsSnapshot: Sendable {
    package var active: [TargetStatus] = []
    package var dropped: [(pool: String, discovered: Labels)] = []
    package var droppedCounts: [(pool: String, count: Int)] = []

    package init() {}
}
