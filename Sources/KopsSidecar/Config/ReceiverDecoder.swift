import Monitoring
import Platform

/// What `global:` of an Alertmanager configuration gives to receivers that do not say it themselves.
final class NotificationDefaults {
    private let section: ConfigSection?
    let http: HTTPClientConfig
    let mailTLS: TLSSettings?

    /// For each integration: its option, the global key, and the value where neither is given.
    private static let globals: [IntegrationKind: [(option: String, key: String, otherwise: String)]] = [
        .email: [
            ("from", "smtp_from", ""), ("smarthost", "smtp_smarthost", ""), ("hello", "smtp_hello", "localhost"),
            ("auth_username", "smtp_auth_username", ""), ("auth_password", "smtp_auth_password", ""),
            ("auth_identity", "smtp_auth_identity", ""), ("auth_secret", "smtp_auth_secret", ""),
        ],
        .slack: [
            ("api_url", "slack_api_url", ""), ("app_token", "slack_app_token", ""),
            ("app_url", "slack_app_url", "https://slack.com/api/chat.postMessage"),
        ],
        .victorops: [
            ("api_key", "victorops_api_key", ""),
            ("api_url", "victorops_api_url", "https://alert.victorops.com/integrations/generic/20131114/alert/"),
        ],
        .pagerduty: [("url", "pagerduty_url", "https://events.pagerduty.com/v2/enqueue")],
        .opsgenie: [
            ("api_key", "opsgenie_api_key", ""), ("api_url", "opsgenie_api_url", "https://api.opsgenie.com/"),
        ],
        .wechat: [
            ("api_url", "wechat_api_url", "https://qyapi.weixin.qq.com/cgi-bin/"),
            ("api_secret", "wechat_api_secret", ""), ("corp_id", "wechat_api_corp_id", ""),
        ],
        .telegram: [
            ("api_url", "telegram_api_url", "https://api.telegram.org"), ("bot_token", "telegram_bot_token", ""),
        ],
        .webex: [("api_url", "webex_api_url", "https://webexapis.com/v1/messages")],
        .rocketchat: [
            ("api_url", "rocketchat_api_url", "https://open.rocket.chat/"), ("token", "rocketchat_token", ""),
            ("token_id", "rocketchat_token_id", ""),
        ],
        .jira: [("api_url", "jira_api_url", "")],
        .mattermost: [("webhook_url", "mattermost_webhook_url", "")],
    ]

    /// Globals that are addresses.
    private static let addresses: Set<String> = [
        "slack_api_url", "slack_app_url", "victorops_api_url", "pagerduty_url", "opsgenie_api_url", "wechat_api_url",
        "telegram_api_url", "webex_api_url", "rocketchat_api_url", "jira_api_url", "mattermost_webhook_url",
    ]

    init(_ section: ConfigSection?) {
        self.section = section
        if let entry = section?.section("http_config") {
            http = decodeHTTPClientConfig(entry)
            entry.finish()
        } else {
            http = HTTPClientConfig()
        }
        if let entry = section?.section("smtp_tls_config") {
            mailTLS = decodeTLSConfig(entry)
            entry.finish()
        } else {
            mailTLS = nil
        }
    }

    func text(_ kind: IntegrationKind, _ option: String) -> String? {
        guard let global = Self.globals[kind]?.first(where: { $0.option == option }) else { return nil }
        return section?.string(global.key) ?? (global.otherwise.isEmpty ? nil : global.otherwise)
    }

    func secret(_ kind: IntegrationKind, _ option: String) -> SecretValue? {
        guard let global = Self.globals[kind]?.first(where: { $0.option == option }), let section else { return nil }
        if let file = section.string(global.key + "_file") {
            return .file(resolvePath(file, relativeTo: section.node.file))
        }
        return section.string(global.key).map(SecretValue.text)
    }

    func bool(_ key: String) -> Bool? { section?.bool(key) }

    func finish() {
        guard let section else { return }
        for entry in Self.globals.values.joined() {
            let text = section.string(entry.key)
            if section.string(entry.key + "_file") != nil, text != nil {
                section.issues.add(
                    section.node, "\(section.node.path): at most one of \(entry.key) and \(entry.key)_file may be given"
                )
            }
            if Self.addresses.contains(entry.key), let text, let problem = addressProblem(text) {
                section.issues.add(section.node(entry.key) ?? section.node, "\(entry.key): \(problem)")
            }
        }
        _ = section.bool("smtp_require_tls")
        _ = section.bool("smtp_force_implicit_tls")
        section.finish()
    }
}

/// A receiver with all its integrations, in the order in which Alertmanager runs them.
func decodeReceiver(_ section: ConfigSection, _ defaults: NotificationDefaults) -> ReceiverConfig {
    let name = section.required("name", section.string("name")) ?? ""
    if name.isEmpty, let at = section.node("name") { section.issues.add(at, "a receiver's name must not be empty") }
    var receiver = ReceiverConfig(name: name)
    for kind in IntegrationKind.allCases {
        for entry in section.sections("\(kind.rawValue)_configs") {
            receiver.integrations.append(decodeIntegration(kind, entry, defaults))
        }
    }
    if let heartbeat = section.section("heartbeat") { receiver.heartbeat = decodeHeartbeat(heartbeat, receiver) }
    section.finish()
    return receiver
}

/// `heartbeat: {url, url_file, method, interval, http_config}`; without a URL it is a message through the receiver itself.
private func decodeHeartbeat(_ section: ConfigSection, _ receiver: ReceiverConfig) -> HeartbeatConfig {
    var heartbeat = HeartbeatConfig()
    if let file = section.string("url_file") {
        heartbeat.url = .file(resolvePath(file, relativeTo: section.node.file))
        if section.has("url") {
            section.issues.add(section.node, "\(section.node.path): at most one of url and url_file may be given")
        }
    } else if let url = section.string("url") {
        heartbeat.url = .text(url)
        if let problem = addressProblem(url), let at = section.node("url") { section.issues.add(at, "url: \(problem)") }
    }
    heartbeat.method = section.choice("method", ["GET", "POST", "HEAD", "PUT"]) ?? "GET"
    heartbeat.interval = section.duration("interval") ?? (heartbeat.url == nil ? 86_400_000 : 60_000)
    if heartbeat.interval < 1000, let at = section.node("interval") {
        section.issues.add(at, "a heartbeat's interval must be a second or more")
    }
    if let http = section.section("http_config") {
        heartbeat.http = decodeHTTPClientConfig(http)
        http.finish()
    }
    if heartbeat.url == nil, receiver.integrations.isEmpty {
        section.issues.add(section.node, "a heartbeat without a url goes through the receiver, which has nothing")
    }
    section.finish()
    return heartbeat
}

private func decodeIntegration(
    _ kind: IntegrationKind, _ section: ConfigSection, _ defaults: NotificationDefaults
) -> IntegrationConfig {
    var config = IntegrationConfig(
        kind, sendResolved: section.bool("send_resolved") ?? kind.sendsResolved)
    config.options = decodeOptions(section, integrationSchema(kind))
    for (name, type) in integrationSchema(kind) {
        switch type {
        case .secret:
            if config.options[name] == nil, let secret = defaults.secret(kind, name) {
                config.options[name] = .secret(secret)
            }
        case .text(let otherwise), .plain(let otherwise):
            if !section.has(name) { config.options[name] = .text(defaults.text(kind, name) ?? otherwise) }
        default: break
        }
    }
    if kind == .email {
        config.http.tls = defaults.mailTLS ?? TLSSettings()
        if let tls = section.section("tls_config") {
            config.http.tls = decodeTLSConfig(tls)
            tls.finish()
        }
        for (option, key) in [("require_tls", "smtp_require_tls"), ("force_implicit_tls", "smtp_force_implicit_tls")] {
            if config.options[option] == nil, let value = defaults.bool(key) { config.options[option] = .bool(value) }
        }
    } else if let entry = section.section("http_config") {
        config.http = decodeHTTPClientConfig(entry)
        entry.finish()
    } else {
        config.http = defaults.http
    }
    checkIntegration(kind, section, config)
    section.finish()
    return config
}

private func decodeOptions(_ section: ConfigSection, _ schema: [(String, OptionType)]) -> [String: OptionValue] {
    var out: [String: OptionValue] = [:]
    for (name, type) in schema {
        switch type {
        case .text(let otherwise), .plain(let otherwise): out[name] = .text(section.string(name) ?? otherwise)
        case .secret:
            if let file = section.string(name + "_file") {
                if section.has(name) {
                    section.issues.add(
                        section.node, "\(section.node.path): at most one of \(name) and \(name)_file may be given")
                }
                out[name] = .secret(.file(resolvePath(file, relativeTo: section.node.file)))
            } else if let text = section.string(name) {
                out[name] = .secret(.text(text))
            }
        case .bool(let otherwise): out[name] = .bool(section.bool(name) ?? otherwise)
        case .optionalBool: out[name] = section.bool(name).map(OptionValue.bool)
        case .int(let otherwise): out[name] = .int(section.int(name, range: 0...Int.max) ?? otherwise)
        case .duration(let otherwise): out[name] = .duration(section.duration(name) ?? otherwise)
        case .texts(let otherwise): out[name] = .list((section.strings(name) ?? otherwise).map(OptionValue.text))
        case .textMap:
            out[name] = .map((section.stringMap(name) ?? []).map { OptionEntry($0.0, .text($0.1)) })
        case .tree: if let node = section.node(name), !node.isNull { out[name] = tree(node) }
        case .section(let inner):
            if let part = section.section(name) {
                out[name] = .map(entries(decodeOptions(part, inner), inner))
                part.finish()
            }
        case .sections(let inner):
            out[name] = .list(
                section.sections(name).map { part in
                    defer { part.finish() }
                    return .map(entries(decodeOptions(part, inner), inner))
                })
        }
    }
    return out
}

/// In the schema's order, so that what is sent does not depend on hashing.
private func entries(_ options: [String: OptionValue], _ schema: [(String, OptionType)]) -> [OptionEntry] {
    schema.compactMap { name, _ in options[name].map { OptionEntry(name, $0) } }
}

private func tree(_ node: ConfigNode) -> OptionValue {
    if let list = node.sequence { return .list(list.map(tree)) }
    if let pairs = node.mapping { return .map(pairs.map { OptionEntry($0.key.scalar ?? "", tree($0.value)) }) }
    let text = node.scalar ?? ""
    if node.isPlain {
        if let number = Int(text) { return .int(number) }
        if text == "true" || text == "false" { return .bool(text == "true") }
    }
    return .text(text)
}
