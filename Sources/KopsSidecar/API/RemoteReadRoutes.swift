package import MetricModel
import Monitoring
import Platform

/// `/api/v1/read`: Prometheus' remote read, as samples or as a stream of chunks.
package struct RemoteReadRoutes: Sendable {
    private let backend: QueryBackend
    private let externalLabels: @Sendable () -> Labels

    package init(_ backend: QueryBackend, externalLabels: @escaping @Sendable () -> Labels) {
        self.backend = backend
        self.externalLabels = externalLabels
    }

    package var routes: [Route] { [Route(["POST"], "/api/v1/read") { try await read($0) }] }

    private func read(_ request: APIRequest) async throws -> APIReply {
        let asked: ReadRequest
        do {
            asked = try ReadRequest(compressed: request.body)
        } catch {
            return .text(400, "\(error)\n")
        }
        guard asked.queries.count <= 100 else { return .text(400, "a request has at most 100 queries\n") }
        let external = externalLabels()
        let source = backend.source
        let results = try await backend.run(request.cancellation) { control in
            try asked.queries.map { query in
                // The external labels are on no stored series: they are taken for given and added to the answer.
                let matchers = query.matchers.filter { matcher in
                    guard let value = external[matcher.name] else { return true }
                    return !matcher.matches(value)
                }
                let found = try source.select(matchers, from: query.from, through: query.through, control: control)
                return external.isEmpty ? found : found.map { named($0, external) }
            }
        }
        guard asked.acceptsChunks else {
            var reply = APIReply(200, "application/x-protobuf", ReadResponse.samples(results))
            reply.headers.append(("Content-Encoding", "snappy"))
            return reply
        }
        var reply = APIReply(200, "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse", [])
        let frames = Lock(ReadFrames(results: results))
        reply.body = .pieces { frames.withLock { $0.next() } }
        return reply
    }
}

private func named(_ series: SeriesData, _ external: Labels) -> SeriesData {
    var series = series
    var builder = LabelsBuilder(series.labels)
    for (name, value) in external.pairs where builder[name] == nil { builder.set(name, value) }
    series.labels = builder.labels()
    return series
}

/// Frames of some series at a time.
private struct ReadFrames: Sendable {
    let results: [[SeriesData]]
    var query = 0
    var series = 0

    mutating func next() -> [UInt8]? {
        var out: [UInt8] = []
        while query < results.count, out.count < 1 << 20 {
            guard series < results[query].count else {
                query += 1
                series = 0
                continue
            }
            out += ReadResponse.frame(results[query][series], query: query)
            series += 1
        }
        return out.isEmpty ? nil : out
    }
}
