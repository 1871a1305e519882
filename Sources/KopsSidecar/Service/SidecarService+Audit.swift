import ClusterOps
import Monitoring
import Platform

func makeAuditSinks(_ config: SidecarConfig, client: HTTPClient) -> [any AuditSink] {
    let origin = AuditOrigin(cluster: config.cluster.name, node: hostName())
    func transport(_ http: HTTPClientConfig) -> AuditTransport {
        let identity = HTTPAuthorizer(http, client: client, clock: .system)
        return { request in try await client.send(try await identity.prepare(request)) }
    }
    var sinks: [any AuditSink] = []
    if let loki = config.audit.loki {
        sinks.append(LokiSink(url: loki.url, origin: origin, transport: transport(loki.http)))
    }
    if let elastic = config.audit.elasticsearch {
        sinks.append(
            ElasticsearchSink(
                url: elastic.url, index: config.audit.index, origin: origin, transport: transport(elastic.http)))
    }
    return sinks
}

extension AuditTrail {
    /// A request that may have changed something, by the user it was made as. Bodies are not kept: they may hold secrets.
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
        record(
            actor: actor, action: "\(request.method) \(request.path)", succeeded: status < 400,
            detail: status < 400 ? "" : "answered \(status)")
    }
}
