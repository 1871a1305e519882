import MetricModel

/// One series of a range vector: floats and histograms apart, stale markers gone.
struct RangeSeries: Sendable {
    var labels: Labels
    var dropName = false
    var times: [Int64] = []
    var values: [Double] = []
    var histogramTimes: [Int64] = []
    var histograms: [NativeHistogram] = []

    var sampleCount: Int { times.count + histogramTimes.count }
}

/// Where a range selector's windows lie: window i ends at `end(i)` and holds what is younger than its start.
struct Windows: Sendable {
    let grid: Grid
    let range: Int64
    let offset: Int64
    /// With `@`: the moment that all windows refer to.
    let fixed: Int64?
    /// 0 for windows that hold the sample on their left border too, else 1.
    let open: Int64

    @inline(__always)
    func end(_ i: Int) -> Int64 { (fixed ?? grid.time(i)) &- offset }

    var first: Int64 { end(0) &- range &+ open }
    var last: Int64 { end(grid.count - 1) }

    /// Calls `body` with each step and the indices of the samples in its window. One pass over the timestamps.
    @inline(__always)
    func slide(_ times: UnsafeBufferPointer<Int64>, _ body: (_ step: Int, _ from: Int, _ to: Int) -> Void) {
        var lo = 0
        var hi = 0
        let n = times.count
        for i in 0..<grid.count {
            let end = end(i)
            let start = end &- range &+ open
            while hi < n, times[hi] <= end { hi += 1 }
            while lo < hi, times[lo] < start { lo += 1 }
            body(i, lo, hi)
        }
    }
}

extension Evaluator {
    /// A shift's fixed moment, if it has one, and its offset. Milliseconds.
    func resolve(_ time: TimeShift) throws -> (fixed: Int64?, offset: Int64) {
        let fixed: Int64?
        switch time.at {
        case .none: fixed = nil
        case .start: fixed = queryStart
        case .end: fixed = queryEnd
        case .time(let moment): fixed = moment
        }
        return (fixed, try milliseconds(time.offset, mayBeNegative: true))
    }

    func milliseconds(_ span: Span, mayBeNegative: Bool = false) throws -> Int64 {
        switch span {
        case .literal(let milliseconds): return milliseconds
        case .computed(let expr):
            let seconds = try evaluate(expr)
            let place = "\(expr.range.lowerBound):\(expr.range.upperBound)"
            if !seconds.isFinite { throw QueryError(.execution, "\(place): duration is NaN or infinite") }
            if seconds <= 0, !mayBeNegative {
                throw QueryError(.execution, "\(place): duration must be greater than 0")
            }
            if abs(seconds) > 9.2e9 { throw QueryError(.execution, "\(place): duration is out of range") }
            return Int64(seconds * 1000)
        }
    }

    /// Seconds.
    private func evaluate(_ expr: DurationExpr) throws -> Double {
        switch expr.kind {
        case .number(let value, _): return value
        case .step: return Double(queryStep) / 1000
        case .range: return Double(queryEnd - queryStart) / 1000
        case .minOf(let a, let b): return try goMin(evaluate(a), evaluate(b))
        case .maxOf(let a, let b): return try goMax(evaluate(a), evaluate(b))
        case .unary(let negative, let inner):
            let value = try evaluate(inner)
            return negative ? -value : value
        case .paren(let inner): return try evaluate(inner)
        case .binary(let op, let left, let right):
            let a = try evaluate(left)
            let b = try evaluate(right)
            if b == 0, op == .divide || op == .modulo {
                throw QueryError(
                    .execution,
                    "\(expr.range.lowerBound):\(expr.range.upperBound): \(op == .divide ? "division" : "modulo") by zero"
                )
            }
            return scalarArithmetic(op, a, b)
        }
    }

    /// `newest`: of each series only the newest sample within the bounds is needed.
    func select(_ matchers: [LabelMatcher], from: Int64, through: Int64, newest: Bool = false) throws -> [SeriesData] {
        let series =
            newest
            ? try source.selectNewest(matchers, from: from, through: through, control: control)
            : try source.select(matchers, from: from, through: through, control: control)
        stats.peakSamples = max(stats.peakSamples, control.samplesHeld)
        return series
    }

    // MARK: - Instant vectors

    func instantVector(_ selector: VectorSelector, _ grid: Grid) throws -> [Column] {
        if selector.smoothed { return try smoothedVector(selector, grid) }
        return try lookedUp(selector, grid) { values, i, series, j in values[i] = series.values[j] }
    }

    /// For `timestamp()`: the time of each sample in seconds instead of its value.
    func sampleTimes(_ selector: VectorSelector, _ grid: Grid) throws -> [Column] {
        var columns = try lookedUp(selector, grid, timesOnly: true) { values, i, series, j in
            values[i] = Double(series.timestamps[j]) / 1000
        }
        for i in columns.indices { unnamed(&columns[i]) }
        return try joined(columns)
    }

    private func lookedUp(
        _ selector: VectorSelector, _ grid: Grid, timesOnly: Bool = false,
        _ take: (inout UnsafeMutableBufferPointer<Double>, Int, borrowing SeriesData, Int) -> Void
    ) throws -> [Column] {
        let (fixed, offset) = try resolve(selector.time)
        let windows = Windows(
            grid: grid, range: lookback, offset: offset, fixed: fixed, open: options.closedRanges ? 0 : 1)
        let found = try select(
            selector.matchers, from: windows.first, through: windows.last, newest: grid.count == 1)
        var columns: [Column] = []
        columns.reserveCapacity(found.count)
        var samples = 0
        for series in found {
            samples += series.timestamps.count
            try hold(grid.count)
            var histograms: [NativeHistogram?]?
            if series.histograms != nil, !timesOnly {
                histograms = [NativeHistogram?](repeating: nil, count: grid.count)
            }
            var present = 0
            let values = [Double](unsafeUninitializedCapacity: grid.count) { buffer, count in
                count = grid.count
                if series.histograms == nil {
                    present = Self.lookUp(series, windows, lookback, &buffer, take)
                    return
                }
                let n = series.timestamps.count
                var next = 0
                for i in 0..<grid.count {
                    let end = windows.end(i)
                    while next < n, series.timestamps[next] <= end { next += 1 }
                    buffer[i] = absent
                    guard next > 0, series.timestamps[next - 1] >= end &- lookback &+ windows.open else { continue }
                    if let histogram = series.histograms?[next - 1] {
                        if histogram.sum.isStaleMarker { continue }
                        histograms?[i] = histogram
                        if timesOnly { take(&buffer, i, series, next - 1) }
                        present += 1
                        continue
                    }
                    if series.values[next - 1].isStaleMarker { continue }
                    take(&buffer, i, series, next - 1)
                    present += 1
                }
            }
            if present > 0 {
                stats.totalQueryableSamples += present
                columns.append(Column(labels: series.labels, values: values, histograms: histograms))
            } else {
                release(grid.count)
            }
        }
        release(samples)
        return columns
    }

    /// The newest float within the lookback of each step; how many there are.
    @inline(__always)
    private static func lookUp(
        _ series: SeriesData, _ windows: Windows, _ lookback: Int64, _ out: inout UnsafeMutableBufferPointer<Double>,
        _ take: (inout UnsafeMutableBufferPointer<Double>, Int, borrowing SeriesData, Int) -> Void
    ) -> Int {
        var present = 0
        series.timestamps.withUnsafeBufferPointer { times in
            series.values.withUnsafeBufferPointer { values in
                var next = 0
                for i in 0..<windows.grid.count {
                    let end = windows.end(i)
                    while next < times.count, times[next] <= end { next += 1 }
                    out[i] = absent
                    guard next > 0, times[next - 1] >= end &- lookback &+ windows.open, !values[next - 1].isAbsent
                    else { continue }
                    take(&out, i, series, next - 1)
                    present += 1
                }
            }
        }
        return present
    }

    // MARK: - Range vectors

    /// The series of a range expression with the windows that slide over them.
    func rangeInput(_ expr: Expr, _ grid: Grid) throws -> (series: [RangeSeries], windows: Windows) {
        switch expr.unwrapped.kind {
        case .matrix(let selector, let span):
            let (fixed, offset) = try resolve(selector.time)
            let windows = Windows(
                grid: grid, range: try milliseconds(span), offset: offset, fixed: fixed,
                open: options.closedRanges ? 0 : 1)
            let extra = selector.anchored || selector.smoothed ? lookback : 0
            let found = try select(
                selector.matchers, from: windows.first &- extra,
                through: windows.last &+ (selector.smoothed ? lookback : 0))
            return (found.map(RangeSeries.init), windows)
        case .subquery(let subquery): return try subqueryInput(subquery, grid)
        default: throw QueryError(.internalError, "a range vector was expected")
        }
    }

    private func subqueryInput(
        _ subquery: Expr.Subquery, _ grid: Grid
    ) throws -> (series: [RangeSeries], windows: Windows) {
        let (fixed, offset) = try resolve(subquery.time)
        let windows = Windows(
            grid: grid, range: try milliseconds(subquery.range), offset: offset, fixed: fixed,
            open: options.closedRanges ? 0 : 1)
        let step = try subquery.step.map { try milliseconds($0) } ?? options.defaultSubqueryStep
        guard step > 0 else { throw QueryError(.execution, "a subquery's step must be at least a millisecond") }
        // The inner steps are multiples of the step, whatever the outer ones are.
        let from = windows.end(0) &- windows.range
        var start = floorDivide(from, step) &* step
        if windows.open == 1 ? start <= from : start < from { start += step }
        guard windows.last >= start else { return ([], windows) }
        let count = (windows.last - start) / step + 1
        guard count <= Int64(options.maxSteps) else {
            throw QueryError(.execution, "a subquery has \(count) steps; at most \(options.maxSteps) are allowed")
        }
        let inner = Grid(start: start, step: step, count: Int(count))
        let columns = try vector(subquery.expr, inner)
        let times = (0..<inner.count).map(inner.time)
        var series: [RangeSeries] = []
        series.reserveCapacity(columns.count)
        for column in columns {
            guard let data = column.compacted(times) else { continue }
            var one = RangeSeries(data)
            one.dropName = column.dropName
            // Which sample came before is no longer what it was when the hints were set.
            for i in one.histograms.indices where one.histograms[i].counterResetHint != .gauge {
                one.histograms[i].counterResetHint = .unknown
            }
            series.append(one)
        }
        return (series, windows)
    }

    /// A range vector as the query's own result.
    func rangeVector(_ expr: Expr, at time: Int64) throws -> [SeriesData] {
        let grid = Grid(start: time, step: 1, count: 1)
        if case .matrix(let selector, _) = expr.unwrapped.kind, selector.anchored || selector.smoothed {
            return try extendedRangeVector(expr, grid)
        }
        let (series, windows) = try rangeInput(expr, grid)
        var out: [SeriesData] = []
        for one in series {
            var samples: [(Int64, Double, NativeHistogram?)] = []
            one.times.withUnsafeBufferPointer { times in
                windows.slide(times) { _, from, to in
                    for j in from..<to { samples.append((times[j], one.values[j], nil)) }
                }
            }
            one.histogramTimes.withUnsafeBufferPointer { times in
                windows.slide(times) { _, from, to in
                    for j in from..<to { samples.append((times[j], 0, one.histograms[j])) }
                }
            }
            if samples.isEmpty { continue }
            samples.sort { $0.0 < $1.0 }
            stats.totalQueryableSamples += samples.count
            let labels = delayedNames && one.dropName ? one.labels.withoutMetadata : one.labels
            out.append(
                SeriesData(
                    labels: labels, timestamps: samples.map(\.0), values: samples.map(\.1),
                    histograms: one.histograms.isEmpty ? nil : samples.map(\.2)))
        }
        out = out.sortedByLabels(\.labels)
        return out
    }
}

extension RangeSeries {
    init(_ data: SeriesData) {
        labels = data.labels
        guard let mixed = data.histograms else {
            // `isAbsent` is the same test, and known in this module.
            if data.values.contains(where: \.isAbsent) {
                times.reserveCapacity(data.values.count)
                values.reserveCapacity(data.values.count)
                for (i, value) in data.values.enumerated() where !value.isAbsent {
                    times.append(data.timestamps[i])
                    values.append(value)
                }
            } else {
                times = data.timestamps
                values = data.values
            }
            return
        }
        for i in data.timestamps.indices {
            if let histogram = mixed[i] {
                if histogram.sum.isStaleMarker { continue }
                histogramTimes.append(data.timestamps[i])
                histograms.append(histogram)
            } else if !data.values[i].isStaleMarker {
                times.append(data.timestamps[i])
                values.append(data.values[i])
            }
        }
    }
}
