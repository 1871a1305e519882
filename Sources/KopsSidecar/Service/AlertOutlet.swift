import MetricModel
import Monitoring

/// Alerts as they leave: with the external labels that they do not have themselves.
func withExternalLabels(_ alerts: [PostedAlert], _ external: Labels) -> [PostedAlert] {
    if external.isEmpty { return alerts }
    return alerts.map { alert in
        var alert = alert
        var builder = LabelsBuilder(external)
        for (name, value) in alert.labels.pairs { builder.set(name, value) }
        alert.labels = builder.labels()
        return alert
    }
}

extension NotificationsConfig {
    /// Where nothing is configured, alerts go to the log.
    static func logOnly() throws -> NotificationsConfig {
        var route = RouteConfig()
        route.receiver = "log"
        var receiver = ReceiverConfig(name: "log")
        receiver.integrations = [IntegrationConfig(.log, sendResolved: true)]
        var config = AlertmanagerConfig(route: route)
        config.receivers = [receiver]
        return NotificationsConfig(alertmanager: config, templates: try NotificationTemplates())
    }
}
