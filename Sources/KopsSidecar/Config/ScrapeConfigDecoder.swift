import MetricModel
import Monitoring

/// Limits and protocols that `global` sets for all scrape configurations.
struct ScrapeDefaults {
    var interval: Int64 = 60_000
    var timeout: Int64 = 10_000
    var limits = ScrapeLimits()
    var protocols: [String]?
    var failureLog: String?
    /// `metric_name_validation_scheme`
    var nameScheme: String?

    init(_ global: ConfigSection?, _ config: GlobalConfig) {
        interval = config.scrapeInterval
        timeout = config.scrapeTimeout
        guard let global else { return }
        limits = decodeLimits(global, ScrapeLimits())
        protocols = decodeProtocols(global)
        nameScheme = global.string("metric_name_validation_scheme")
        failureLog = decodePath(global, "scrape_failure_log_file")
    }
}

/// A file's path, relative to the configuration file; nil where it is not given or empty.
func decodePath(_ section: ConfigSection, _ key: String) -> String? {
    guard let path = section.string(key), !path.isEmpty else { return nil }
    return resolvePath(path, relativeTo: section.node.file)
}

private func decodeLimits(_ section: ConfigSection, _ defaults: ScrapeLimits) -> ScrapeLimits {
    var limits = defaults
    func number(_ key: String, _ value: inout Int) { value = section.int(key, range: 0...Int.max) ?? value }
    limits.bodyBytes = section.byteSize("body_size_limit").map { Int($0) } ?? limits.bodyBytes
    number("sample_limit", &limits.samples)
    number("label_limit", &limits.labels)
    number("label_name_length_limit", &limits.labelNameLength)
    number("label_value_length_limit", &limits.labelValueLength)
    number("target_limit", &limits.targets)
    number("keep_dropped_targets", &limits.keptDroppedTargets)
    return limits
}

private let knownProtocols = [
    "OpenMetricsText0.0.1", "OpenMetricsText1.0.0", "PrometheusText0.0.4", "PrometheusText1.0.0", "PrometheusProto",
]

private func decodeProtocols(_ section: ConfigSection) -> [String]? {
    guard let names = section.strings("scrape_protocols"), let node = section.node("scrape_protocols") else {
        return nil
    }
    if names.isEmpty { section.issues.add(node, "\(node.path) cannot be empty") }
    for name in names where !knownProtocols.contains(name) {
        section.issues.add(
            node, "\(node.path): \"\(name)\" is not one of \(knownProtocols.joined(separator: ", "))")
    }
    if Set(names).count != names.count { section.issues.add(node, "\(node.path) names a protocol twice") }
    return names
}

/// Reads `scrape_configs` and the files of `scrape_config_files`.
func decodeScrapeConfigs(_ sections: [ConfigSection], _ defaults: ScrapeDefaults) -> [ScrapeConfig] {
    var names: Set<String> = []
    return sections.compactMap { section in
        let config = decodeScrapeConfig(section, defaults)
        if !names.insert(config.jobName).inserted {
            section.issues.add(
                section.node("job_name") ?? section.node,
                "found multiple scrape configs with job name \"\(config.jobName)\"")
        }
        return config
    }
}

private func decodeScrapeConfig(_ section: ConfigSection, _ defaults: ScrapeDefaults) -> ScrapeConfig {
    let name = section.required("job_name", section.string("job_name")) ?? ""
    if name.isEmpty, let node = section.node("job_name") { section.issues.add(node, "\(node.path) is empty") }
    var config = ScrapeConfig(jobName: name)
    config.scrapeInterval = section.duration("scrape_interval") ?? defaults.interval
    if config.scrapeInterval <= 0 {
        section.issues.add(section.node, "\(section.node.path).scrape_interval must be above zero")
        config.scrapeInterval = defaults.interval
    }
    let timeout = section.duration("scrape_timeout")
    config.scrapeTimeout = timeout ?? min(defaults.timeout, config.scrapeInterval)
    if let timeout, timeout > config.scrapeInterval, let node = section.node("scrape_timeout") {
        section.issues.add(
            node, "scrape timeout greater than scrape interval for scrape config with job name \"\(name)\"")
    }
    config.metricsPath = section.string("metrics_path") ?? "/metrics"
    config.scheme = section.choice("scheme", ["http", "https"]) ?? "http"
    if let params = section.section("params") {
        for key in params.keys { config.params[key] = params.strings(key) ?? [] }
    }
    config.honorLabels = section.bool("honor_labels") ?? false
    config.honorTimestamps = section.bool("honor_timestamps") ?? true
    config.trackTimestampsStaleness = section.bool("track_timestamps_staleness") ?? false
    let compression = section.bool("enable_compression")
    config.enableCompression = compression ?? true
    config.compressesLoopback = compression == true
    if let protocols = decodeProtocols(section) ?? defaults.protocols { config.scrapeProtocols = protocols }
    config.fallbackProtocol = section.choice("fallback_scrape_protocol", knownProtocols)
    config.limits = decodeLimits(section, defaults.limits)
    config.http = decodeHTTPClientConfig(section)
    config.relabel = decodeRelabelConfigs(section.sections("relabel_configs"))
    config.metricRelabel = decodeRelabelConfigs(section.sections("metric_relabel_configs"))
    config.discovery = decodeDiscoveries(section)
    checkStaticTargets(section)
    // Of native histograms: the classic buckets are what is scraped, so these change nothing.
    _ = section.bool("scrape_classic_histograms")
    _ = section.bool("always_scrape_classic_histograms")
    _ = section.bool("convert_classic_histograms_to_nhcb")
    _ = section.bool("scrape_native_histograms")
    _ = section.int("native_histogram_bucket_limit")
    _ = section.double("native_histogram_min_bucket_factor")
    checkNameSchemes(section, defaults.nameScheme)
    config.failureLog = decodePath(section, "scrape_failure_log_file") ?? defaults.failureLog
    section.finish()
    return config
}

/// `metric_name_validation_scheme` and `metric_name_escaping_scheme`, which change nothing of what is stored.
func checkNameSchemes(_ section: ConfigSection, _ inherited: String? = nil) {
    let scheme = section.choice("metric_name_validation_scheme", ["utf8", "legacy"]) ?? inherited
    let escaping = section.choice("metric_name_escaping_scheme", ["allow-utf-8", "underscores", "dots", "values"])
    if scheme == "legacy", escaping == "allow-utf-8", let at = section.node("metric_name_escaping_scheme") {
        section.issues.add(at, "utf8 metric names requested but validation scheme is not set to UTF8")
    }
}
