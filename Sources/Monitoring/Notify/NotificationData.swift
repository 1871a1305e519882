package import MetricModel
import Platform

/// What a notification says: the data that templates see and that the webhook's body holds.
package struct NotificationData: Sendable {
    package struct Alert: Sendable {
        package var resolved: Bool
        package var labels: Labels
        package var annotations: Labels
        package var startsAt: Int64
        /// 0 while the alert fires.
        package var endsAt: Int64
        package var generatorURL: String
        package var fingerprint: UInt64
    }

    package var receiver: String
    package var alerts: [Alert]
    package var groupLabels: Labels
    package var commonLabels: Labels
    package var commonAnnotations: Labels
    package var externalURL: String
    package var groupKey: String
    /// How many alerts were left out because there were too many.
    package var leftOut = 0

    package var firing: [Alert] { alerts.filter { !$0.resolved } }
    package var resolved: [Alert] { alerts.filter(\.resolved) }
    /// `firing` or `resolved`
    package var status: String { alerts.contains { !$0.resolved } ? "firing" : "resolved" }

    package init(
        receiver: String, groupKey: String, groupLabels: Labels, alerts: [NotifiedAlert], externalURL: String
    ) {
        self.receiver = receiver
        self.groupKey = groupKey
        self.groupLabels = groupLabels
        self.externalURL = externalURL
        self.alerts = alerts.map {
            Alert(
                resolved: $0.resolved, labels: $0.alert.labels, annotations: $0.alert.annotations,
                startsAt: $0.alert.startsAt, endsAt: $0.resolved ? $0.alert.endsAt : 0,
                generatorURL: $0.alert.generatorURL, fingerprint: $0.alert.fingerprint)
        }
        commonLabels = NotificationData.common(self.alerts.map(\.labels))
        commonAnnotations = NotificationData.common(self.alerts.map(\.annotations))
    }

    package init(_ delivery: Delivery, externalURL: String) {
        self.init(
            receiver: delivery.key.receiver, groupKey: delivery.key.group, groupLabels: delivery.groupLabels,
            alerts: delivery.alerts, externalURL: externalURL)
    }

    private static func common(_ sets: [Labels]) -> Labels {
        guard let first = sets.first else { return .empty }
        if sets.allSatisfy({ $0 == first }) { return first }
        return Labels(
            first.pairs.filter { pair in sets.allSatisfy { $0[pair.name] == pair.value } }.map { ($0.name, $0.value) })
    }

    /// The same with at most so many alerts, the first ones; what they share is found anew. 0 means all.
    package func limited(to maxAlerts: Int) -> NotificationData {
        guard maxAlerts > 0, alerts.count > maxAlerts else { return self }
        var limited = self
        limited.alerts = Array(alerts.prefix(maxAlerts))
        limited.leftOut += alerts.count - maxAlerts
        limited.commonLabels = NotificationData.common(limited.alerts.map(\.labels))
        limited.commonAnnotations = NotificationData.common(limited.alerts.map(\.annotations))
        return limited
    }

    /// The body of the webhook's version 4.
    package func webhookBody() -> [UInt8] {
        var json = JSONText()
        json.object { json in
            json.field("receiver", receiver)
            json.field("status", status)
            json.array("alerts", alerts) { json, alert in
                json.object { json in
                    json.field("status", alert.resolved ? "resolved" : "firing")
                    json.labels("labels", alert.labels)
                    json.labels("annotations", alert.annotations)
                    json.field("startsAt", goTime(alert.startsAt))
                    json.field("endsAt", goTime(alert.endsAt))
                    json.field("generatorURL", alert.generatorURL)
                    json.field("fingerprint", fingerprintText(alert.fingerprint))
                }
            }
            json.labels("groupLabels", groupLabels)
            json.labels("commonLabels", commonLabels)
            json.labels("commonAnnotations", commonAnnotations)
            json.field("externalURL", externalURL)
            json.field("version", "4")
            json.field("groupKey", groupKey)
            json.field("truncatedAlerts", leftOut)
        }
        return json.bytes
    }
}

/// RFC 3339 with the fraction's trailing zeros cut, as Go writes times; 0 is Go's zero time.
package func goTime(_ milliseconds: Int64) -> String {
    if milliseconds == 0 { return "0001-01-01T00:00:00Z" }
    var text = formatRFC3339(milliseconds)
    if text.contains(".") {
        text.removeLast()
        while text.last == "0" { text.removeLast() }
        text += "Z"
    }
    return text
}

/// JSON as Go's encoder writes it: `<`, `>` and `&` escaped, no white space.
package struct JSONText {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init() {}

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    package mutating func object(_ body: (inout JSONText) -> Void) {
        separate()
        bytes.append(UInt8(ascii: "{"))
        needsComma = false
        body(&self)
        bytes.append(UInt8(ascii: "}"))
        needsComma = true
    }

    package mutating func list(_ body: (inout JSONText) -> Void) {
        separate()
        bytes.append(UInt8(ascii: "["))
        needsComma = false
        body(&self)
        bytes.append(UInt8(ascii: "]"))
        needsComma = true
    }

    package mutating func array<T>(_ items: [T], _ each: (inout JSONText, T) -> Void) {
        list { json in for item in items { each(&json, item) } }
    }

    package mutating func array<T>(_ name: String, _ items: [T], _ each: (inout JSONText, T) -> Void) {
        key(name)
        array(items, each)
    }

    package mutating func object(_ name: String, _ body: (inout JSONText) -> Void) {
        key(name)
        object(body)
    }

    package mutating func key(_ name: String) {
        string(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    package mutating func field(_ name: String, _ value: String) {
        key(name)
        string(value)
    }

    package mutating func field(_ name: String, _ value: Int) {
        key(name)
        raw(String(value))
    }

    package mutating func field(_ name: String, _ value: Bool) {
        key(name)
        raw(value ? "true" : "false")
    }

    package mutating func labels(_ name: String, _ labels: Labels) {
        object(name) { json in for pair in labels.pairs { json.field(pair.name, pair.value) } }
    }

    package mutating func raw(_ text: String) {
        separate()
        bytes.append(contentsOf: text.utf8)
    }

    package mutating func string(_ text: String) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": bytes.append(contentsOf: "\\\"".utf8)
            case "\\": bytes.append(contentsOf: "\\\\".utf8)
            case "\n": bytes.append(contentsOf: "\\n".utf8)
            case "\r": bytes.append(contentsOf: "\\r".utf8)
            case "\t": bytes.append(contentsOf: "\\t".utf8)
            case "\u{8}": bytes.append(contentsOf: "\\b".utf8)
            case "\u{c}": bytes.append(contentsOf: "\\f".utf8)
            case "<", ">", "&", "\u{2028}", "\u{2029}":
                let digits = String(scalar.value, radix: 16)
                bytes.append(contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits).utf8)
            default:
                if scalar.value < 0x20 {
                    let digits = String(scalar.value, radix: 16)
                    bytes.append(
                        contentsOf: ("\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits).utf8)
                } else {
                    bytes.append(contentsOf: UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter)
                }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
