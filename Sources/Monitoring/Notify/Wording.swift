import MetricModel
import Platform

/// The default texts of notifications, made directly: what the templates named `KIND.default.FIELD` give where nobody has
/// defined them otherwise. Titles and lists of alerts read as Alertmanager's do, for people and filters know them.
enum Wording {
    static func title(_ data: NotificationData) -> String {
        let firing = data.firing.count
        var text = firing > 0 ? "[FIRING:\(firing)] " : "[RESOLVED] "
        text += ordered(data.groupLabels).map(\.value).joined(separator: " ") + " "
        if data.commonLabels.count > data.groupLabels.count {
            let grouped = Set(data.groupLabels.pairs.map(\.name))
            let rest = ordered(data.commonLabels).filter { !grouped.contains($0.name) }
            text += "(" + rest.map(\.value).joined(separator: " ") + ")"
        }
        return text
    }

    /// `alertname` first, then by name.
    static func ordered(_ labels: Labels) -> [(name: String, value: String)] {
        let pairs = labels.pairs
        return pairs.filter { $0.name == "alertname" } + pairs.filter { $0.name != "alertname" }
    }

    static func link(_ data: NotificationData) -> String {
        "\(data.externalURL)/#/alerts?receiver=\(percentEncoded(data.receiver, spaceAsPlus: true))"
    }

    static func list(_ alerts: [NotificationData.Alert]) -> String {
        var text = ""
        for alert in alerts {
            text += "Labels:\n"
            for pair in ordered(alert.labels) { text += " - \(pair.name) = \(pair.value)\n" }
            text += "Annotations:\n"
            for pair in ordered(alert.annotations) { text += " - \(pair.name) = \(pair.value)\n" }
            text += "Source: \(alert.generatorURL)\n"
        }
        return text
    }

    static func markdownList(_ alerts: [NotificationData.Alert]) -> String {
        var text = ""
        for alert in alerts {
            text += "\nLabels:\n"
            for pair in ordered(alert.labels) { text += "  - \(pair.name) = \(pair.value)\n" }
            text += "\nAnnotations:\n"
            for pair in ordered(alert.annotations) { text += "  - \(pair.name) = \(pair.value)\n" }
            text += "\nSource: \(alert.generatorURL)\n"
        }
        return text + "\n"
    }

    private static func annotations(_ data: NotificationData) -> String {
        ordered(data.commonAnnotations).map(\.value).joined(separator: " ")
    }

    /// A list of what fires and one of what has ended, with `around` between and after them as the channels differ.
    private static func sections(_ data: NotificationData, gap: String) -> String {
        var text = ""
        if !data.firing.isEmpty { text += "\(gap)Alerts Firing:\n\(list(data.firing))\(gap)" }
        text += gap
        if !data.resolved.isEmpty { text += "\(gap)Alerts Resolved:\n\(list(data.resolved))\(gap)" }
        return text + gap
    }

    private static func markdownSections(_ data: NotificationData) -> String {
        var text = "\n"
        if !data.firing.isEmpty { text += "\n# Alerts Firing:\n\(markdownList(data.firing))\n" }
        text += "\n"
        if !data.resolved.isEmpty { text += "\n# Alerts Resolved:\n\(markdownList(data.resolved))\n" }
        return text + "\n"
    }

    /// Jira's word for the worst severity; nil where none of the usual ones is there.
    private static func priority(_ alerts: [NotificationData.Alert]) -> String? {
        let severities = Set(alerts.compactMap { $0.labels["severity"] })
        let words = [("critical", "High"), ("warning", "Medium"), ("info", "Low")]
        return words.first { severities.contains($0.0) }?.1
    }

    /// The text of a default template; nil where there is none of that name.
    static func text(_ name: String, _ data: NotificationData) -> String? {
        switch name {
        case "__subject", "slack.default.title", "pagerduty.default.description", "opsgenie.default.message",
            "email.default.subject", "victorops.default.entity_display_name", "pushover.default.title",
            "sns.default.subject", "discord.default.title", "msteams.default.title", "msteams.default.summary",
            "msteamsv2.default.title", "rocketchat.default.title", "mattermost.default.title", "jira.default.summary",
            "ntfy.default.title":
            return title(data)
        case "slack.default.username", "__alertmanager", "pagerduty.default.client",
            "victorops.default.monitoring_tool", "rocketchat.default.alias", "mattermost.default.username":
            return "Alertmanager"
        case "slack.default.titlelink", "__alertmanagerURL", "pagerduty.default.clientURL", "opsgenie.default.source",
            "pushover.default.url", "rocketchat.default.titlelink", "mattermost.default.titlelink",
            "ntfy.default.click":
            return link(data)
        case "slack.default.fallback", "mattermost.default.fallback": return "\(title(data)) | \(link(data))"
        case "slack.default.callbackid", "slack.default.pretext", "slack.default.iconemoji", "slack.default.iconurl",
            "slack.default.text", "slack.default.footer", "discord.default.content", "wechat.default.to_user",
            "wechat.default.to_party", "wechat.default.to_tag", "wechat.default.agent_id",
            "rocketchat.default.emoji", "rocketchat.default.iconurl", "rocketchat.default.text", "__description":
            return ""
        // Mattermost knows no names of colours.
        case "mattermost.default.color": return data.firing.isEmpty ? "#2f7d32" : "#b3261e"
        case "slack.default.color": return data.firing.isEmpty ? "good" : "danger"
        case "discord.default.message", "telegram.default.message", "mattermost.default.text",
            "googlechat.default.message":
            var text = "\n"
            if !data.firing.isEmpty { text += "\nAlerts Firing:\n\(list(data.firing))\n" }
            text += "\n"
            if !data.resolved.isEmpty { text += "\nAlerts Resolved:\n\(list(data.resolved))\n" }
            return text + "\n"
        case "msteams.default.text", "msteamsv2.default.text", "jira.default.description":
            return markdownSections(data)
        case "opsgenie.default.description", "victorops.default.state_message", "wechat.default.message":
            var text = annotations(data) + "\n"
            if !data.firing.isEmpty { text += "Alerts Firing:\n\(list(data.firing))" }
            text += "\n"
            if !data.resolved.isEmpty { text += "Alerts Resolved:\n\(list(data.resolved))" }
            if name != "wechat.default.message" { return text }
            return "\(title(data))\n\(text)\nAlertmanagerUrl:\n\(link(data))"
        case "pushover.default.message", "sns.default.message", "ntfy.default.message", "matrix.default.message",
            "webex.default.message":
            var text = annotations(data) + "\n"
            if !data.firing.isEmpty { text += "\nAlerts Firing:\n\(list(data.firing))\n" }
            text += "\n"
            if !data.resolved.isEmpty { text += "\nAlerts Resolved:\n\(list(data.resolved))\n" }
            return text + "\n"
        case "jira.default.priority":
            return priority(data.firing) ?? priority(data.resolved) ?? ""
        case "email.default.html": return MailPage.html(data)
        case "matrix.default.html": return MailPage.fragment(data)
        default: return nil
        }
    }
}

/// For text in HTML, with the entities that Go's template package writes.
package func escapeHTML(_ text: String) -> String { htmlEscaped(text).replacing("+", with: "&#43;") }

/// The page of a mail: plain markup that every client shows, no images, nothing fetched from elsewhere.
enum MailPage {
    static func html(_ data: NotificationData) -> String {
        let color = data.firing.isEmpty ? "#2f7d32" : "#b3261e"
        let count = data.alerts.count
        let by = Wording.ordered(data.groupLabels).map { "\($0.name)=\($0.value)" }.joined(separator: " ")
        let title = escapeHTML(Wording.title(data))
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>\(title)</title></head>
            <body style="margin:0;padding:16px;background:#f3f4f6;color:#1f2328;font:14px/1.5 sans-serif">
            <div style="max-width:640px;margin:0 auto;background:#ffffff;border:1px solid #d8dee4">
            <div style="background:\(color);color:#ffffff;padding:16px;font-size:16px">\
            \(count) alert\(count == 1 ? "" : "s")\(by.isEmpty ? "" : " for \(escapeHTML(by))")</div>
            <div style="padding:16px">
            <p><a href="\(escapeHTML(Wording.link(data)))">Show them</a></p>
            \(fragment(data))
            </div></div>
            </body>
            </html>

            """
    }

    /// The lists alone, with only the markup that chats allow too.
    static func fragment(_ data: NotificationData) -> String {
        var out = ""
        for (heading, alerts) in [("Firing", data.firing), ("Resolved", data.resolved)] where !alerts.isEmpty {
            out += "<p><b>[\(alerts.count)] \(heading)</b></p>\n"
            for alert in alerts {
                out += "<p><b>Labels</b><br>\n"
                for p in Wording.ordered(alert.labels) { out += "\(escapeHTML(p.name)) = \(escapeHTML(p.value))<br>\n" }
                if !alert.annotations.isEmpty { out += "<b>Annotations</b><br>\n" }
                for p in Wording.ordered(alert.annotations) {
                    out += "\(escapeHTML(p.name)) = \(escapeHTML(p.value))<br>\n"
                }
                let web = alert.generatorURL.hasPrefix("http://") || alert.generatorURL.hasPrefix("https://")
                if web { out += "<a href=\"\(escapeHTML(alert.generatorURL))\">Source</a>" }
                out += "</p>\n"
            }
        }
        return out
    }
}
