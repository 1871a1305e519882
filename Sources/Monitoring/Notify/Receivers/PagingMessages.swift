import MetricModel
import Platform

/// Services that page people. Bodies and limits are those that Alertmanager 0.28 was recorded to send.
extension MessageBuilder {
    private func optional(_ json: inout JSONText, _ name: String, _ value: String) {
        if !value.isEmpty { json.field(name, value) }
    }

    func pagerduty() throws -> [Outgoing] {
        let client = rendered("client")
        let details = { [self] (json: inout JSONText, detailed: Bool) in
            let own = config.map("details")
            let defaults: [(String, String)] = [
                ("firing", detailed ? Wording.list(data.firing) : "(left out: the event would be too large)"),
                ("num_firing", String(data.firing.count)), ("num_resolved", String(data.resolved.count)),
                ("resolved", detailed ? Wording.list(data.resolved) : ""),
            ]
            json.object { json in
                for key in Set(own.map(\.key) + defaults.map(\.0)).sorted() {
                    json.key(key)
                    if let value = own[key] {
                        writeTree(&json, value)
                    } else {
                        json.string(defaults.first { $0.0 == key }?.1 ?? "")
                    }
                }
            }
        }
        let summary = truncated(rendered("description"), scalars: 1024)
        func event(detailed: Bool) throws -> JSONText {
            var json = JSONText()
            if config.options["service_key"] != nil {
                let key = try text.render(secret("service_key"))
                json.object { json in
                    json.field("service_key", key)
                    json.field("incident_key", groupHash)
                    json.field("event_type", isFiring ? "trigger" : "resolve")
                    json.field("description", summary)
                    json.field("event_action", "")
                    json.key("payload")
                    json.raw("null")
                    if isFiring {
                        json.field("client", client)
                        json.field("client_url", rendered("client_url"))
                    }
                    json.key("details")
                    details(&json, detailed)
                }
                return json
            }
            let key = try text.render(secret("routing_key"))
            json.object { json in
                json.field("routing_key", key)
                json.field("dedup_key", groupHash)
                json.field("event_action", isFiring ? "trigger" : "resolve")
                json.object("payload") { json in
                    json.field("summary", summary)
                    json.field("source", config.text("source").isEmpty ? client : rendered("source"))
                    json.field("severity", rendered("severity"))
                    for name in ["class", "component", "group"] { optional(&json, name, rendered(name)) }
                    json.key("custom_details")
                    details(&json, detailed)
                }
                optional(&json, "client", client)
                optional(&json, "client_url", rendered("client_url"))
                for (name, keys) in [("images", ["href", "src", "alt"]), ("links", ["href", "text"])] {
                    let items = config.list(name)
                    if items.isEmpty { continue }
                    json.array(name, items) { json, item in
                        guard case .map(let entries) = item else { return }
                        json.object { json in
                            for key in keys { optional(&json, key, text.render(entries.text(key))) }
                        }
                    }
                }
            }
            return json
        }
        var json = try event(detailed: true)
        // The service refuses events above 512 KB: the page matters more than its details.
        if json.bytes.count > 512_000 { json = try event(detailed: false) }
        let old = config.options["service_key"] != nil
        let url = old ? "https://events.pagerduty.com/generic/2010-04-15/create_event.json" : config.text("url")
        return [.http(try request("POST", url, json: json), .status)]
    }

    func opsgenie() throws -> [Outgoing] {
        let url = base("api_url") + "v2/alerts"
        let key = try secret("api_key")
        func send(_ method: String, _ url: String, _ body: (inout JSONText) -> Void) throws -> Outgoing {
            var json = JSONText()
            json.object(body)
            var request = try request(method, url, json: json)
            request.headers.append(("Authorization", "GenieKey \(key)"))
            return .http(request, .status)
        }
        guard isFiring else {
            return [
                try send("POST", "\(url)/\(groupHash)/close?identifierType=alias") {
                    $0.field("source", rendered("source"))
                }
            ]
        }
        let message = truncated(rendered("message"), scalars: 130)
        let description = truncated(rendered("description"), scalars: 15_000)
        var details = data.commonLabels.pairs.map { ($0.name, $0.value) }
        for entry in config.map("details") {
            guard case .text(let value) = entry.value else { continue }
            details.removeAll { $0.0 == entry.key }
            details.append((entry.key, text.render(value)))
        }
        var out = [
            try send("POST", url) { json in
                json.field("alias", groupHash)
                json.field("message", message)
                optional(&json, "description", description)
                json.object("details") { json in
                    for (name, value) in details.sorted(by: { bytewisePrecedes($0.0, $1.0) }) {
                        json.field(name, value)
                    }
                }
                json.field("source", rendered("source"))
                responders(&json)
                let tags = rendered("tags").split(separator: ",").map(String.init)
                if !tags.isEmpty { json.array("tags", tags) { $0.string($1) } }
                optional(&json, "note", rendered("note"))
                optional(&json, "priority", rendered("priority"))
                optional(&json, "entity", rendered("entity"))
                let actions = rendered("actions").split(separator: ",").map(String.init)
                if !actions.isEmpty { json.array("actions", actions) { $0.string($1) } }
            }
        ]
        if config.bool("update_alerts") {
            for (name, value) in [("message", message), ("description", description)] {
                out.append(
                    try send("PUT", "\(url)/\(groupHash)/\(name)?identifierType=alias") { $0.field(name, value) })
            }
        }
        return out
    }

    private func responders(_ json: inout JSONText) {
        var all: [[(String, String)]] = []
        for case .map(let entries) in config.list("responders") {
            let type = text.render(entries.text("type"))
            let values = ["id", "name", "username"].map { ($0, text.render(entries.text($0))) }.filter { !$0.1.isEmpty }
            if values.isEmpty { continue }
            if type == "teams" {
                for name in (values.first { $0.0 == "name" }?.1 ?? "").split(separator: ",") {
                    all.append([("name", String(name)), ("type", "team")])
                }
            } else {
                all.append(values + [("type", type)])
            }
        }
        if all.isEmpty { return }
        json.array("responders", all) { json, responder in
            json.object { json in for (name, value) in responder { json.field(name, value) } }
        }
    }

    func victorops() throws -> [Outgoing] {
        var type = "RECOVERY"
        if isFiring {
            type = rendered("message_type").uppercased()
            if !["INFO", "WARNING", "CRITICAL"].contains(type) { type = "CRITICAL" }
        }
        var fields = [
            ("entity_display_name", rendered("entity_display_name")), ("entity_id", groupHash), ("message_type", type),
            ("monitoring_tool", rendered("monitoring_tool")),
            ("state_message", truncated(rendered("state_message"), scalars: 20_480)),
        ]
        for entry in config.map("custom_fields") {
            guard case .text(let value) = entry.value else { continue }
            fields.append((entry.key, text.render(value)))
        }
        let url = try "\(base("api_url"))\(secret("api_key"))/\(percentEncoded(rendered("routing_key")))"
        return try post(url) { json in
            for (name, value) in fields.sorted(by: { bytewisePrecedes($0.0, $1.0) }) { json.field(name, value) }
        }
    }

    func pushover() throws -> [Outgoing] {
        func trimmed(_ text: String) -> String {
            var text = Substring(text)
            while let c = text.first, c.isWhitespace { text = text.dropFirst() }
            while let c = text.last, c.isWhitespace { text = text.dropLast() }
            return String(text)
        }
        let html = config.bool("html")
        let whole = rendered("message", html: html)
        var message = trimmed(html ? truncatedHTML(whole, scalars: 1024) : truncated(whole, scalars: 1024))
        if message.isEmpty { message = "(no details)" }
        var fields = [
            ("token", try secret("token")), ("user", try secret("user_key")),
            ("title", truncated(rendered("title"), scalars: 250)), ("message", message),
            ("url", truncated(rendered("url"), scalars: 512)), ("url_title", rendered("url_title")),
            ("priority", rendered("priority")), ("retry", String(config.duration("retry") / 1000)),
            ("expire", String(config.duration("expire") / 1000)), ("device", rendered("device")),
            ("sound", rendered("sound")),
        ]
        if html { fields.append(("html", "1")) }
        if config.bool("monospace") { fields.append(("monospace", "1")) }
        if config.duration("ttl") > 0 { fields.append(("ttl", String(config.duration("ttl") / 1000))) }
        let query = fields.sorted { $0.0 < $1.0 }.map { "\($0.0)=\(percentEncoded($0.1, spaceAsPlus: true))" }
        var request = try request("POST", "https://api.pushover.net/1/messages.json")
        // The fields go in the body rather than in the address, which proxies write into their logs.
        request.headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        request.body = Array(query.joined(separator: "&").utf8)
        return [.http(request, .status)]
    }

    func wechat() throws -> [Outgoing] {
        let markdown = config.text("message_type") == "markdown"
        let message = truncated(rendered("message"), bytes: 2048)
        var json = JSONText()
        json.object { json in
            json.object("text") { if !markdown { $0.field("content", message) } else { $0.field("content", "") } }
            optional(&json, "touser", rendered("to_user"))
            optional(&json, "toparty", rendered("to_party"))
            optional(&json, "totag", rendered("to_tag"))
            optional(&json, "agentid", rendered("agent_id"))
            json.field("safe", "0")
            json.field("msgtype", config.text("message_type"))
            json.object("markdown") { $0.field("content", markdown ? message : "") }
        }
        let corp = percentEncoded(config.text("corp_id"))
        let token = try request(
            "GET", base("api_url") + "gettoken?corpid=\(corp)&corpsecret=\(percentEncoded(secret("api_secret")))")
        let send = try request("POST", base("api_url") + "message/send", json: json)
        return [
            .withToken(token) { value in
                var request = send
                request.url += "?access_token=\(percentEncoded(value))"
                return request
            }
        ]
    }

    func sns() throws -> [Outgoing] {
        let signing = config.map("sigv4")
        let region = signing.text("region")
        var fields = [("Action", "Publish"), ("Version", "2010-03-31")]
        let phone = rendered("phone_number")
        if !phone.isEmpty { fields.append(("PhoneNumber", phone)) }
        let topic = rendered("topic_arn")
        if !topic.isEmpty { fields.append(("TopicArn", topic)) }
        let target = rendered("target_arn")
        if !target.isEmpty { fields.append(("TargetArn", target)) }
        if topic.hasSuffix(".fifo") { fields.append(("MessageGroupId", groupHash)) }
        let subject = rendered("subject")
        if !subject.isEmpty, phone.isEmpty { fields.append(("Subject", truncated(subject, bytes: 100))) }
        let whole = rendered("message")
        let message = truncated(whole, bytes: phone.isEmpty ? 256 * 1024 : 1600)
        fields.append(("Message", message))
        var attributes: [(String, String)] = config.map("attributes").compactMap {
            if case .text(let value) = $0.value { ($0.key, text.render(value)) } else { nil }
        }
        if message != whole { attributes.append(("truncated", "true")) }
        for (i, attribute) in attributes.enumerated() {
            fields.append(("MessageAttributes.entry.\(i + 1).Name", attribute.0))
            fields.append(("MessageAttributes.entry.\(i + 1).Value.DataType", "String"))
            fields.append(("MessageAttributes.entry.\(i + 1).Value.StringValue", attribute.1))
        }
        let own = rendered("api_url")
        var request = try request("POST", own.isEmpty ? "https://sns.\(region).amazonaws.com/" : own)
        request.headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        request.body = Array(fields.map { "\($0.0)=\(percentEncoded($0.1))" }.joined(separator: "&").utf8)
        guard case .secret(let secretKey)? = signing["secret_key"], !signing.text("access_key").isEmpty else {
            throw OutgoingError("sigv4 needs access_key and secret_key")
        }
        request.awsSigV4 = "aws:amz:\(region):sns"
        request.basicAuth = (signing.text("access_key"), try readSecret(secretKey))
        return [.http(request, .status)]
    }
}
