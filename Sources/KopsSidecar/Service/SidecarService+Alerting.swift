import MetricModel
import Monitoring
import Platform

/// Where alerts of rules go: to the own receivers, and to external Alertmanagers where any are configured.
struct AlertOutlets: Sendable {
    let notifications: NotificationService
    let sender: AlertSender
    /// What every alert that leaves says beside its own labels.
    let external: Lock<Labels>

    func send(_ alerts: [PostedAlert]) {
        let alerts = withExternalLabels(alerts, external.withLock { $0 })
        notifications.post(alerts)
        sender.send(alerts)
    }
}

extension SidecarConfig {
    /// The notifications as configured. With none, alerts go to the log, or, where Alertmanagers are named, nowhere but to
    /// those; the API lists them all the same.
    func effectiveNotifications() throws -> NotificationsConfig {
        if let notifications { return notifications }
        var config = try NotificationsConfig.logOnly()
        if alerting?.alertmanagers.isEmpty == false {
            config.alertmanager.receivers = [ReceiverConfig(name: "log")]
        }
        return config
    }
}
