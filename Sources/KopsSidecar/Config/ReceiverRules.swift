import Monitoring
import Platform

/// What is wrong with an integration beyond the types of its keys: Alertmanager refuses the same.
func checkIntegration(_ kind: IntegrationKind, _ section: ConfigSection, _ config: IntegrationConfig) {
    func refuse(_ key: String?, _ message: String) {
        section.issues.add(key.flatMap { section.node($0) } ?? section.node, "\(section.node.path): \(message)")
    }
    for group in requiredOptions(kind) where !group.contains(where: { isSet(config.options[$0]) }) {
        refuse(nil, "missing \(group.joined(separator: " or ")) in \(kind.rawValue) config")
    }
    for (key, value) in config.options.sorted(by: { $0.key < $1.key }) {
        guard addressOptions.contains(key), section.has(key) else { continue }
        switch value {
        case .text(let text), .secret(.text(let text)):
            if kind != .sns, !text.contains("{{"), let problem = addressProblem(text) {
                refuse(key, "\(key): \(problem)")
            }
        default: break
        }
    }
    switch kind {
    case .email: checkMail(section, config, refuse)
    case .slack, .rocketchat, .mattermost: checkAttachments(kind, config, refuse)
    case .opsgenie: checkResponders(config, refuse)
    case .telegram:
        if !["", "Markdown", "MarkdownV2", "HTML"].contains(config.text("parse_mode")) {
            refuse("parse_mode", "parse_mode must be Markdown, MarkdownV2, HTML or empty")
        }
        if case .secret(.text(let chat))? = config.options["chat_id"] {
            if Int64(chat) == nil { refuse("chat_id", "chat_id must be a whole number, not \"\(chat)\"") }
            if Int64(chat) == 0 { refuse("chat_id", "missing chat_id in telegram config") }
        }
    case .webex:
        if config.http.authorization == nil || !section.has("http_config") {
            refuse(nil, "missing http_config.authorization in webex config")
        }
    case .pushover:
        if config.bool("html"), config.bool("monospace") {
            refuse("monospace", "at most one of monospace and html may be true")
        }
    case .victorops:
        let reserved = [
            "routing_key", "message_type", "state_message", "entity_display_name", "monitoring_tool", "entity_id",
            "entity_state",
        ]
        for entry in config.map("custom_fields") where reserved.contains(entry.key) {
            refuse("custom_fields", "custom_fields: \(entry.key) is a field of its own and cannot be a custom one")
        }
    case .wechat:
        if !["text", "markdown"].contains(config.text("message_type")) {
            refuse("message_type", "message_type must be text or markdown")
        }
    case .matrix:
        if config.text("room_id").hasPrefix("#") {
            refuse("room_id", "room_id is the room's own identifier, which begins with !, not an alias")
        }
    case .jira:
        if !["auto", "cloud", "datacenter"].contains(config.text("api_type")) {
            refuse("api_type", "api_type must be auto, cloud or datacenter")
        }
        for key in ["summary", "description"] where section.node(key)?.mapping != nil {
            for entry in config.map(key) where !["template", "enable_update"].contains(entry.key) {
                refuse(key, "\(key) has template and enable_update, not \(entry.key)")
            }
        }
    case .sns:
        if ["topic_arn", "phone_number", "target_arn"].filter({ !config.text($0).isEmpty }).count > 1 {
            refuse(nil, "only one of topic_arn, phone_number and target_arn may be given")
        }
        let signing = config.map("sigv4")
        if signing.text("access_key").isEmpty != (signing["secret_key"] == nil) {
            refuse("sigv4", "sigv4: access_key and secret_key come together")
        }
    default: break
    }
}

/// What an integration cannot do without; each group needs one of its options.
private func requiredOptions(_ kind: IntegrationKind) -> [[String]] {
    switch kind {
    case .webhook, .incidentio, .alertmanager, .googlechat: [["url"]]
    case .email: [["to"], ["smarthost"], ["from"]]
    case .slack: [["api_url", "app_token"]]
    case .pagerduty: [["routing_key", "service_key"]]
    case .opsgenie: [["api_key"]]
    case .wechat: [["api_secret"], ["corp_id"]]
    case .victorops: [["api_key"], ["routing_key"]]
    case .pushover: [["user_key"], ["token"]]
    case .sns: [["topic_arn", "phone_number", "target_arn"]]
    case .telegram: [["bot_token"], ["chat_id"]]
    case .discord, .msteams, .msteamsv2, .mattermost: [["webhook_url"]]
    case .webex: [["room_id"]]
    case .jira: [["api_url"], ["project"], ["issue_type"]]
    case .rocketchat: [["token"], ["token_id"]]
    case .exec: [["command"]]
    case .ntfy: [["topic"]]
    case .matrix: [["homeserver"], ["room_id"], ["access_token"]]
    case .log: []
    }
}

private let addressOptions: Set<String> = ["url", "api_url", "app_url", "webhook_url", "homeserver"]

/// Why a text is no address to send to; nil where it is one.
func addressProblem(_ text: String) -> String? {
    let lower = text.lowercased()
    guard let scheme = ["http://", "https://"].first(where: { lower.hasPrefix($0) }) else {
        return "an address begins with http:// or https://"
    }
    let host = text.dropFirst(scheme.count).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    return host.isEmpty ? "the address names no host" : nil
}

private func isSet(_ value: OptionValue?) -> Bool {
    switch value {
    case nil: false
    case .text(let text): !text.isEmpty
    case .secret(.text(let text)): !text.isEmpty
    default: true
    }
}

private func checkMail(
    _ section: ConfigSection, _ config: IntegrationConfig, _ refuse: (String?, String) -> Void
) {
    var seen: Set<String> = []
    for entry in config.map("headers") where !seen.insert(entry.key.lowercased()).inserted {
        refuse("headers", "duplicate header \"\(entry.key)\" in email config")
    }
    let host = config.text("smarthost")
    if !host.isEmpty, !host.contains("{{") {
        let port = host.split(separator: ":", omittingEmptySubsequences: false).last ?? ""
        if !host.contains(":") || port.isEmpty || (port.contains("]")) {
            refuse("smarthost", "smarthost \"\(host)\" lacks a port: write HOST:PORT")
        }
    }
}

private func checkAttachments(
    _ kind: IntegrationKind, _ config: IntegrationConfig, _ refuse: (String?, String) -> Void
) {
    for case .map(let field) in config.list("fields") {
        for key in ["title", "value"] where field.text(key).isEmpty {
            refuse("fields", "missing \(key) in \(kind.rawValue) field")
        }
    }
    guard kind == .slack else { return }
    for case .map(let action) in config.list("actions") {
        for key in ["type", "text"] where action.text(key).isEmpty {
            refuse("actions", "missing \(key) in slack action")
        }
        if action.text("url").isEmpty, action.text("name").isEmpty {
            refuse("actions", "missing name or url in slack action")
        }
        if case .map(let confirm)? = action["confirm"], confirm.text("text").isEmpty {
            refuse("actions", "missing text in slack confirmation")
        }
    }
}

private func checkResponders(_ config: IntegrationConfig, _ refuse: (String?, String) -> Void) {
    let types = ["team", "teams", "user", "escalation", "schedule"]
    for case .map(let responder) in config.list("responders") {
        if ["id", "name", "username"].allSatisfy({ responder.text($0).isEmpty }) {
            refuse("responders", "an opsgenie responder needs one of id, username and name")
        }
        let type = responder.text("type")
        if !type.contains("{{"), !types.contains(type.lowercased()) {
            refuse("responders", "an opsgenie responder's type must be one of \(types.joined(separator: ", "))")
        }
    }
}
