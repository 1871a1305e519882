package import MetricModel
package import Platform

/// The local store together with what the endpoints of `remote_read` answer, as Prometheus joins them: the store's trouble is
/// the query's, an endpoint's is a warning of an answer that may be incomplete. Names and values of labels come from the
/// store alone. Calls block; make them from a worker pool. Thread-safe.
package final class RemoteReadSource: Queryable {
    private struct Endpoint: Sendable {
        let config: RemoteReadConfig
        let authorizer: HTTPAuthorizer
    }

    private struct State: Sendable {
        var endpoints: [Endpoint] = []
        var external = Labels.empty
        var localStart: (time: Int64, knownAt: Int64)?
    }

    private let local: any Queryable
    private let client: HTTPClient
    private let clock: WallClock
    private let metrics: MetricRegistry
    private let oldestLocal: @Sendable () -> Int64?
    private let startedAt: Int64
    private let userAgent: String
    private let state = Lock(State())

    /// `oldestLocal` gives the first time that the local store covers, nil while it holds no files.
    package init(
        local: any Queryable, oldestLocal: @escaping @Sendable () -> Int64?, client: HTTPClient, clock: WallClock,
        metrics: MetricRegistry, userAgent: String
    ) {
        self.local = local
        self.oldestLocal = oldestLocal
        self.client = client
        self.clock = clock
        self.metrics = metrics
        self.userAgent = userAgent
        startedAt = clock.nowMilliseconds()
    }

    package func apply(_ configs: [RemoteReadConfig], external: Labels) {
        let endpoints = configs.map { config in
            Endpoint(config: config, authorizer: HTTPAuthorizer(config.client, client: client, clock: clock))
        }
        state.withLock {
            $0.endpoints = endpoints
            $0.external = external
        }
    }

    package func select(
        _ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl
    ) throws -> [SeriesData] {
        let (endpoints, external) = state.withLock { ($0.endpoints, $0.external) }
        if endpoints.isEmpty {
            return try local.select(matchers, from: from, through: through, control: control)
        }
        try control.checkMayWait()
        let start = localStart()
        let asked = endpoints.compactMap { endpoint in
            endpoint.config.question(matchers, from: from, through: through, external: external, localStart: start)
                .map { (endpoint, $0, BlockingOutcome<HTTPResponse>()) }
        }
        let tasks = asked.map { endpoint, question, outcome in
            Task { outcome.set(await self.ask(endpoint, question)) }
        }
        defer { for task in tasks { task.cancel() } }
        var sources = [try local.select(matchers, from: from, through: through, control: control)]
        for (endpoint, question, outcome) in asked {
            do {
                let answer = try ReadAnswer(
                    try outcome.wait { try control.check() }.get(), to: question, control: control)
                if answer.histograms > 0 {
                    control.warn("remote_read \(endpoint.config.name): native histograms are left out")
                }
                sources.append(answer.series)
            } catch let stop as QueryStop {
                throw stop
            } catch {
                control.warn("remote_read \(endpoint.config.name): \(error)")
            }
        }
        return merged(sources)
    }

    package func series(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels] {
        try local.series(matcherSets, from: from, through: through, limit: limit)
    }

    package func labelNames(_ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String] {
        try local.labelNames(matchers, from: from, through: through, limit: limit)
    }

    package func labelValues(
        _ name: String, _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int
    ) throws -> [String] {
        try local.labelValues(name, matchers, from: from, through: through, limit: limit)
    }

    // MARK: Asking

    /// Looked up once a minute: retention moves it on.
    private func localStart() -> Int64 {
        let now = clock.nowMilliseconds()
        if let known = state.withLock({ $0.localStart }), abs(now - known.knownAt) < 60_000 { return known.time }
        let time = oldestLocal() ?? startedAt
        state.withLock { $0.localStart = (time, now) }
        return time
    }

    private func ask(_ endpoint: Endpoint, _ question: ReadQuestion) async -> Result<HTTPResponse, any Error> {
        let config = endpoint.config
        let started = monotonicNanoseconds()
        var code = "failed"
        defer {
            let labels = [("remote_name", config.name), ("url", redactURL(config.url))]
            metrics.counter(
                "prometheus_remote_storage_read_queries_total", "Remote read requests, by the status of the answer.",
                labels: labels + [("code", code)]
            ).add()
            metrics.histogram(
                "prometheus_remote_storage_read_request_duration_seconds", "Time of remote read requests.",
                labels: labels, bounds: [0.005, 0.025, 0.1, 0.5, 2.5, 10, 60]
            ).observe(Double(monotonicNanoseconds() - started) / 1e9)
        }
        do {
            var request = HTTPRequest("POST", config.url)
            request.body = question.body
            request.headers = [
                ("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy"),
                ("Accept-Encoding", "snappy"), ("X-Prometheus-Remote-Read-Version", "0.1.0"),
                ("User-Agent", userAgent),
            ]
            for header in config.headers { for value in header.values { request.headers.append((header.name, value)) } }
            request.timeout = .milliseconds(config.timeout)
            request.decompress = false
            request.maxBodyBytes = ReadAnswer.maxBytes
            let response = try await client.send(try await endpoint.authorizer.prepare(request))
            code = String(response.status)
            guard response.status / 100 == 2 else {
                let line = response.bodyText.prefix(200).split(separator: "\n").first ?? ""
                throw WriteRequestError("status \(response.status): \(line)")
            }
            return .success(response)
        } catch {
            return .failure(error)
        }
    }
}

/// Joins series of the same labels, the first source's samples before those of later ones of the same time. Sorted by labels.
func merged(_ sources: [[SeriesData]]) -> [SeriesData] {
    guard sources.dropFirst().contains(where: { !$0.isEmpty }) else { return sources.first ?? [] }
    var places: [Labels: Int] = [:]
    var out: [SeriesData] = []
    for source in sources {
        for data in source {
            let data = ascending(data)
            if let place = places[data.labels] {
                out[place] = joined(out[place], data)
            } else {
                places[data.labels] = out.count
                out.append(data)
            }
        }
    }
    return out.sorted { $0.labels < $1.labels }
}

/// Endpoints may send anything: strictly ascending times, the first of equal ones.
private func ascending(_ data: SeriesData) -> SeriesData {
    let times = data.timestamps
    guard times.indices.dropFirst().contains(where: { times[$0] <= times[$0 - 1] }) else { return data }
    var out = SeriesData(labels: data.labels, timestamps: [], values: [], histograms: data.histograms.map { _ in [] })
    for i in times.indices.sorted(by: { (times[$0], $0) < (times[$1], $1) }) where times[i] != out.timestamps.last {
        out.timestamps.append(times[i])
        out.values.append(data.values[i])
        out.histograms?.append(data.histograms?[i])
    }
    return out
}

private func joined(_ a: SeriesData, _ b: SeriesData) -> SeriesData {
    var both = SeriesData(labels: a.labels, timestamps: a.timestamps + b.timestamps, values: a.values + b.values)
    if a.histograms != nil || b.histograms != nil {
        both.histograms =
            (a.histograms ?? .init(repeating: nil, count: a.timestamps.count))
            + (b.histograms ?? .init(repeating: nil, count: b.timestamps.count))
    }
    return ascending(both)
}
