import MetricModel
import Platform

/// Makes what is sent of one notification for one integration. One use, one thread.
final class MessageBuilder {
    let delivery: Delivery
    let config: IntegrationConfig
    let data: NotificationData
    let text: NotificationText

    init(_ delivery: Delivery, externalURL: String, engine: NotificationText.Engine?) {
        self.delivery = delivery
        config = delivery.integration
        data = NotificationData(delivery, externalURL: externalURL)
        text = NotificationText(data, engine: engine)
    }

    /// An identity of the group that receivers use to recognise it.
    var groupHash: String { hexadecimal(Digest.hash(.sha256, Array(delivery.key.group.utf8))) }
    var isFiring: Bool { !data.firing.isEmpty }

    func rendered(_ key: String, html: Bool = false) -> String { text.render(config.text(key), html: html) }

    func secret(_ key: String) throws -> String {
        guard let value = config.secret(key) else { throw OutgoingError("\(key) is not set") }
        return try readSecret(value)
    }

    func request(_ method: String = "POST", _ url: String, json: JSONText? = nil) throws -> HTTPRequest {
        var request = HTTPRequest(method, url)
        request.headers = [("User-Agent", "kops-sidecar")]
        if let json {
            request.headers.append(("Content-Type", "application/json"))
            request.body = json.bytes
        }
        let timeout = config.duration("timeout")
        request.timeout = .milliseconds(timeout > 0 ? timeout : 60_000)
        request.maxBodyBytes = 1 << 20
        try config.http.apply(to: &request)
        return request
    }

    func post(_ url: String, _ check: HTTPCheck = .status, _ body: (inout JSONText) -> Void) throws -> [Outgoing] {
        var json = JSONText()
        json.object(body)
        return [.http(try request("POST", url, json: json), check)]
    }

    /// The base with a slash at its end.
    func base(_ key: String) -> String {
        let url = config.text(key)
        return url.hasSuffix("/") ? url : url + "/"
    }

    func messages() throws -> [Outgoing] {
        switch config.kind {
        case .webhook: try webhook()
        case .incidentio: try incidentio()
        case .alertmanager: try alertmanager()
        case .email: [.mail(try mail())]
        case .slack: try slack()
        case .discord: try discord()
        case .telegram: try telegram()
        case .msteams: try teams()
        case .msteamsv2: try teamsWorkflow()
        case .webex: try webex()
        case .rocketchat: try rocketchat()
        case .mattermost: try mattermost()
        case .googlechat: try googlechat()
        case .matrix: try matrix()
        case .ntfy: try ntfy()
        case .pagerduty: try pagerduty()
        case .opsgenie: try opsgenie()
        case .victorops: try victorops()
        case .pushover: try pushover()
        case .wechat: try wechat()
        case .sns: try sns()
        case .log: [.log(level: config.text("level"), logLine())]
        case .exec:
            [
                .exec(
                    command: config.text("command"), arguments: texts("args"),
                    environment: config.map("env").map { entry in
                        if case .text(let value) = entry.value {
                            (entry.key, text.render(value))
                        } else {
                            (entry.key, "")
                        }
                    }, input: data.webhookBody(), timeout: config.duration("timeout"))
            ]
        case .jira: try jira()
        }
    }

    func texts(_ key: String) -> [String] {
        config.list(key).compactMap { if case .text(let t) = $0 { text.render(t) } else { nil } }
    }

    private func logLine() -> String {
        let own = rendered("message")
        if !own.isEmpty { return own }
        let names = data.alerts.prefix(10).map { "\($0.resolved ? "resolved" : "firing") \($0.labels)" }
        let more = data.alerts.count > 10 ? " and \(data.alerts.count - 10) more" : ""
        return "\(Wording.title(data)) receiver=\(data.receiver): " + names.joined(separator: ", ") + more
    }

    // MARK: machines

    private func webhook() throws -> [Outgoing] {
        var request = try request("POST", secret("url"))
        request.headers.append(("Content-Type", "application/json"))
        if !config.map("payload").isEmpty {
            var json = JSONText()
            writeTree(&json, .map(config.map("payload")))
            request.body = json.bytes
        } else {
            request.body = data.limited(to: config.int("max_alerts")).webhookBody()
        }
        if config.options["allow_private_addresses"] == .bool(false) {
            request.allowAddress = { !isPrivateAddress($0) }
        }
        return [.http(request, .status)]
    }

    func writeTree(_ json: inout JSONText, _ value: OptionValue) {
        switch value {
        case .text(let t): json.string(text.render(t))
        case .secret: json.string("")
        case .bool(let b): json.raw(b ? "true" : "false")
        case .int(let n): json.raw(String(n))
        case .duration(let d): json.raw(String(d / 1000))
        case .list(let items): json.array(items) { writeTree(&$0, $1) }
        case .map(let entries):
            json.object { json in
                for entry in entries {
                    json.key(entry.key)
                    writeTree(&json, entry.value)
                }
            }
        }
    }

    private func incidentio() throws -> [Outgoing] {
        var request = try request("POST", secret("url"))
        request.headers.append(("Content-Type", "application/json"))
        if config.options["alert_source_token"] != nil {
            request.headers.append(("Authorization", "Bearer \(try secret("alert_source_token"))"))
        }
        request.body = data.limited(to: config.int("max_alerts")).webhookBody()
        return [.http(request, .status)]
    }

    /// Hands the alerts themselves to an existing Alertmanager.
    private func alertmanager() throws -> [Outgoing] {
        var url = try secret("url")
        while url.hasSuffix("/") { url.removeLast() }
        var json = JSONText()
        json.array(data.alerts) { json, alert in
            json.object { json in
                json.labels("labels", alert.labels)
                json.labels("annotations", alert.annotations)
                json.field("startsAt", formatRFC3339(alert.startsAt))
                if alert.resolved { json.field("endsAt", formatRFC3339(alert.endsAt)) }
                json.field("generatorURL", alert.generatorURL)
            }
        }
        return [.http(try request("POST", url + "/api/v2/alerts", json: json), .status)]
    }
}

/// Loopback, private, link-local and unspecified addresses, of both families.
package func isPrivateAddress(_ address: String) -> Bool {
    var text = address.lowercased()
    if text.hasPrefix("::ffff:") { text = String(text.dropFirst(7)) }
    let parts = text.split(separator: ".").compactMap { Int($0) }
    if parts.count == 4 {
        switch (parts[0], parts[1]) {
        case (0, _), (10, _), (127, _), (169, 254), (192, 168): return true
        case (172, 16...31), (100, 64...127): return true
        default: return false
        }
    }
    return text == "::" || text == "::1" || text.hasPrefix("fe8") || text.hasPrefix("fe9") || text.hasPrefix("fea")
        || text.hasPrefix("feb") || text.hasPrefix("fc") || text.hasPrefix("fd")
}
