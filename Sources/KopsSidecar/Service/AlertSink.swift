import Logging
import MetricModel
package import Monitoring

/// Where rules' alerts go.
package protocol AlertSink: Sendable {
    func post(_ alerts: [PostedAlert])
}

/// Writes alerts to the log; what happens where no notifications are configured.
struct LogSink: AlertSink {
    let log: Logger

    func post(_ alerts: [PostedAlert]) {
        for alert in alerts {
            log.info("alert", metadata: ["labels": "\(alert.labels)", "ends": "\(alert.endsAt)"])
        }
    }
}
