import FoundationEssentials
package import Platform

/// Where the lines of a log are sent on to.
package protocol LogSink: Sendable {
    /// What was sent is remembered under this.
    var name: String { get }
    /// Throws where not all were taken; the whole batch is then sent again later.
    func send(_ lines: [ShippedLine]) async throws
}

/// Sends a request with the identity that the configuration gives it.
package typealias LogTransport = @Sendable (HTTPRequest) async throws -> HTTPResponse

/// Why entries were not taken. One line.
struct LogSinkError: Error, CustomStringConvertible {
    let description: String
}

/// An entry of the audit trail as it is sent on.
private struct AuditDocument: Encodable {
    let timestamp: String
    let cluster: String
    let node: String
    let actor: String
    let action: String
    let subject: String
    let result: String
    let detail: String

    enum CodingKeys: String, CodingKey {
        case timestamp = "@timestamp"
        case cluster, node, actor, action, subject, result, detail
    }

    init(_ entry: AuditEntry, _ origin: LogOrigin) {
        timestamp = formatRFC3339(entry.time)
        cluster = origin.cluster
        node = origin.node
        actor = entry.actor
        action = entry.action
        subject = entry.subject
        result = entry.succeeded ? "success" : "failure"
        detail = entry.detail
    }

}

extension AuditEntry {
    func line(_ origin: LogOrigin) -> ShippedLine {
        ShippedLine(
            id: id, time: time, key: "\(origin.cluster)-\(origin.node)-\(time)-\(id)",
            json: lineOfJSON(AuditDocument(self, origin)))
    }
}

func lineOfJSON(_ document: some Encodable) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return (try? encoder.encode(document)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
}

/// What tells one sidecar's lines from another's.
package struct LogOrigin: Sendable {
    package var cluster: String
    package var node: String

    package init(cluster: String, node: String) {
        self.cluster = cluster
        self.node = node
    }
}

/// Grafana Loki's push API: one stream for a sidecar and kind of log, each line JSON.
package struct LokiSink: LogSink {
    package let name: String
    private let url: String
    private let kind: String
    private let origin: LogOrigin
    private let transport: LogTransport

    /// `url` is Loki's own, as `http://loki:3100`; `kind` becomes a label of the stream.
    package init(url: String, kind: String = "audit", origin: LogOrigin, transport: @escaping LogTransport) {
        name = "loki"
        self.kind = kind
        self.url = url + "/loki/api/v1/push"
        self.origin = origin
        self.transport = transport
    }

    package func send(_ lines: [ShippedLine]) async throws {
        struct Push: Encodable {
            struct Stream: Encodable {
                var stream: [String: String]
                var values: [[String]]
            }
            var streams: [Stream]
        }
        let labels = ["job": "kops-sidecar", "kind": kind, "cluster": origin.cluster, "node": origin.node]
        let values = lines.map { line in
            // Lines of one millisecond keep their order.
            [String(line.time * 1_000_000 + line.id % 1_000_000), line.json]
        }
        var request = HTTPRequest("POST", url)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        request.body = Array(try encoder.encode(Push(streams: [.init(stream: labels, values: values)])))
        request.headers = [("Content-Type", "application/json")]
        request.timeout = .seconds(30)
        let answer = try await transport(request)
        guard (200..<300).contains(answer.status) else {
            throw LogSinkError(description: "Loki answers \(answer.status): \(answer.bodyText.prefix(300))")
        }
    }
}

/// Elasticsearch's bulk API. Each document has an id of its own, so that what is sent twice is there once.
package struct ElasticsearchSink: LogSink {
    package let name: String
    private let url: String
    private let index: String
    private let transport: LogTransport

    package init(url: String, index: String, transport: @escaping LogTransport) {
        name = "elasticsearch"
        self.url = url + "/_bulk"
        self.index = index
        self.transport = transport
    }

    package func send(_ lines: [ShippedLine]) async throws {
        struct Action: Encodable {
            struct Create: Encodable {
                var index: String
                var id: String
                enum CodingKeys: String, CodingKey {
                    case index = "_index"
                    case id = "_id"
                }
            }
            var create: Create
        }
        var body: [UInt8] = []
        for line in lines {
            body += Array(try JSONEncoder().encode(Action(create: .init(index: index, id: line.key)))) + [10]
            body += Array(line.json.utf8) + [10]
        }
        var request = HTTPRequest("POST", url)
        request.body = body
        request.headers = [("Content-Type", "application/x-ndjson")]
        request.timeout = .seconds(30)
        let answer = try await transport(request)
        guard (200..<300).contains(answer.status) else {
            throw LogSinkError(description: "Elasticsearch answers \(answer.status): \(answer.bodyText.prefix(300))")
        }
        try check(answer.body)
    }

    /// The answer is 200 also where documents were refused.
    private func check(_ body: [UInt8]) throws {
        struct Answer: Decodable {
            struct Item: Decodable {
                struct Outcome: Decodable {
                    struct Reason: Decodable { var reason: String? }
                    var status: Int
                    var error: Reason?
                }
                var create: Outcome
            }
            var errors: Bool
            var items: [Item]
        }
        let answer = try JSONDecoder().decode(Answer.self, from: Data(body))
        guard answer.errors else { return }
        // 409: it is there already, from an attempt whose answer was lost. 400: it will never be taken; the rest goes on.
        let failed = answer.items.first { ![200, 201, 409, 400].contains($0.create.status) }
        if let failed {
            throw LogSinkError(
                description:
                    "Elasticsearch refuses an entry with \(failed.create.status): \(failed.create.error?.reason ?? "")")
        }
    }
}
