import ClusterOps
import FoundationEssentials
import Monitoring
import Platform

func logOrigin(_ config: SidecarConfig) -> LogOrigin { LogOrigin(cluster: config.cluster.name, node: hostName()) }

/// Where logs go: `audit.loki` and `audit.elasticsearch`. `kind` tells them apart there.
func makeLogSinks(_ config: SidecarConfig, kind: String, client: HTTPClient) -> [any LogSink] {
    func transport(_ http: HTTPClientConfig) -> LogTransport {
        let identity = HTTPAuthorizer(http, client: client, clock: .system)
        return { request in try await client.send(try await identity.prepare(request)) }
    }
    var sinks: [any LogSink] = []
    if let loki = config.audit.loki {
        sinks.append(
            LokiSink(url: loki.url, kind: kind, origin: logOrigin(config), transport: transport(loki.http)))
    }
    if let elastic = config.audit.elasticsearch {
        sinks.append(
            ElasticsearchSink(url: elastic.url, index: config.audit.index, transport: transport(elastic.http)))
    }
    return sinks
}

/// Who a client says sits at it. Nothing is allowed because of it.
package let operatorHeader = "x-kops-operator"

extension AuditTrail {
    /// A request that may have changed something, by the user it was made as, and in brackets who the client says that is.
    /// Bodies are not kept, for they may hold secrets, but for what a silence is about.
    func record(request: APIRequest, status: Int) {
        // Data that comes all the time, not somebody's doing.
        if request.path == "/api/v1/write" || request.path == "/api/v2/alerts" { return }
        var actor = "api"
        if let header = request.header("authorization"), header.hasPrefix("Basic "),
            let pair = decodeBase64(header.utf8.dropFirst(6)), let colon = pair.firstIndex(of: UInt8(ascii: ":"))
        {
            actor = String(decoding: pair[..<colon], as: UTF8.self)
        } else if request.header("authorization") != nil {
            actor = "api token"
        }
        if let claimed = request.header(operatorHeader) {
            actor += " (\(String(claimed.unicodeScalars.filter { (0x20..<0x7F).contains($0.value) }.prefix(100))))"
        }
        record(
            actor: actor, action: "\(request.method) \(request.path)", subject: Self.subject(of: request),
            succeeded: status < 400, detail: status < 400 ? "" : "answered \(status)")
    }

    /// The parameters of a request, or what a silence is about; no API takes secrets in these.
    private static func subject(of request: APIRequest) -> String {
        if request.path == "/api/v2/silences",
            let silence = try? JSONDecoder().decode(SilenceSubject.self, from: Data(request.body))
        {
            return silence.text
        }
        return request.parameters.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
    }
}

private struct SilenceSubject: Decodable {
    struct Matcher: Decodable {
        var name: String
        var value: String
        var isRegex: Bool?
        var isEqual: Bool?
    }

    var id: String?
    var matchers: [Matcher]
    var startsAt: String?
    var endsAt: String?
    var createdBy: String?
    var comment: String?

    /// `alertname="Down" until 2026-… (by alice: maintenance)`
    var text: String {
        let matchers = matchers.map { matcher in
            let isEqual = matcher.isEqual ?? true
            let op = matcher.isRegex ?? false ? (isEqual ? "=~" : "!~") : (isEqual ? "=" : "!=")
            return "\(matcher.name)\(op)\"\(matcher.value)\""
        }
        return matchers.joined(separator: " ") + " until \(endsAt ?? "?") (by \(createdBy ?? "?"): \(comment ?? ""))"
    }
}
