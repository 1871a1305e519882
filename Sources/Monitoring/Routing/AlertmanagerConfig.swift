package import MetricModel

/// The whole of an Alertmanager configuration, decoded, its defaults filled in and its references checked. Durations are
/// milliseconds.
package struct AlertmanagerConfig: Sendable {
    /// `global.resolve_timeout`: when an alert that was posted without an end counts as resolved.
    package var resolveTimeout: Int64 = 300_000
    package var route: RouteConfig
    package var receivers: [ReceiverConfig] = []
    package var inhibitRules: [InhibitRule] = []
    /// `time_intervals` and the older `mute_time_intervals`.
    package var timeIntervals: [NamedWindows] = []
    /// Paths and patterns of template files.
    package var templates: [String] = []
    /// How long before a silence ends a note about it goes out as an alert; nil for none (our own key
    /// `silence_expiry_note`).
    package var silenceExpiryNote: Int64?
    /// The configuration as text for the API, secrets replaced, our own receivers left out so that amtool reads it.
    package var original = ""

    package init(route: RouteConfig) { self.route = route }
}

/// A node of the route tree; what is nil is inherited.
package struct RouteConfig: Sendable {
    package var receiver: String?
    package var groupBy: [String]?
    package var groupByAll = false
    package var groupWait: Int64?
    package var groupInterval: Int64?
    package var repeatInterval: Int64?
    package var matchers: [LabelMatcher] = []
    package var continues = false
    package var muteTimeIntervals: [String] = []
    package var activeTimeIntervals: [String] = []
    package var routes: [RouteConfig] = []

    package init() {}
}

/// Mutes alerts that the target matchers match while another alert, which the source matchers match, fires with the same
/// values of the labels in `equal`.
package struct InhibitRule: Sendable {
    package var name = ""
    package var sourceMatchers: [LabelMatcher] = []
    package var targetMatchers: [LabelMatcher] = []
    package var equal: [String] = []

    package init() {}
}

/// A receiver: a name and the integrations that get what is routed to it, in the order of Alertmanager's pipeline.
package struct ReceiverConfig: Sendable {
    package var name: String
    package var integrations: [IntegrationConfig] = []
    package var heartbeat: HeartbeatConfig?

    package init(name: String) { self.name = name }
}

/// A dead man's switch of a receiver: a request to a URL, or a message through the receiver itself, every `interval`.
package struct HeartbeatConfig: Sendable {
    package var url: SecretValue?
    package var method = "GET"
    package var interval: Int64 = 60_000
    package var http = HTTPClientConfig()

    package init() {}
}

/// A secret given in place or as a file that is read anew for each use. Its text shows nowhere.
package enum SecretValue: Sendable, Hashable, CustomStringConvertible {
    case text(String)
    case file(String)

    package var description: String { "<secret>" }
}

/// A value of an integration's options.
package indirect enum OptionValue: Sendable, Hashable {
    case text(String)
    case secret(SecretValue)
    case bool(Bool)
    case int(Int)
    /// Milliseconds.
    case duration(Int64)
    case list([OptionValue])
    case map([OptionEntry])
}

package struct OptionEntry: Sendable, Hashable {
    package var key: String
    package var value: OptionValue

    package init(_ key: String, _ value: OptionValue) {
        self.key = key
        self.value = value
    }
}

/// One integration of a receiver. `options` holds every option that its `IntegrationSchema` names and that is set,
/// defaults included; texts are templates unless the schema says otherwise.
package struct IntegrationConfig: Sendable {
    package var kind: IntegrationKind
    package var sendResolved: Bool
    package var options: [String: OptionValue] = [:]
    package var http = HTTPClientConfig()

    package init(_ kind: IntegrationKind, sendResolved: Bool) {
        self.kind = kind
        self.sendResolved = sendResolved
    }

    package func text(_ key: String) -> String {
        switch options[key] {
        case .text(let text): text
        case .int(let number): String(number)
        default: ""
        }
    }

    package func bool(_ key: String) -> Bool { if case .bool(let b) = options[key] { b } else { false } }
    package func int(_ key: String) -> Int { if case .int(let n) = options[key] { n } else { 0 } }
    package func duration(_ key: String) -> Int64 { if case .duration(let d) = options[key] { d } else { 0 } }
    package func list(_ key: String) -> [OptionValue] { if case .list(let l) = options[key] { l } else { [] } }
    package func map(_ key: String) -> [OptionEntry] { if case .map(let m) = options[key] { m } else { [] } }
    package func secret(_ key: String) -> SecretValue? {
        switch options[key] {
        case .secret(let secret): secret
        case .text(let text): .text(text)
        default: nil
        }
    }
}

extension [OptionEntry] {
    package subscript(key: String) -> OptionValue? { first { $0.key == key }?.value }

    package func text(_ key: String) -> String { if case .text(let text)? = self[key] { text } else { "" } }
}
