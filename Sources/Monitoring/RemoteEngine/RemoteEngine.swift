import FoundationEssentials
package import MetricModel
package import Platform
package import PromQL

/// A Prometheus-compatible server that keeps the data and answers queries: Prometheus, VictoriaMetrics, Mimir, Thanos.
/// Thread-safe. Calls of `Queryable` and `evaluate` block; make them from a worker pool.
package final class RemoteEngine: Queryable {
    /// What stands before `/api/v1/…`.
    private let base: String
    private let client: HTTPClient
    private let authorizer: HTTPAuthorizer
    private let timeout: Duration

    /// Larger answers are an error.
    private static let maxBytes = 256 << 20

    package init(
        url: String, config: HTTPClientConfig, client: HTTPClient, clock: WallClock, timeout: Duration = .seconds(120)
    ) {
        base = url.hasSuffix("/") ? String(url.dropLast()) : url
        self.client = client
        self.timeout = timeout
        authorizer = HTTPAuthorizer(config, client: client, clock: clock)
    }

    /// Hands a call of the query API on; the answer as it comes.
    package func forward(_ path: String, _ parameters: [(name: String, value: String)]) async throws -> HTTPResponse {
        // Label values are asked for by GET only; all else takes a form, which may be long.
        let form = parameters.map { "\(percentEncoded($0.name))=\(percentEncoded($0.value))" }.joined(separator: "&")
        var request: HTTPRequest
        if path.hasSuffix("/values") {
            request = HTTPRequest("GET", base + path + (form.isEmpty ? "" : "?" + form))
        } else {
            request = HTTPRequest("POST", base + path)
            request.headers.append(("Content-Type", "application/x-www-form-urlencoded"))
            request.body = Array(form.utf8)
        }
        request.timeout = timeout
        request.maxBodyBytes = Self.maxBytes
        return try await client.send(try await authorizer.prepare(request))
    }

    /// The vector an expression yields at a moment, evaluated there; a scalar is one sample without labels.
    package func evaluate(_ text: String, at time: Int64) throws -> [VectorSample] {
        let answer: Answer = try ask(
            "/api/v1/query", [("query", text), ("time", secondsText(time))], control: nil)
        switch answer.data.result {
        case .series(let series):
            return series.compactMap { one in
                one.value.map { VectorSample(labels: one.labels, timestamp: time, value: $0.value) }
            }
        case .single(let point) where answer.data.resultType == "scalar":
            return [VectorSample(labels: .empty, timestamp: time, value: point.value)]
        case .single: throw QueryError(.execution, "rule result is not a vector or scalar")
        }
    }

    // MARK: Queryable

    /// The raw samples, by a range selector over the whole time. Servers differ in whether a range holds its left border, so
    /// it reaches a millisecond further and what is outside is dropped.
    package func select(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws
        -> [SeriesData]
    {
        guard from <= through else { return [] }
        try control.checkMayWait()
        let selector = "{" + matchers.map(\.description).joined(separator: ",") + "}"
        let answer: Answer = try ask(
            "/api/v1/query", [("query", "\(selector)[\(through - from + 1)ms]"), ("time", secondsText(through))],
            control: control)
        guard case .series(let series) = answer.data.result else { return [] }
        var out: [SeriesData] = []
        for one in series {
            var data = SeriesData(labels: one.labels, timestamps: [], values: [])
            for point in one.values ?? [] {
                let time = Int64((point.time * 1000).rounded())
                guard time >= from, time <= through, data.timestamps.last.map({ $0 < time }) ?? true else { continue }
                data.timestamps.append(time)
                data.values.append(point.value)
            }
            if data.timestamps.isEmpty { continue }
            try control.charge(data.timestamps.count)
            out.append(data)
        }
        return out.sortedByLabels(\.labels)
    }

    package func series(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels] {
        var form = bounds(from, through)
        for set in matcherSets { form.append(("match[]", "{" + set.map(\.description).joined(separator: ",") + "}")) }
        let answer: Listing<[String: String]> = try ask("/api/v1/series", form, control: nil)
        let found = answer.data.map { Labels($0.map { ($0.key, $0.value) }) }.sorted()
        return limit > 0 ? Array(found.prefix(limit)) : found
    }

    package func labelNames(_ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String] {
        try names("/api/v1/labels", matchers, from, through, limit)
    }

    package func labelValues(_ name: String, _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws
        -> [String]
    {
        try names("/api/v1/label/\(percentEncoded(name))/values", matchers, from, through, limit)
    }

    private func names(_ path: String, _ matchers: [LabelMatcher], _ from: Int64, _ through: Int64, _ limit: Int) throws
        -> [String]
    {
        var form = bounds(from, through)
        if !matchers.isEmpty {
            form.append(("match[]", "{" + matchers.map(\.description).joined(separator: ",") + "}"))
        }
        let answer: Listing<String> = try ask(path, form, control: nil)
        return limit > 0 ? Array(answer.data.prefix(limit)) : answer.data
    }

    private func bounds(_ from: Int64, _ through: Int64) -> [(String, String)] {
        // Beyond these a bound means none.
        var form: [(String, String)] = []
        if from > 0 { form.append(("start", secondsText(from))) }
        if through < 253_402_300_800_000 { form.append(("end", secondsText(through))) }
        return form
    }

    private func secondsText(_ milliseconds: Int64) -> String {
        let fraction = milliseconds % 1000
        let digits = String(1000 + fraction.magnitude)
        return (milliseconds < 0 ? "-" : "") + "\(milliseconds.magnitude / 1000)." + digits.dropFirst()
    }

    // MARK: Asking

    private struct Failure: Decodable { var error: String? }

    private func ask<T: Decodable>(_ path: String, _ form: [(String, String)], control: QueryControl?) throws -> T {
        try control?.check()
        let response: HTTPResponse
        do {
            response = try waitFor { try await self.forward(path, form.map { (name: $0.0, value: $0.1) }) }
        } catch {
            throw QueryError(.execution, "the remote engine at \(redactURL(base)) cannot be asked: \(error)")
        }
        guard response.status == 200 else {
            let told = (try? JSONDecoder().decode(Failure.self, from: Data(response.body)))?.error
            throw QueryError(
                .execution,
                "the remote engine answers \(response.status): \(told ?? String(response.bodyText.prefix(200)))")
        }
        do {
            return try JSONDecoder().decode(T.self, from: Data(response.body))
        } catch {
            throw QueryError(.execution, "the remote engine's answer is not that of Prometheus' API: \(error)")
        }
    }

    private struct Listing<T: Decodable>: Decodable { var data: [T] }

    private struct Answer: Decodable {
        struct Body: Decodable {
            enum Result {
                case single(Point)
                case series([Series])
            }

            var resultType: String
            var result: Result

            enum CodingKeys: String, CodingKey { case resultType, result }

            init(from decoder: any Decoder) throws {
                let container = try decoder.container(keyedBy: CodingKeys.self)
                resultType = try container.decode(String.self, forKey: .resultType)
                switch resultType {
                case "scalar", "string": result = .single(try container.decode(Point.self, forKey: .result))
                default: result = .series(try container.decode([Series].self, forKey: .result))
                }
            }
        }

        struct Series: Decodable {
            var metric: [String: String]
            var value: Point?
            var values: [Point]?

            var labels: Labels { Labels(metric.map { ($0.key, $0.value) }) }
        }

        struct Point: Decodable {
            var time: Double
            var value: Double

            init(from decoder: any Decoder) throws {
                var list = try decoder.unkeyedContainer()
                time = try list.decode(Double.self)
                value = parseFloat(try list.decode(String.self)) ?? .nan
            }
        }

        var data: Body
    }
}
