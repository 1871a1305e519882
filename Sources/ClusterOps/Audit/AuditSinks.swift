import FoundationEssentials
package import Platform

/// Where entries are sent on to.
package protocol AuditSink: Sendable {
    /// What was sent is remembered under this.
    var name: String { get }
    /// Throws where not all were taken; the whole batch is then sent again later.
    func send(_ entries: [AuditEntry]) async throws
}

/// Sends a request with the identity that the configuration gives it.
package typealias AuditTransport = @Sendable (HTTPRequest) async throws -> HTTPResponse

/// Why entries were not taken. One line.
struct AuditSinkError: Error, CustomStringConvertible {
    let description: String
}

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

    init(_ entry: AuditEntry, _ origin: AuditOrigin) {
        timestamp = formatRFC3339(entry.time)
        cluster = origin.cluster
        node = origin.node
        actor = entry.actor
        action = entry.action
        subject = entry.subject
        result = entry.succeeded ? "success" : "failure"
        detail = entry.detail
    }

    var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }
}

/// What tells one sidecar's entries from another's.
package struct AuditOrigin: Sendable {
    package var cluster: String
    package var node: String

    package init(cluster: String, node: String) {
        self.cluster = cluster
        self.node = node
    }
}

/// Grafana Loki's push API: one stream for a sidecar, each entry a line of JSON.
package struct LokiSink: AuditSink {
    package let name: String
    private let url: String
    private let origin: AuditOrigin
    private let transport: AuditTransport

    /// `url` is Loki's own, as `http://loki:3100`.
    package init(url: String, origin: AuditOrigin, transport: @escaping AuditTransport) {
        name = "loki"
        self.url = url + "/loki/api/v1/push"
        self.origin = origin
        self.transport = transport
    }

    package func send(_ entries: [AuditEntry]) async throws {
        struct Push: Encodable {
            struct Stream: Encodable {
                var stream: [String: String]
                var values: [[String]]
            }
            var streams: [Stream]
        }
        let labels = ["job": "kops-sidecar", "kind": "audit", "cluster": origin.cluster, "node": origin.node]
        let values = entries.map { entry in
            // Entries of one millisecond keep their order.
            [String(entry.time * 1_000_000 + entry.id % 1_000_000), AuditDocument(entry, origin).json]
        }
        var request = HTTPRequest("POST", url)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        request.body = Array(try encoder.encode(Push(streams: [.init(stream: labels, values: values)])))
        request.headers = [("Content-Type", "application/json")]
        request.timeout = .seconds(30)
        let answer = try await transport(request)
        guard (200..<300).contains(answer.status) else {
            throw AuditSinkError(description: "Loki answers \(answer.status): \(answer.bodyText.prefix(300))")
        }
    }
}

/// Elasticsearch's bulk API. Each document has an id of its own, so that what is sent twice is there once.
package struct ElasticsearchSink: AuditSink {
    package let name: String
    private let url: String
    private let index: String
    private let origin: AuditOrigin
    private let transport: AuditTransport

    package init(url: String, index: String, origin: AuditOrigin, transport: @escaping AuditTransport) {
        name = "elasticsearch"
        self.url = url + "/_bulk"
        self.index = index
        self.origin = origin
        self.transport = transport
    }

    package func send(_ entries: [AuditEntry]) async throws {
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
        for entry in entries {
            let id = "\(origin.cluster)-\(origin.node)-\(entry.time)-\(entry.id)"
            body += Array(try JSONEncoder().encode(Action(create: .init(index: index, id: id)))) + [10]
            body += Array(AuditDocument(entry, origin).json.utf8) + [10]
        }
        var request = HTTPRequest("POST", url)
        request.body = body
        request.headers = [("Content-Type", "application/x-ndjson")]
        request.timeout = .seconds(30)
        let answer = try await transport(request)
        guard (200..<300).contains(answer.status) else {
            throw AuditSinkError(description: "Elasticsearch answers \(answer.status): \(answer.bodyText.prefix(300))")
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
            throw AuditSinkError(
                description:
                    "Elasticsearch refuses an entry with \(failed.create.status): \(failed.create.error?.reason ?? "")")
        }
    }
}
