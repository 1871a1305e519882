import MetricModel

/// Evaluates one query. Used by one thread; what runs in parallel gets its own pieces.
final class Evaluator {
    let options: EngineOptions
    let source: any Queryable
    let control: QueryControl
    /// The query's own bounds and step, which `@ start()`, `step()` and friends refer to; the step is 0 for an instant.
    let queryStart: Int64
    let queryEnd: Int64
    let queryStep: Int64
    let lookback: Int64
    let delayedNames: Bool
    var notes = Annotations()
    var stats = QueryStats()
    let plan: QueryPlan
    private var shared: [SharedKey: Evaluated] = [:]

    private struct SharedKey: Hashable {
        var text: String
        var grid: Grid
    }

    init(
        _ options: EngineOptions, _ source: any Queryable, _ control: QueryControl, from: Int64, through: Int64,
        step: Int64, lookback: Int64?, root: Expr
    ) {
        self.options = options
        self.source = source
        self.control = control
        queryStart = from
        queryEnd = through
        queryStep = step
        self.lookback = lookback.map { $0 > 0 ? $0 : options.lookbackDelta } ?? options.lookbackDelta
        delayedNames = options.features.contains(.delayedNameRemoval)
        plan = QueryPlan(root)
    }

    func result(_ value: QueryValue, _ text: String) -> QueryResult {
        let rendered = notes.rendered(in: Array(text.utf8))
        return QueryResult(value: value, warnings: rendered.warnings, infos: rendered.infos, stats: stats)
    }

    // MARK: - Names

    /// Labels of a derived series: without its name now, or marked to lose it at the end.
    func unnamed(_ column: inout Column) {
        column.dropName = true
        if !delayedNames { column.labels = column.labels.withoutMetadata }
    }

    /// After an operation that changed labels: joins what became the same.
    func joined(_ columns: [Column]) throws -> [Column] { delayedNames ? columns : try joinSameLabels(columns) }

    /// Drops names whose removal was delayed, and joins what became the same.
    func finish(_ columns: [Column]) throws -> [Column] {
        guard delayedNames else { return columns }
        var columns = columns
        for i in columns.indices where columns[i].dropName { columns[i].labels = columns[i].labels.withoutMetadata }
        return try joinSameLabels(columns)
    }

    // MARK: - Nodes

    func evaluate(_ expr: Expr, _ grid: Grid) throws -> Evaluated {
        try control.check()
        if grid.count > 1, plan.isInvariant(expr) { return try evaluateOnce(expr, grid) }
        guard let text = plan.sharedText(expr) else { return try evaluateNode(expr, grid) }
        let key = SharedKey(text: text, grid: grid)
        if let known = shared[key] { return known }
        let value = try evaluateNode(expr, grid)
        shared[key] = value
        return value
    }

    /// The value does not depend on the step: computed at one, then repeated.
    private func evaluateOnce(_ expr: Expr, _ grid: Grid) throws -> Evaluated {
        let value = try evaluate(expr, grid.first)
        try hold(value.cells * (grid.count - 1))
        switch value {
        case .string: return value
        case .scalar(let values): return .scalar([Double](repeating: values[0], count: grid.count))
        case .vector(let columns):
            return .vector(
                columns.map { column in
                    Column(
                        labels: column.labels, dropName: column.dropName,
                        values: [Double](repeating: column.values[0], count: grid.count),
                        histograms: column.histograms.map { [NativeHistogram?](repeating: $0[0], count: grid.count) })
                })
        }
    }

    private func evaluateNode(_ expr: Expr, _ grid: Grid) throws -> Evaluated {
        switch expr.kind {
        case .number(let value, _): return .scalar([Double](repeating: value, count: grid.count))
        case .string(let text): return .string(text)
        case .paren(let inner): return try evaluate(inner, grid)
        case .unary(let negative, let inner): return try negated(inner, grid, negative)
        case .vector(let selector): return .vector(try instantVector(selector, grid))
        case .matrix, .subquery:
            throw QueryError(.internalError, "a range vector is no value of its own")
        case .aggregate(let aggregation): return .vector(try aggregate(aggregation, expr, grid))
        case .binary(let binary): return try binaryOperation(binary, expr, grid)
        case .call(let function, let arguments): return try call(function, arguments, expr, grid)
        }
    }

    func vector(_ expr: Expr, _ grid: Grid) throws -> [Column] {
        guard case .vector(let columns) = try evaluate(expr, grid) else {
            throw QueryError(.internalError, "an instant vector was expected")
        }
        return columns
    }

    func scalar(_ expr: Expr, _ grid: Grid) throws -> [Double] {
        guard case .scalar(let values) = try evaluate(expr, grid) else {
            throw QueryError(.internalError, "a scalar was expected")
        }
        return values
    }

    func string(_ expr: Expr) throws -> String {
        guard case .string(let text) = expr.unwrapped.kind else {
            throw QueryError(.internalError, "a string was expected")
        }
        return text
    }

    private func negated(_ inner: Expr, _ grid: Grid, _ negative: Bool) throws -> Evaluated {
        switch try evaluate(inner, grid) {
        case .string(let text): return .string(text)
        case .scalar(let values): return .scalar(negative ? values.map { -$0 } : values)
        case .vector(var columns):
            guard negative else { return .vector(columns) }
            for i in columns.indices {
                unnamed(&columns[i])
                columns[i].map { -$0 }
                columns[i].mapHistograms {
                    $0.scale(by: -1)
                    $0.counterResetHint = .gauge
                }
            }
            return .vector(try joined(columns))
        }
    }

    // MARK: - Limits

    /// Accounts for figures held on behalf of the query.
    func hold(_ cells: Int) throws {
        try control.charge(cells)
        stats.peakSamples = max(stats.peakSamples, control.samplesHeld)
    }

    func release(_ cells: Int) { try? control.charge(-cells) }
}

extension Column {
    /// Replaces every float there is.
    @inline(__always)
    mutating func map(_ body: (Double) -> Double) {
        values.withUnsafeMutableBufferPointer { buffer in
            for i in buffer.indices where !buffer[i].isAbsent { buffer[i] = body(buffer[i]) }
        }
    }

    mutating func mapHistograms(_ body: (inout NativeHistogram) -> Void) {
        guard var all = histograms else { return }
        histograms = nil
        for i in all.indices {
            guard var histogram = all[i] else { continue }
            all[i] = nil
            body(&histogram)
            all[i] = histogram
        }
        histograms = all
    }
}
