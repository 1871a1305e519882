import MetricModel
import Platform
import PromQL

/// `query`, `query_range`, `format_query`, `parse_query`, `query_exemplars`: Prometheus' paths, parameters and answers.
package struct QueryRoutes: Sendable {
    private let backend: QueryBackend
    private let durations: Histogram
    private let maxPoints = 11_000

    package init(_ backend: QueryBackend) {
        self.backend = backend
        durations = backend.metrics.histogram(
            "kops_query_duration_seconds", "Time to evaluate a query.", bounds: [0.001, 0.01, 0.1, 1, 10, 60])
    }

    package var routes: [Route] {
        [
            .query("/api/v1/query") { try await instant($0) },
            .query("/api/v1/query_range") { try await range($0) },
            .query("/api/v1/format_query") { request in
                let expr = try parse(request.parameter("query") ?? "")
                return .success { $0.string(expr.pretty()) }
            },
            .query("/api/v1/parse_query") { request in
                let tree = try parse(request.parameter("query") ?? "").treeJSON
                return .success { $0.raw(tree) }
            },
            .query("/api/v1/query_exemplars") { request in
                let from = try request.time("start", or: minimumTime)
                let through = try request.time("end", or: maximumTime)
                if through < from { throw APIError(.badData, "end timestamp must not be before start timestamp") }
                _ = try parse(request.parameter("query") ?? "")
                // Exemplars are not stored.
                return .success { writer in writer.array([Int]()) { $0.int($1) } }
            },
        ]
    }

    private func instant(_ request: APIRequest) async throws -> APIReply {
        let now = backend.clock.nowMilliseconds()
        let time = try request.time("time", or: now)
        let timeout = try timeout(of: request)
        let lookback = try lookback(of: request)
        let text = request.parameter("query") ?? ""
        let limit = try request.limit()
        let started = monotonicNanoseconds()
        let expr = try parse(text)
        let parsed = monotonicNanoseconds()
        let asked = Asked(text, from: time, through: time, step: 0, started: started, parsed: parsed)
        return try await evaluated(request, asked, timeout, limit) { [backend] control in
            try backend.engine.instant(
                expr, at: time, source: backend.source, control: control, lookback: lookback, text: text)
        }
    }

    private func range(_ request: APIRequest) async throws -> APIReply {
        guard let from = parseTime(request.parameter("start") ?? "") else { throw missing("start", request) }
        guard let through = parseTime(request.parameter("end") ?? "") else { throw missing("end", request) }
        if through < from { throw APIError.parameter("end", "end timestamp must not be before start time") }
        guard let step = parseStep(request.parameter("step") ?? "") else {
            throw APIError.parameter(
                "step", "cannot parse \(quoteGo(request.parameter("step") ?? "")) to a valid duration")
        }
        if step <= 0 {
            throw APIError.parameter(
                "step", "zero or negative query resolution step widths are not accepted. Try a positive integer")
        }
        if (through - from) / step > Int64(maxPoints) {
            throw APIError(
                .badData,
                "exceeded maximum resolution of 11,000 points per timeseries. "
                    + "Try decreasing the query resolution (?step=XX)")
        }
        let timeout = try timeout(of: request)
        let lookback = try lookback(of: request)
        let text = request.parameter("query") ?? ""
        let limit = try request.limit()
        let started = monotonicNanoseconds()
        let expr = try parse(text)
        if expr.valueType == .string || expr.valueType == .matrix {
            let type = expr.valueType == .matrix ? "range vector" : "string"
            throw APIError.parameter(
                "query", "invalid expression type \"\(type)\" for range query, must be Scalar or instant Vector")
        }
        let parsed = monotonicNanoseconds()
        let asked = Asked(text, from: from, through: through, step: step, started: started, parsed: parsed)
        return try await evaluated(request, asked, timeout, limit) { [backend] control in
            try backend.engine.range(
                expr, from: from, through: through, step: step, source: backend.source, control: control,
                lookback: lookback, text: text)
        }
    }

    /// A query and when it came.
    private struct Asked: Sendable {
        let text: String
        let from: Int64
        let through: Int64
        let step: Int64
        let started: Int64
        let parsed: Int64

        init(_ text: String, from: Int64, through: Int64, step: Int64, started: Int64, parsed: Int64) {
            (self.text, self.from, self.through, self.step) = (text, from, through, step)
            (self.started, self.parsed) = (started, parsed)
        }
    }

    /// Evaluates, writes the answer and compresses it, all on one thread: one hand-over to the pool and one back, or none.
    private func evaluated(
        _ request: APIRequest, _ asked: Asked, _ timeout: Duration?, _ limit: Int,
        _ evaluate: @escaping @Sendable (QueryControl) throws -> QueryResult
    ) async throws -> APIReply {
        let (stats, durations) = (request.parameter("stats"), durations)
        let log = backend.log.flatMap { $0.isOn ? $0 : nil }
        let origin = LoggedQuery.Origin.request(client: request.client, method: request.method, path: request.path)
        // Writing it down may wait for the disk.
        let isHere = request.mayAnswerHere && log == nil
        let question = QuickQueries.Question(asked.text, span: asked.through - asked.from, step: asked.step)
        return try await backend.run(request.cancellation, timeout: timeout, asking: question, isHere: isHere) {
            control in
            let began = monotonicNanoseconds()
            func timings() -> QueryTimings {
                QueryTimings(
                    started: asked.started, parsed: asked.parsed, began: began, ended: monotonicNanoseconds())
            }
            func note(_ timings: QueryTimings, _ stats: QueryStats, _ error: String?) {
                log?.add(
                    LoggedQuery(
                        query: asked.text, from: asked.from, through: asked.through, step: asked.step, origin: origin,
                        timings: timings, stats: stats, error: error))
            }
            do {
                let result = try evaluate(control).warned(control.warnings)
                let timings = timings()
                durations.observe(Double(timings.ended - began) / 1e9)
                note(timings, result.stats, nil)
                let reply = Self.reply(result, timings, limit: limit, stats: stats, control.parallel)
                return compressedHere(reply, for: request)
            } catch {
                note(timings(), QueryStats(), "\(error)")
                throw error
            }
        }
    }

    private static func reply(
        _ result: QueryResult, _ timings: QueryTimings, limit: Int, stats: String?, _ parallel: QueryControl.Parallel?
    ) -> APIReply {
        var value = result.value
        var warnings = result.warnings
        if limit > 0, value.truncate(to: limit) { warnings.append("results truncated due to limit") }
        let encoder = QueryResultEncoder(
            value: value, warnings: warnings, infos: result.infos,
            stats: (stats ?? "").isEmpty ? nil : (result.stats, timings, stats == "all"), parallel: parallel)
        return encoder.reply()
    }

    private func parse(_ text: String) throws(APIError) -> Expr {
        do {
            return try backend.engine.parse(text)
        } catch {
            let place = text.isEmpty ? "unknown position: parse error: \(error.message)" : error.description
            throw .parameter("query", place)
        }
    }

    private func missing(_ name: String, _ request: APIRequest) -> APIError {
        .parameter(name, "cannot parse \(quoteGo(request.parameter(name) ?? "")) to a valid timestamp")
    }

    private func timeout(of request: APIRequest) throws(APIError) -> Duration? {
        guard let text = request.parameter("timeout"), !text.isEmpty else { return nil }
        guard let milliseconds = parseStep(text) else {
            throw .parameter("timeout", "cannot parse \(quoteGo(text)) to a valid duration")
        }
        return .milliseconds(milliseconds)
    }

    private func lookback(of request: APIRequest) throws(APIError) -> Int64? {
        guard let text = request.parameter("lookback_delta"), !text.isEmpty else { return nil }
        guard let milliseconds = parseStep(text) else {
            throw .parameter("lookback_delta", "cannot parse \(quoteGo(text)) to a valid duration")
        }
        return milliseconds > 0 ? milliseconds : nil
    }
}

extension QueryResult {
    /// With what the source had to say of its completeness.
    fileprivate func warned(_ notes: [String]) -> QueryResult {
        if notes.isEmpty { return self }
        var result = self
        result.warnings += notes
        return result
    }
}

extension QueryValue {
    /// Keeps the first `limit` series; whether any were dropped.
    fileprivate mutating func truncate(to limit: Int) -> Bool {
        switch self {
        case .vector(let samples) where samples.count > limit:
            self = .vector(Array(samples.prefix(limit)))
            return true
        case .matrix(let series) where series.count > limit:
            self = .matrix(Array(series.prefix(limit)))
            return true
        default: return false
        }
    }
}
