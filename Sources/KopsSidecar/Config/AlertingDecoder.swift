import Monitoring
import Platform

/// Reads `alerting:`, as Prometheus has it.
func decodeAlertingConfig(_ section: ConfigSection?) -> AlertingConfig? {
    guard let section else { return nil }
    var config = AlertingConfig()
    config.relabel = decodeRelabelConfigs(section.sections("alert_relabel_configs"))
    config.alertmanagers = section.sections("alertmanagers").map(decodeAlertmanagers)
    section.finish()
    return config
}

private func decodeAlertmanagers(_ section: ConfigSection) -> AlertmanagersConfig {
    var config = AlertmanagersConfig()
    config.scheme = section.choice("scheme", ["http", "https"]) ?? "http"
    config.pathPrefix = section.string("path_prefix") ?? ""
    if let timeout = section.duration("timeout") {
        config.timeout = timeout
        if timeout <= 0 { section.issues.add(section.node("timeout") ?? section.node, "timeout must be above zero") }
    }
    if let version = section.string("api_version"), version != "v2" {
        section.issues.add(
            section.node("api_version") ?? section.node,
            "api_version must be v2: Alertmanager has no other since version 0.27")
    }
    section.refuse("sigv4", "requests to Alertmanagers cannot be signed for AWS")
    config.http = decodeHTTPClientConfig(section)
    config.discovery = decodeDiscoveries(section)
    config.relabel = decodeRelabelConfigs(section.sections("relabel_configs"))
    checkStaticTargets(section)
    config.alertRelabel = decodeRelabelConfigs(section.sections("alert_relabel_configs"))
    section.finish()
    return config
}
