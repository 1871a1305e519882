import FoundationEssentials
import KopsSidecar
import MetricModel
import Platform
import Testing

@testable import Monitoring

/// What a real Alertmanager 0.28 sent to each kind of receiver for the same alerts, recorded: ours must be the same but where
/// docs/alerting.md says otherwise.
private enum Recordings {
    static let folder: String = {
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        // A checkout stands beside the recordings, and so do other work trees of it.
        return [root + "/../shared", root + "/../../shared"].map { $0 + "/recordings/alertmanager" }
            .first { FileSystem.exists($0 + "/alertmanager.yml") } ?? ""
    }()

    static let scenarios = [
        "1-single-firing", "2-single-resolved", "3-group-firing", "4-group-two-resolved", "5-group-resolved",
        "6-bare-firing", "7-special-firing", "8-long-firing", "9-no-alertname-firing", "a-inhibit",
    ]

    struct Webhook: Decodable {
        struct Alert: Decodable {
            var status: String
            var labels: [String: String]
            var annotations: [String: String]
            var startsAt: String
            var endsAt: String
            var generatorURL: String
        }

        var alerts: [Alert]
        var groupLabels: [String: String]
        var groupKey: String
        var externalURL: String
    }

    struct Entry: Decodable {
        var file: String
        var request: String?
        var headers: [[String]]?

        enum CodingKeys: String, CodingKey {
            case file, request
            case headers = "request_headers"
        }
    }

    private static let index = Result { try readIndex() }

    static func entries() throws -> [String: Entry] { try index.get() }

    private static func readIndex() throws -> [String: Entry] {
        // Some entries have headers of another form; those of requests are lists of pairs.
        let bytes = try FileSystem.read(folder + "/index.json", maxBytes: 64 << 20)
        struct Loose: Decodable {
            var entry: Entry?
            init(from decoder: any Decoder) throws { entry = try? Entry(from: decoder) }
        }
        let all = try JSONDecoder().decode([Loose].self, from: Data(bytes)).compactMap(\.entry)
        return Dictionary(all.map { ($0.file, $0) }, uniquingKeysWith: { a, _ in a })
    }

    private static let decoded = Result { try readConfig() }

    private static func readConfig() throws -> AlertmanagerConfig {
        let issues = ConfigIssues()
        let node = try #require(try ConfigNode.read(file: folder + "/alertmanager.yml"))
        let section = try #require(ConfigSection(node, issues))
        let decoded = decodeNotifications(section)
        return try #require(decoded?.alertmanager, "\(issues.all)")
    }

    static func webhook(_ name: String) throws -> Webhook {
        let bytes = try FileSystem.read(folder + "/notify/webhook/\(name).json", maxBytes: 64 << 20)
        return try JSONDecoder().decode(Webhook.self, from: Data(bytes))
    }

    /// The notification that the recorded one was, for the n-th integration of a kind of the receiver `ops`.
    static func delivery(_ name: String, _ kind: IntegrationKind, _ index: Int) throws -> (Delivery, String) {
        let recorded = try webhook(name)
        let receiver = try #require(try decoded.get().receivers.first { $0.name == "ops" })
        let integration = receiver.integrations.filter { $0.kind == kind }[index]
        let alerts = recorded.alerts.map { alert in
            NotifiedAlert(
                alert: RoutedAlert(
                    labels: Labels(alert.labels.map { ($0.key, $0.value) }),
                    annotations: Labels(alert.annotations.map { ($0.key, $0.value) }),
                    startsAt: parseRFC3339(alert.startsAt) ?? 0,
                    endsAt: alert.status == "resolved" ? parseRFC3339(alert.endsAt) ?? 0 : 1 << 50,
                    generatorURL: alert.generatorURL, updatedAt: 0, timesOut: false),
                resolved: alert.status == "resolved")
        }
        let entry = LogEntry(firing: [], resolved: [], at: 0, expiresAt: 0)
        return (
            Delivery(
                id: 1, key: LogKey(group: recorded.groupKey, receiver: "ops", kind: kind.rawValue, index: index),
                integration: integration, groupLabels: Labels(recorded.groupLabels.map { ($0.key, $0.value) }),
                alerts: alerts, flushedAt: 0, deadline: 0, entry: entry),
            recorded.externalURL
        )
    }

    static func messages(_ name: String, _ kind: IntegrationKind, _ index: Int) throws -> [Outgoing] {
        let (delivery, externalURL) = try delivery(name, kind, index)
        let templates = try NotificationTemplates()
        let builder = MessageBuilder(delivery, externalURL: externalURL) { try templates.render($0, html: $1, $2) }
        let messages = try builder.messages()
        #expect(builder.text.errors.isEmpty)
        return messages
    }
}

private struct Channel: Sendable, CustomStringConvertible {
    let folder: String
    let kind: IntegrationKind
    let index: Int
    var description: String { folder }

    init(_ folder: String, _ kind: IntegrationKind, _ index: Int = 0) {
        self.folder = folder
        self.kind = kind
        self.index = index
    }
}

private let isThere = !Recordings.folder.isEmpty

@Suite(.enabled(if: isThere, "skipped: ../shared/recordings is not there"))
struct ReceiverRecordingTests {
    @Test(
        arguments: [
            Channel("webhook", .webhook), Channel("slack", .slack), Channel("discord", .discord),
            Channel("telegram", .telegram), Channel("telegram-plain", .telegram, 1), Channel("msteams", .msteams),
            Channel("msteamsv2", .msteamsv2), Channel("pagerduty", .pagerduty),
            Channel("pagerduty-v1", .pagerduty, 1), Channel("opsgenie", .opsgenie), Channel("webex", .webex),
            Channel("victorops", .victorops), Channel("rocketchat", .rocketchat), Channel("wechat", .wechat),
        ], Recordings.scenarios)
    private func bodiesAreTheRecordedOnes(channel: Channel, name: String) throws {
        let file = "notify/\(channel.folder)/\(name).json"
        let entry = try #require(try Recordings.entries()[file])
        let recorded = try FileSystem.readText(Recordings.folder + "/" + file, maxBytes: 64 << 20)
        let message = try #require(try Recordings.messages(name, channel.kind, channel.index).first)
        let request: HTTPRequest
        switch message {
        case .http(let plain, _): request = plain
        case .jira(let conversation): request = conversation.create ?? conversation.update
        case .withToken(_, let make): request = make("REDACTED")
        default: throw RecordingProblem(description: "another kind of message")
        }
        let ours = String(decoding: request.body ?? [], as: UTF8.self)
        let limits = ["msteams": 30_000, "msteamsv2": 30_000, "opsgenie": 30_000, "wechat": 3000]
        if name == "8-long-firing", let limit = limits[channel.folder] {
            // Ours are cut to what the service takes, and are the recorded ones up to there.
            let cut = try #require(ours.lastIndex(of: "…"))
            #expect(ours.utf8.count < limit)
            #expect(recorded.hasPrefix(ours[..<cut]))
        } else if ours != (channel.kind == .webhook ? recorded.withMilliseconds : recorded).trimmedEnd {
            let (a, b) = (Array(recorded.utf8), Array(ours.utf8))
            let at = zip(a, b).prefix { $0 == $1 }.count
            let from = max(0, at - 60)
            Issue.record(
                "\(file) differs at byte \(at) (\(a.count) and \(b.count) bytes)\nthere: \(String(decoding: a.dropFirst(from).prefix(200), as: UTF8.self))\n ours: \(String(decoding: b.dropFirst(from).prefix(200), as: UTF8.self))"
            )
        }
        let words = (entry.request ?? "").split(separator: " ")
        #expect(request.method == words.first.map(String.init))
        let path = words.count > 1 ? String(words[1]) : ""
        #expect(request.url.hasSuffix(path), "\(request.url) for \(path)")
        for pair in entry.headers ?? [] where pair.count == 2 {
            let own = request.headers.first { $0.name.lowercased() == pair[0].lowercased() }?.value
            switch pair[0] {
            case "Host", "Content-Length", "User-Agent": continue
            default: #expect(own == pair[1], "\(pair[0]) is \(own ?? "absent"), not \(pair[1])")
            }
        }
    }

    /// Pushover gets its fields in the body; they are the recorded ones of the address.
    @Test(arguments: Recordings.scenarios)
    private func pushoverFieldsAreTheRecordedOnes(name: String) throws {
        let entry = try #require(try Recordings.entries()["notify/pushover/\(name).txt"])
        guard case .http(let request, _)? = try Recordings.messages(name, .pushover, 0).first else {
            throw RecordingProblem(description: "no request")
        }
        let query = (entry.request ?? "").split(separator: "?").dropFirst().joined(separator: "?")
        let ours = String(decoding: request.body ?? [], as: UTF8.self)
        #expect(ours.split(separator: "&").sorted() == query.split(separator: "&").sorted())
    }

    @Test(arguments: ["email", "email-text-only", "email-text-and-html"], Recordings.scenarios)
    private func mailsHaveTheRecordedHeadersAndParts(folder: String, name: String) throws {
        let index = ["email": 0, "email-text-only": 1, "email-text-and-html": 2][folder] ?? 0
        let recorded = MailReader(
            try FileSystem.readText(Recordings.folder + "/notify/\(folder)/\(name).eml", maxBytes: 64 << 20))
        guard case .mail(let mail)? = try Recordings.messages(name, .email, index).first else {
            throw RecordingProblem(description: "no mail")
        }
        let ours = MailReader(String(decoding: mail.message, as: UTF8.self))
        for header in ["Subject", "To", "From", "Reply-To", "MIME-Version"] {
            #expect(ours.headers[header.lowercased()] == recorded.headers[header.lowercased()], "\(header)")
        }
        #expect(ours.parts.map(\.type) == recorded.parts.map(\.type))
        for (mine, theirs) in zip(ours.parts, recorded.parts) where mine.type.hasPrefix("text/plain") {
            #expect(mine.body == theirs.body)
        }
    }
}

private struct RecordingProblem: Error { let description: String }

extension String {
    /// Times with nine digits of a second, which Alertmanager writes where it made them up, cut to three.
    fileprivate var withMilliseconds: String {
        guard let at = range(ofText: "\"startsAt\":\"") else { return self }
        let time = self[at...].prefix { $0 != "\"" }
        return self[..<at] + goTime(parseRFC3339(String(time)) ?? 0) + self[time.endIndex...]
    }

    fileprivate var trimmedEnd: String {
        var text = self
        while text.last == "\n" { text.removeLast() }
        return text
    }
}

/// As much of a mail reader as the comparison needs.
private struct MailReader {
    var headers: [String: String] = [:]
    var parts: [(type: String, body: String)] = []

    init(_ text: String) {
        let lines = text.replacingLineEnds.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let head = lines.prefix { !$0.isEmpty }
        headers = MailReader.headers(head)
        let boundary = (headers["content-type"] ?? "").split(separator: "boundary=").last.map {
            "--" + $0.filter { $0 != "\"" }.prefix { $0 != ";" }
        }
        guard let boundary else { return }
        var current: [String]?
        for line in lines.dropFirst(head.count) {
            if line.hasPrefix(boundary) {
                if let current { add(current) }
                current = []
            } else {
                current?.append(line)
            }
        }
    }

    private mutating func add(_ lines: [String]) {
        let head = lines.prefix { !$0.isEmpty }
        var body = lines.dropFirst(head.count + 1).joined(separator: "\n")
        if body.hasSuffix("\n") { body.removeLast() }
        var out: [UInt8] = []
        let bytes = Array(body.utf8)
        var i = 0
        while i < bytes.count {
            if bytes[i] == UInt8(ascii: "="), i + 1 < bytes.count, bytes[i + 1] == 10 {
                i += 2
            } else if bytes[i] == UInt8(ascii: "="), i + 2 < bytes.count,
                let byte = UInt8(String(decoding: bytes[i + 1...i + 2], as: UTF8.self), radix: 16)
            {
                out.append(byte)
                i += 3
            } else {
                out.append(bytes[i])
                i += 1
            }
        }
        // A line end of the text may itself be encoded.
        let decoded = String(decoding: out, as: UTF8.self).replacingLineEnds
        parts.append((MailReader.headers(head)["content-type"] ?? "", decoded))
    }

    private static func headers(_ lines: ArraySlice<String>) -> [String: String] {
        var out: [String: String] = [:]
        var last = ""
        for line in lines {
            if line.hasPrefix(" ") || line.hasPrefix("\t") {
                out[last, default: ""] += line.drop { $0 == " " || $0 == "\t" }
            } else if let colon = line.firstIndex(of: ":") {
                last = line[..<colon].lowercased()
                out[last] = String(line[line.index(after: colon)...].drop { $0 == " " })
            }
        }
        return out.mapValues(MailReader.decoded)
    }

    /// The encoded words of RFC 2047, both of their forms' Q one.
    private static func decoded(_ value: String) -> String {
        var out: [UInt8] = []
        for word in value.split(separator: "=?", omittingEmptySubsequences: false) {
            // Blanks between encoded words are none of the text.
            if word.allSatisfy({ $0 == " " }) { continue }
            let fields = word.split(separator: "?", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3, fields[1].lowercased() == "q" else {
                out += Array(word.utf8)
                continue
            }
            let encoded = Array(fields[2].utf8)
            var i = 0
            while i < encoded.count {
                if encoded[i] == UInt8(ascii: "="), i + 2 < encoded.count,
                    let byte = UInt8(String(decoding: encoded[i + 1...i + 2], as: UTF8.self), radix: 16)
                {
                    out.append(byte)
                    i += 3
                } else if encoded[i] == UInt8(ascii: "?"), i + 1 < encoded.count, encoded[i + 1] == UInt8(ascii: "=") {
                    out += encoded[(i + 2)...].allSatisfy { $0 == 32 } ? [] : encoded[(i + 2)...]
                    break
                } else {
                    out.append(encoded[i] == UInt8(ascii: "_") ? 32 : encoded[i])
                    i += 1
                }
            }
        }
        return String(decoding: out, as: UTF8.self)
    }
}

extension String {
    fileprivate var replacingLineEnds: String {
        var out: [UInt8] = []
        for byte in utf8 where byte != 13 { out.append(byte) }
        return String(decoding: out, as: UTF8.self)
    }
}
