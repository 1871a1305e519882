/// Bounds that a scrape must keep; 0 means none.
package struct ScrapeLimits: Sendable, Hashable {
    package var bodyBytes = 0
    package var samples = 0
    package var labels = 0
    package var labelNameLength = 0
    package var labelValueLength = 0
    package var targets = 0
    package var keptDroppedTargets = 0
    package init() {}
}

/// One entry of `scrape_configs`. Times are milliseconds.
package struct ScrapeConfig: Sendable, Hashable {
    package var jobName: String
    package var scrapeInterval: Int64 = 60_000
    package var scrapeTimeout: Int64 = 10_000
    package var metricsPath = "/metrics"
    package var scheme = "http"
    package var params: [String: [String]] = [:]
    package var honorLabels = false
    package var honorTimestamps = true
    package var trackTimestampsStaleness = false
    package var enableCompression = true
    /// Asks for compression from this machine's own address as well: where `enable_compression: true` is written out.
    package var compressesLoopback = false
    package var scrapeProtocols = [
        "OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4",
    ]
    package var fallbackProtocol: String?
    package var limits = ScrapeLimits()
    package var http = HTTPClientConfig()
    package var relabel: [RelabelConfig] = []
    package var metricRelabel: [RelabelConfig] = []
    package var discovery: [DiscoveryConfig] = []
    /// Where failed scrapes are written down.
    package var failureLog: String?

    package init(jobName: String) { self.jobName = jobName }
}
