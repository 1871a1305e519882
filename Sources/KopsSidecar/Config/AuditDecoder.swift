import ClusterOps
package import Monitoring

/// `audit:`
package struct AuditConfig: Sendable {
    package struct Sink: Sendable {
        package var url: String
        package var http: HTTPClientConfig
    }

    /// Milliseconds.
    package var retention: Int64 = 90 * 86_400_000
    package var loki: Sink?
    package var elasticsearch: Sink?
    package var index = "kops-audit"
}

/// `audit: {retention, loki: {url}, elasticsearch: {url, index}}`; beside the URLs, Prometheus' keys for authentication and TLS.
func decodeAuditConfig(_ section: ConfigSection?) -> AuditConfig {
    var config = AuditConfig()
    guard let section else { return config }
    if let retention = section.duration("retention"), let at = section.node("retention") {
        config.retention = retention
        if retention < 3_600_000 { section.issues.add(at, "audit.retention must be at least 1h") }
    }
    func sink(_ part: ConfigSection) -> AuditConfig.Sink? {
        let url = part.required("url", part.string("url"))
        let http = decodeHTTPClientConfig(part)
        guard var url else { return nil }
        while url.hasSuffix("/") { url.removeLast() }
        if !url.hasPrefix("http://"), !url.hasPrefix("https://"), let at = part.node("url") {
            part.issues.add(at, "\(at.path) must be a URL such as https://loki:3100")
        }
        return AuditConfig.Sink(url: url, http: http)
    }
    if let part = section.section("loki") {
        config.loki = sink(part)
        part.finish()
    }
    if let part = section.section("elasticsearch") {
        config.elasticsearch = sink(part)
        config.index = part.string("index") ?? config.index
        part.finish()
    }
    section.finish()
    return config
}
