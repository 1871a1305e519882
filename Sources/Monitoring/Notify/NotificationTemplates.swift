import MetricModel
import Platform

/// The templates that notifications are rendered with: the default ones, in our own words under Alertmanager's names, and
/// the user's files, whose definitions take their place. Immutable.
package struct NotificationTemplates: Sendable {
    private let set: TemplateSet

    /// With the definitions of these texts, in their order.
    package init(
        _ texts: [(name: String, text: String)] = [],
        now: @escaping @Sendable () -> Int64 = { WallClock.system.nowMilliseconds() }
    ) throws(TemplateError) {
        // The defaults are made by code; a definition of each name calls it, so that others can override or call it.
        let functions = TemplateFunctions.alertmanager(now: now).adding([Self.wording: { _ in .string("") }])
        var set = TemplateSet(functions: functions)
        let defaults = Self.defaultNames.map { "{{ define \"\($0)\" }}{{ \(Self.wording) \"\($0)\" }}{{ end }}" }
            .joined()
        set = try set.adding(name: "defaults", text: defaults)
        for (name, text) in texts { set = try set.adding(name: name, text: text) }
        self.set = set
    }

    private static let wording = "kopsDefaultText"

    /// Renders a text of a receiver's configuration.
    package func render(_ text: String, html: Bool, _ data: NotificationData) throws -> String {
        let function: TemplateFunctions.Function = { arguments in
            guard let name = arguments.first?.text, let text = Wording.text(name, data) else { return .string("") }
            return name.hasSuffix(".html") ? .html(text) : .string(text)
        }
        return try set.with(functions: [Self.wording: function]).render(text, data: data.templateValue, html: html)
    }

    /// Finds what is wrong with a text before it is used.
    package func check(_ text: String, name: String) throws(TemplateError) { try set.check(text, name: name) }

    /// A template that can never end; nil where all can.
    package func endless() -> TemplateError? { set.endless() }

    private static let defaultNames = [
        "__subject", "slack.default.title", "pagerduty.default.description", "opsgenie.default.message",
        "email.default.subject", "victorops.default.entity_display_name", "pushover.default.title",
        "sns.default.subject", "discord.default.title", "msteams.default.title", "msteams.default.summary",
        "msteamsv2.default.title", "rocketchat.default.title", "mattermost.default.title",
        "jira.default.summary", "ntfy.default.title", "slack.default.username", "__alertmanager",
        "pagerduty.default.client", "victorops.default.monitoring_tool", "rocketchat.default.alias",
        "mattermost.default.username", "slack.default.titlelink", "__alertmanagerURL",
        "pagerduty.default.clientURL", "opsgenie.default.source", "pushover.default.url",
        "rocketchat.default.titlelink", "mattermost.default.titlelink", "ntfy.default.click",
        "slack.default.fallback", "mattermost.default.fallback", "slack.default.callbackid",
        "slack.default.pretext", "slack.default.iconemoji", "slack.default.iconurl", "slack.default.text",
        "slack.default.footer", "discord.default.content", "wechat.default.to_user", "wechat.default.to_party",
        "wechat.default.to_tag", "wechat.default.agent_id", "rocketchat.default.emoji",
        "rocketchat.default.iconurl", "rocketchat.default.text", "__description", "slack.default.color",
        "mattermost.default.color", "discord.default.message", "telegram.default.message",
        "mattermost.default.text", "googlechat.default.message", "jira.default.description",
        "msteams.default.text", "msteamsv2.default.text", "opsgenie.default.description",
        "victorops.default.state_message", "wechat.default.message", "pushover.default.message",
        "sns.default.message", "ntfy.default.message", "matrix.default.message", "webex.default.message",
        "jira.default.priority", "email.default.html", "matrix.default.html",
    ]
}

extension NotificationData {
    /// As templates see it, with the field names that Alertmanager documents.
    package var templateValue: TemplateValue {
        .record(
            "template.Data",
            [
                ("Receiver", .string(receiver)), ("Status", .string(status)), ("Alerts", Self.value(alerts)),
                ("GroupLabels", pairsValue(groupLabels)), ("CommonLabels", pairsValue(commonLabels)),
                ("CommonAnnotations", pairsValue(commonAnnotations)), ("ExternalURL", .string(externalURL)),
            ])
    }

    private static func value(_ alerts: [Alert]) -> TemplateValue {
        let values = alerts.map { alert in
            TemplateValue.record(
                "template.Alert",
                [
                    ("Status", .string(alert.resolved ? "resolved" : "firing")), ("Labels", pairsValue(alert.labels)),
                    ("Annotations", pairsValue(alert.annotations)), ("StartsAt", .time(alert.startsAt)),
                    ("EndsAt", .time(alert.endsAt == 0 ? zeroGoTime : alert.endsAt)),
                    ("GeneratorURL", .string(alert.generatorURL)),
                    ("Fingerprint", .string(fingerprintText(alert.fingerprint))),
                ])
        }
        return .object(
            TemplateObject(
                kind: "template.Alerts", text: { TemplateValue.list(values).text },
                elements: { values.enumerated().map { (.int($0), $1) } }, isList: true,
                member: { name, _ in
                    switch name {
                    case "Firing": value(alerts.filter { !$0.resolved })
                    case "Resolved": value(alerts.filter(\.resolved))
                    default: nil
                    }
                }))
    }
}

/// The year 1: a time that never was.
private let zeroGoTime: Int64 = -62_135_596_800_000

/// Labels or annotations with the methods that templates may call on them.
func pairsValue(_ labels: Labels) -> TemplateValue {
    let pairs = labels.pairs
    return .object(
        TemplateObject(
            kind: "template.KV",
            text: { pairsText(labels) },
            elements: { pairs.map { (.string($0.name), .string($0.value)) } },
            member: { name, arguments in
                switch name {
                case "SortedPairs": return pairList(labels)
                case "Names": return .list(pairs.map { .string($0.name) })
                case "Values": return .list(pairs.map { .string($0.value) })
                case "Remove":
                    guard case .list(let names)? = arguments.first else {
                        throw TemplateProblem("Remove needs a list of names, as stringSlice makes")
                    }
                    let dropped = Set(names.map(\.text))
                    return pairsValue(Labels(pairs.filter { !dropped.contains($0.name) }.map { ($0.name, $0.value) }))
                default: return .string(labels[name] ?? "")
                }
            }))
}

/// `alertname` first, then by name: how Alertmanager prints labels.
private func pairsText(_ labels: Labels) -> String {
    Wording.ordered(labels).map { "\($0.name)=\($0.value)" }.joined(separator: ", ")
}

/// `alertname` first, then by name, with `.Name`, `.Value`, `.Names` and `.Values`.
private func pairList(_ labels: Labels) -> TemplateValue {
    let pairs = Wording.ordered(labels)
    let values = pairs.map {
        TemplateValue.record("template.Pair", [("Name", .string($0.name)), ("Value", .string($0.value))])
    }
    return .object(
        TemplateObject(
            kind: "template.Pairs", text: { pairsText(labels) },
            elements: { values.enumerated().map { (.int($0), $1) } }, isList: true,
            member: { name, _ in
                switch name {
                case "Names": .list(pairs.map { .string($0.name) })
                case "Values": .list(pairs.map { .string($0.value) })
                default: nil
                }
            }))
}
