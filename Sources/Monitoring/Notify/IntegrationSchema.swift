/// The kinds of integrations, by the name in metrics; the configuration's key is that name and `_configs`. Those that
/// Alertmanager does not have stand last.
package enum IntegrationKind: String, Sendable, CaseIterable {
    // The order is that in which Alertmanager runs a receiver's integrations.
    case webhook, email, pagerduty, opsgenie, wechat, slack, victorops, pushover, sns, telegram, discord, webex
    case msteams, msteamsv2, jira, rocketchat, mattermost, incidentio
    case log, exec, alertmanager, googlechat, ntfy, matrix

    /// Whether Alertmanager 0.28 knows it.
    package var isAlertmanagers: Bool {
        switch self {
        case .log, .exec, .alertmanager, .googlechat, .ntfy, .matrix, .mattermost, .incidentio: false
        default: true
        }
    }

    /// The default of `send_resolved`.
    package var sendsResolved: Bool {
        switch self {
        case .email, .slack, .wechat, .rocketchat: false
        default: true
        }
    }
}

/// The type of an option in the configuration.
package indirect enum OptionType: Sendable {
    /// A template with its default.
    case text(String)
    /// A text that is taken as it is.
    case plain(String)
    /// A secret; `KEY_file` may name a file with it instead, and a global may stand in for both.
    case secret
    case bool(Bool)
    case int(Int)
    /// Milliseconds.
    case duration(Int64)
    /// Nil: not set.
    case optionalBool
    case texts([String])
    case textMap
    /// Any tree of mappings, lists and texts, every text of it a template.
    case tree
    case section([(String, OptionType)])
    case sections([(String, OptionType)])
}

/// The options of each integration: names, types and defaults as in Alertmanager's configuration, those of later versions
/// than 0.28 included where they cannot be mistaken.
package func integrationSchema(_ kind: IntegrationKind) -> [(String, OptionType)] {
    func named(_ name: String) -> OptionType { .text("{{ template \"\(kind.rawValue).default.\(name)\" . }}") }
    let slackField: [(String, OptionType)] = [("title", .text("")), ("value", .text("")), ("short", .optionalBool)]
    switch kind {
    case .webhook:
        return [
            ("url", .secret), ("max_alerts", .int(0)), ("timeout", .duration(0)), ("payload", .tree),
            ("allow_private_addresses", .bool(true)),
        ]
    case .email:
        return [
            ("to", .text("")), ("from", .text("")), ("smarthost", .plain("")), ("hello", .plain("")),
            ("auth_username", .plain("")), ("auth_password", .secret), ("auth_secret", .secret),
            ("auth_identity", .plain("")), ("require_tls", .optionalBool), ("force_implicit_tls", .optionalBool),
            ("html", named("html")), ("text", .text("")), ("headers", .textMap),
            ("threading", .section([("enabled", .bool(false)), ("thread_by_date", .plain("daily"))])),
        ]
    case .pagerduty:
        return [
            ("routing_key", .secret), ("service_key", .secret), ("url", .plain("")), ("client", named("client")),
            ("client_url", named("clientURL")), ("description", named("description")), ("severity", .text("error")),
            ("source", .text("")), ("details", .tree), ("component", .text("")), ("group", .text("")),
            ("class", .text("")), ("timeout", .duration(0)),
            ("images", .sections([("href", .text("")), ("src", .text("")), ("alt", .text(""))])),
            ("links", .sections([("href", .text("")), ("text", .text(""))])),
        ]
    case .opsgenie:
        return [
            ("api_key", .secret), ("api_url", .plain("")), ("message", named("message")),
            ("description", named("description")), ("source", named("source")), ("details", .textMap),
            ("entity", .text("")), ("actions", .text("")), ("tags", .text("")), ("note", .text("")),
            ("priority", .text("")), ("update_alerts", .bool(false)),
            (
                "responders",
                .sections([("id", .text("")), ("name", .text("")), ("username", .text("")), ("type", .text(""))])
            ),
        ]
    case .wechat:
        return [
            ("api_secret", .secret), ("api_url", .plain("")), ("corp_id", .plain("")), ("message", named("message")),
            ("message_type", .plain("text")), ("agent_id", named("agent_id")), ("to_user", named("to_user")),
            ("to_party", named("to_party")), ("to_tag", named("to_tag")),
        ]
    case .slack:
        return [
            ("api_url", .secret), ("app_token", .secret), ("app_url", .plain("")), ("channel", .text("")),
            ("username", named("username")),
            ("color", .text("{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}")),
            ("title", named("title")), ("title_link", named("titlelink")), ("pretext", named("pretext")),
            ("text", named("text")), ("message_text", .text("")), ("fields", .sections(slackField)),
            ("short_fields", .bool(false)), ("footer", named("footer")), ("fallback", named("fallback")),
            ("callback_id", named("callbackid")), ("icon_emoji", named("iconemoji")), ("icon_url", named("iconurl")),
            ("image_url", .text("")), ("thumb_url", .text("")), ("link_names", .bool(false)),
            ("mrkdwn_in", .texts(["fallback", "pretext", "text"])), ("timeout", .duration(0)),
            ("update_message", .bool(false)),
            (
                "actions",
                .sections([
                    ("type", .text("")), ("text", .text("")), ("url", .text("")), ("style", .text("")),
                    ("name", .text("")), ("value", .text("")),
                    (
                        "confirm",
                        .section([
                            ("text", .text("")), ("title", .text("")), ("ok_text", .text("")),
                            ("dismiss_text", .text("")),
                        ])
                    ),
                ])
            ),
        ]
    case .victorops:
        return [
            ("api_key", .secret), ("api_url", .plain("")), ("routing_key", .text("")),
            ("message_type", .text("CRITICAL")), ("state_message", named("state_message")),
            ("entity_display_name", named("entity_display_name")), ("monitoring_tool", named("monitoring_tool")),
            ("custom_fields", .textMap),
        ]
    case .pushover:
        return [
            ("user_key", .secret), ("token", .secret), ("title", named("title")), ("message", named("message")),
            ("url", named("url")), ("url_title", .text("")), ("device", .text("")), ("sound", .text("")),
            ("priority", .text("{{ if eq .Status \"firing\" }}2{{ else }}0{{ end }}")), ("retry", .duration(60_000)),
            ("expire", .duration(3_600_000)), ("ttl", .duration(0)), ("html", .bool(false)),
            ("monospace", .bool(false)),
        ]
    case .sns:
        return [
            ("api_url", .text("")), ("topic_arn", .text("")), ("phone_number", .text("")), ("target_arn", .text("")),
            ("subject", named("subject")), ("message", named("message")), ("attributes", .textMap),
            ("use_aws_http_client", .bool(false)),
            (
                "sigv4",
                .section([
                    ("region", .plain("")), ("access_key", .plain("")), ("secret_key", .secret),
                    ("profile", .plain("")),
                    ("role_arn", .plain("")), ("external_id", .plain("")),
                ])
            ),
        ]
    case .telegram:
        return [
            ("api_url", .plain("")), ("bot_token", .secret), ("chat_id", .secret), ("message_thread_id", .int(0)),
            ("message", named("message")), ("disable_notifications", .bool(false)), ("parse_mode", .plain("HTML")),
        ]
    case .discord:
        return [
            ("webhook_url", .secret), ("title", named("title")), ("message", named("message")),
            ("content", .text("")), ("username", .plain("")), ("avatar_url", .plain("")),
        ]
    case .webex: return [("api_url", .plain("")), ("room_id", .text("")), ("message", named("message"))]
    case .msteams:
        return [
            ("webhook_url", .secret), ("title", named("title")), ("summary", named("summary")), ("text", named("text")),
        ]
    case .msteamsv2: return [("webhook_url", .secret), ("title", named("title")), ("text", named("text"))]
    case .jira:
        return [
            ("api_url", .plain("")), ("api_type", .plain("auto")), ("project", .text("")), ("summary", .tree),
            ("description", .tree), ("labels", .texts([])), ("priority", named("priority")), ("issue_type", .text("")),
            ("resolve_transition", .plain("")), ("reopen_transition", .plain("")), ("wont_fix_resolution", .plain("")),
            ("reopen_duration", .duration(0)), ("fields", .tree), ("custom_fields", .tree),
        ]
    case .rocketchat:
        return [
            ("api_url", .plain("")), ("token", .secret), ("token_id", .secret), ("channel", .text("")),
            ("color", .text("{{ if eq .Status \"firing\" }}red{{ else }}green{{ end }}")), ("title", named("title")),
            ("title_link", named("titlelink")), ("text", named("text")), ("short_fields", .bool(false)),
            ("image_url", .text("")), ("thumb_url", .text("")), ("emoji", named("emoji")),
            ("icon_url", named("iconurl")), ("link_names", .bool(false)), ("fields", .sections(slackField)),
            (
                "actions",
                .sections([("type", .text("")), ("text", .text("")), ("url", .text("")), ("msg", .text(""))])
            ),
        ]
    case .mattermost:
        return [
            ("webhook_url", .secret), ("channel", .text("")), ("username", named("username")), ("icon_url", .text("")),
            ("icon_emoji", .text("")), ("fallback", named("fallback")), ("color", named("color")),
            ("title", named("title")), ("title_link", named("titlelink")), ("text", named("text")),
            ("pretext", .text("")), ("author_name", .text("")), ("author_link", .text("")), ("author_icon", .text("")),
            ("fields", .sections(slackField)), ("thumb_url", .text("")), ("footer", .text("")),
            ("footer_icon", .text("")), ("image_url", .text("")), ("attachments", .tree), ("props", .tree),
            (
                "priority",
                .section([
                    ("priority", .text("")), ("requested_ack", .bool(false)),
                    ("persistent_notifications", .bool(false)),
                ])
            ),
        ]
    case .incidentio:
        return [
            ("url", .secret), ("alert_source_token", .secret), ("max_alerts", .int(0)), ("timeout", .duration(0)),
            ("metadata", .textMap),
        ]
    case .log: return [("level", .plain("info")), ("message", .text(""))]
    case .exec:
        return [
            ("command", .plain("")), ("args", .texts([])), ("env", .textMap), ("timeout", .duration(30_000)),
        ]
    case .alertmanager: return [("url", .secret), ("timeout", .duration(10_000))]
    case .googlechat: return [("url", .secret), ("message", named("message"))]
    case .ntfy:
        return [
            ("url", .plain("https://ntfy.sh")), ("topic", .text("")), ("token", .secret), ("title", named("title")),
            ("message", named("message")), ("priority", .text("")), ("tags", .text("")), ("click", named("click")),
        ]
    case .matrix:
        return [
            ("homeserver", .plain("")), ("room_id", .text("")), ("access_token", .secret),
            ("message", named("message")), ("html", named("html")),
        ]
    }
}
