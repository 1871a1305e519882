import Platform

/// The chats. Bodies and limits are those that Alertmanager 0.28 was recorded to send, and for the others those of the
/// services' own documentation.
extension MessageBuilder {
    private func optional(_ json: inout JSONText, _ name: String, _ value: String) {
        if !value.isEmpty { json.field(name, value) }
    }

    private func fields(_ json: inout JSONText) {
        let fields = config.list("fields")
        if fields.isEmpty { return }
        json.array("fields", fields) { json, field in
            guard case .map(let entries) = field else { return }
            json.object { json in
                json.field("title", text.render(entries.text("title")))
                json.field("value", text.render(entries.text("value")))
                if case .bool(let short)? = entries["short"] {
                    json.field("short", short)
                } else {
                    json.field("short", config.bool("short_fields"))
                }
            }
        }
    }

    func slack() throws -> [Outgoing] {
        let withToken = config.options["app_token"] != nil
        let url = try withToken ? config.text("app_url") : secret("api_url")
        var json = JSONText()
        json.object { json in
            optional(&json, "channel", rendered("channel"))
            optional(&json, "username", rendered("username"))
            optional(&json, "icon_emoji", rendered("icon_emoji"))
            optional(&json, "icon_url", rendered("icon_url"))
            if config.bool("link_names") { json.field("link_names", true) }
            optional(&json, "text", rendered("message_text"))
            json.key("attachments")
            json.list { json in json.object { slackAttachment(&$0) } }
        }
        var request = try request("POST", url, json: json)
        if withToken { request.headers.append(("Authorization", "Bearer \(try secret("app_token"))")) }
        return [.http(request, .slack)]
    }

    private func slackAttachment(_ json: inout JSONText) {
        optional(&json, "title", truncated(rendered("title"), scalars: 1024))
        optional(&json, "title_link", rendered("title_link"))
        optional(&json, "pretext", rendered("pretext"))
        json.field("text", rendered("text"))
        json.field("fallback", rendered("fallback"))
        json.field("callback_id", rendered("callback_id"))
        fields(&json)
        optional(&json, "image_url", rendered("image_url"))
        optional(&json, "thumb_url", rendered("thumb_url"))
        json.field("footer", rendered("footer"))
        optional(&json, "color", rendered("color"))
        json.key("mrkdwn_in")
        json.array(texts("mrkdwn_in")) { $0.string($1) }
        let actions = config.list("actions")
        if actions.isEmpty { return }
        json.array("actions", actions) { json, action in
            guard case .map(let entries) = action else { return }
            json.object { json in
                for key in ["type", "text", "url", "style", "name", "value"] {
                    optional(&json, key, text.render(entries.text(key)))
                }
                if case .map(let confirm)? = entries["confirm"], !confirm.text("text").isEmpty {
                    json.object("confirm") { json in
                        for key in ["title", "text", "ok_text", "dismiss_text"] {
                            optional(&json, key, text.render(confirm.text(key)))
                        }
                    }
                }
            }
        }
    }

    func discord() throws -> [Outgoing] {
        try post(secret("webhook_url")) { json in
            json.field("content", truncated(rendered("content"), scalars: 2000))
            json.key("embeds")
            json.list { json in
                json.object { json in
                    json.field("title", truncated(rendered("title"), scalars: 256))
                    json.field("description", truncated(rendered("message"), scalars: 4096))
                    json.field("color", isFiring ? 0x992D22 : 0x2ECC71)
                }
            }
            optional(&json, "username", config.text("username"))
            optional(&json, "avatar_url", config.text("avatar_url"))
        }
    }

    func telegram() throws -> [Outgoing] {
        let mode = config.text("parse_mode")
        let html = mode == "HTML"
        let message = rendered("message", html: html)
        let body = html ? truncatedHTML(message, scalars: 4096) : truncated(message, scalars: 4096)
        let chat = try secret("chat_id")
        return try post(base("api_url") + "bot\(secret("bot_token"))/sendMessage") { json in
            json.field("chat_id", chat)
            if config.bool("disable_notifications") { json.field("disable_notification", "true") }
            json.field("disable_web_page_preview", "true")
            if config.int("message_thread_id") != 0 {
                json.field("message_thread_id", String(config.int("message_thread_id")))
            }
            if !mode.isEmpty { json.field("parse_mode", mode) }
            json.field("text", body)
        }
    }

    func teams() throws -> [Outgoing] {
        try post(secret("webhook_url")) { json in
            json.field("@context", "http://schema.org/extensions")
            json.field("type", "MessageCard")
            json.field("title", rendered("title"))
            json.field("summary", rendered("summary"))
            json.field("text", truncated(rendered("text"), bytes: 24_000))
            json.field("themeColor", isFiring ? "8C1A1A" : "2DC72D")
        }
    }

    func teamsWorkflow() throws -> [Outgoing] {
        try post(secret("webhook_url")) { json in
            json.field("type", "message")
            json.key("attachments")
            json.list { json in
                json.object { json in
                    json.field("contentType", "application/vnd.microsoft.card.adaptive")
                    json.key("contentUrl")
                    json.raw("null")
                    json.object("content") { json in
                        json.field("$schema", "http://adaptivecards.io/schemas/adaptive-card.json")
                        json.field("type", "AdaptiveCard")
                        json.field("version", "1.2")
                        json.key("body")
                        json.list { json in
                            json.object { json in
                                json.field("type", "TextBlock")
                                json.field("text", rendered("title"))
                                json.field("weight", "Bolder")
                                json.field("size", "Medium")
                                json.field("wrap", true)
                                json.field("style", "heading")
                                json.field("color", isFiring ? "Attention" : "Good")
                            }
                            json.object { json in
                                json.field("type", "TextBlock")
                                // The flow's whole message may have 28 KB.
                                json.field("text", truncated(rendered("text"), bytes: 24_000))
                                json.field("wrap", true)
                            }
                        }
                        json.object("msteams") { $0.field("width", "full") }
                    }
                }
            }
        }
    }

    func webex() throws -> [Outgoing] {
        try post(config.text("api_url")) { json in
            json.field("markdown", truncated(rendered("message"), bytes: 7439))
            json.field("roomId", rendered("room_id"))
        }
    }

    func rocketchat() throws -> [Outgoing] {
        var json = JSONText()
        json.object { json in
            optional(&json, "channel", rendered("channel"))
            optional(&json, "emoji", rendered("emoji"))
            optional(&json, "avatar", rendered("icon_url"))
            json.key("attachments")
            json.list { json in
                json.object { json in
                    optional(&json, "title", truncated(rendered("title"), scalars: 1024))
                    optional(&json, "title_link", rendered("title_link"))
                    optional(&json, "text", rendered("text"))
                    fields(&json)
                    optional(&json, "image_url", rendered("image_url"))
                    optional(&json, "thumb_url", rendered("thumb_url"))
                    optional(&json, "color", rendered("color"))
                    let actions = config.list("actions")
                    if !actions.isEmpty {
                        json.array("actions", actions) { json, action in
                            guard case .map(let entries) = action else { return }
                            json.object { json in
                                json.field("type", "button")
                                for key in ["text", "url", "msg"] {
                                    optional(&json, key, text.render(entries.text(key)))
                                }
                            }
                        }
                    }
                }
            }
        }
        var request = try request("POST", base("api_url") + "api/v1/chat.postMessage", json: json)
        request.headers.append(("X-Auth-Token", try secret("token")))
        request.headers.append(("X-User-Id", try secret("token_id")))
        return [.http(request, .rocketchat)]
    }

    func mattermost() throws -> [Outgoing] {
        try post(secret("webhook_url")) { json in
            for key in ["channel", "username", "icon_url", "icon_emoji"] { optional(&json, key, rendered(key)) }
            json.key("attachments")
            if !config.list("attachments").isEmpty {
                writeTree(&json, .list(config.list("attachments")))
            } else {
                json.list { json in
                    json.object { json in
                        for key in ["fallback", "color", "pretext"] { optional(&json, key, rendered(key)) }
                        json.field("text", truncated(rendered("text"), scalars: 16_383))
                        for key in ["author_name", "author_link", "author_icon", "title", "title_link"] {
                            optional(&json, key, rendered(key))
                        }
                        fields(&json)
                        for key in ["thumb_url", "footer", "footer_icon", "image_url"] {
                            optional(&json, key, rendered(key))
                        }
                    }
                }
            }
            if !config.map("props").isEmpty {
                json.key("props")
                writeTree(&json, .map(config.map("props")))
            }
            let priority = config.map("priority")
            if !priority.text("priority").isEmpty {
                json.object("priority") { json in
                    json.field("priority", text.render(priority.text("priority")))
                    for key in ["requested_ack", "persistent_notifications"] where priority[key] == .bool(true) {
                        json.field(key, true)
                    }
                }
            }
        }
    }

    /// The service takes 32,000 bytes.
    func googlechat() throws -> [Outgoing] {
        try post(secret("url")) { $0.field("text", truncated(rendered("message"), bytes: 24_000)) }
    }

    /// An event may have 65,536 bytes. The transaction's name is made from the group and the flush, so that a repeat of the same one shows once.
    func matrix() throws -> [Outgoing] {
        let transaction = "\(groupHash.prefix(32))-\(delivery.flushedAt)"
        let url =
            base("homeserver") + "_matrix/client/v3/rooms/\(percentEncoded(rendered("room_id")))/send/m.room.message/"
            + transaction
        var json = JSONText()
        json.object { json in
            json.field("msgtype", "m.text")
            json.field("body", truncated(rendered("message"), bytes: 24_000))
            json.field("format", "org.matrix.custom.html")
            json.field("formatted_body", truncatedHTML(rendered("html", html: true), bytes: 24_000))
        }
        var request = try request("PUT", url, json: json)
        request.headers.append(("Authorization", "Bearer \(try secret("access_token"))"))
        return [.http(request, .status)]
    }

    func ntfy() throws -> [Outgoing] {
        var json = JSONText()
        json.object { json in
            json.field("topic", rendered("topic"))
            json.field("title", truncated(rendered("title"), bytes: 250))
            json.field("message", truncated(rendered("message"), bytes: 4000))
            let priorities = ["min": 1, "low": 2, "default": 3, "high": 4, "urgent": 5, "max": 5]
            let priority = rendered("priority")
            if let level = priorities[priority] ?? Int(priority), (1...5).contains(level) {
                json.field("priority", level)
            } else {
                // Any other would have the message refused.
                json.field("priority", isFiring ? 4 : 3)
            }
            let own = rendered("tags").split(separator: ",").map { String($0.filter { $0 != " " }) }
            json.array("tags", own.isEmpty ? [isFiring ? "rotating_light" : "white_check_mark"] : own) { $0.string($1) }
            optional(&json, "click", rendered("click"))
        }
        var request = try request("POST", config.text("url"), json: json)
        if config.options["token"] != nil { request.headers.append(("Authorization", "Bearer \(try secret("token"))")) }
        return [.http(request, .status)]
    }
}
