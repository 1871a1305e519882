package import MetricModel

/// How queries are evaluated.
package struct EngineOptions: Sendable {
    /// How far back an instant selector looks for a sample. Milliseconds.
    package var lookbackDelta: Int64 = 300_000
    package var features: PromQLFeatures = []
    /// The step of subqueries that name none: Prometheus takes the global evaluation interval. Milliseconds.
    package var defaultSubqueryStep: Int64 = 60_000
    /// Most steps of one range evaluation, subqueries included.
    package var maxSteps = 10_000_000
    /// Calls the body with 0..<n, on several threads at once where it likes, and returns when all calls have.
    /// Nil: one thread.
    package var parallel: QueryControl.Parallel?
    /// Ranges that hold the sample on their left border too, as up to Prometheus 2. For comparing with such servers.
    package var closedRanges = false

    package init() {}
}

/// Evaluates queries. Holds options only, so one engine serves all threads. Calls block and compute: make them from a
/// worker pool, and cancel them through the `QueryControl`.
package final class Engine: Sendable {
    package let options: EngineOptions

    package init(_ options: EngineOptions = EngineOptions()) { self.options = options }

    /// Reads a query with the engine's features.
    package func parse(_ text: String) throws(ParseError) -> Expr {
        try parseExpression(text, features: options.features)
    }

    /// The value at one moment (milliseconds since 1970 UTC). `lookback` overrides the engine's. `text` is what the
    /// expression was read from; places in warnings refer to it.
    package func instant(
        _ expr: Expr, at time: Int64, source: any Queryable, control: QueryControl, lookback: Int64? = nil,
        text: String? = nil
    ) throws(QueryError) -> QueryResult {
        do {
            let evaluator = Evaluator(
                options, source, control, from: time, through: time, step: 0, lookback: lookback, root: expr)
            let grid = Grid(start: time, step: 1, count: 1)
            let value: QueryValue
            if expr.valueType == .matrix {
                value = .matrix(try evaluator.rangeVector(expr, at: time))
            } else {
                switch try evaluator.evaluate(expr, grid) {
                case .scalar(let values): value = .scalar(timestamp: time, value: values[0])
                case .string(let text): value = .string(timestamp: time, value: text)
                case .vector(let columns):
                    let finished = try evaluator.finish(columns)
                    var samples: [VectorSample] = []
                    samples.reserveCapacity(finished.count)
                    for column in finished where column.isPresent(0) {
                        samples.append(
                            VectorSample(
                                labels: column.labels, timestamp: time, value: column.values[0],
                                histogram: column.histograms?[0]))
                    }
                    value = .vector(samples)
                }
            }
            return evaluator.result(value, text ?? expr.description)
        } catch {
            throw queryError(error)
        }
    }

    /// The values at `from`, `from + step`, … up to and including `through` (milliseconds since 1970 UTC); always a
    /// matrix. `step` is above zero.
    package func range(
        _ expr: Expr, from: Int64, through: Int64, step: Int64, source: any Queryable, control: QueryControl,
        lookback: Int64? = nil, text: String? = nil
    ) throws(QueryError) -> QueryResult {
        let type = expr.valueType
        guard type == .scalar || type == .vector else {
            throw QueryError(
                .badData,
                "invalid expression type \(quoteGo(type.documented)) for range query, must be Scalar or instant Vector")
        }
        guard step > 0 else {
            throw QueryError(
                .badData, "zero or negative query resolution step widths are not accepted. Try a positive integer")
        }
        guard through >= from else { throw QueryError(.badData, "end timestamp must not be before start time") }
        let (distance, overflow) = through.subtractingReportingOverflow(from)
        guard !overflow, distance / step < Int64(options.maxSteps) else {
            throw QueryError(.badData, "exceeded the maximum of \(options.maxSteps) steps of a range query")
        }
        do {
            let evaluator = Evaluator(
                options, source, control, from: from, through: through, step: step, lookback: lookback, root: expr)
            let grid = Grid(start: from, step: step, count: Int(distance / step) + 1)
            let times = (0..<grid.count).map(grid.time)
            var series: [SeriesData]
            switch try evaluator.evaluate(expr, grid) {
            case .string: series = []
            case .scalar(let values): series = [SeriesData(labels: .empty, timestamps: times, values: values)]
            case .vector(let columns):
                series = try evaluator.finish(columns).compactMap { $0.compacted(times) }
                series = series.sortedByLabels(\.labels)
            }
            return evaluator.result(.matrix(series), text ?? expr.description)
        } catch {
            throw queryError(error)
        }
    }
}

extension Column {
    /// Without the steps that have no sample; nil where none has one.
    func compacted(_ times: [Int64]) -> SeriesData? {
        guard let histograms else {
            var kept = 0
            for value in values where !value.isAbsent { kept += 1 }
            if kept == 0 { return nil }
            if kept == values.count { return SeriesData(labels: labels, timestamps: times, values: values) }
            var timestamps: [Int64] = []
            var present: [Double] = []
            timestamps.reserveCapacity(kept)
            present.reserveCapacity(kept)
            for (i, value) in values.enumerated() where !value.isAbsent {
                timestamps.append(times[i])
                present.append(value)
            }
            return SeriesData(labels: labels, timestamps: timestamps, values: present)
        }
        var out = SeriesData(labels: labels, timestamps: [], values: [], histograms: [])
        for i in values.indices where isPresent(i) {
            out.timestamps.append(times[i])
            out.values.append(histograms[i] == nil ? values[i] : 0)
            out.histograms?.append(histograms[i])
        }
        return out.timestamps.isEmpty ? nil : out
    }
}

func queryError(_ error: any Error) -> QueryError {
    switch error {
    case let error as QueryError: return error
    case let stop as QueryStop:
        switch stop {
        case .cancelled, .wouldWait: return QueryError(.canceled, "query was canceled in expression evaluation")
        case .timedOut: return QueryError(.timeout, "query timed out in expression evaluation")
        case .tooManySamples:
            return QueryError(
                .execution, "query processing would load too many samples into memory in query execution")
        }
    default: return QueryError(.execution, "expanding series: \(error)")
    }
}
