import MetricModel

/// `anchored` and `smoothed`: range borders taken from the samples around them instead of extrapolated.
extension Evaluator {
    private static let anchoredFunctions: [RangeFunction] = [.changes, .delta, .increase, .rate, .resets]
    private static let smoothedFunctions: [RangeFunction] = [.delta, .increase, .rate]

    func extendedCall(
        _ function: RangeFunction, _ selector: VectorSelector, _ argument: Expr, _ expr: Expr, _ grid: Grid
    ) throws -> [Column] {
        let allowed = selector.anchored ? Self.anchoredFunctions : Self.smoothedFunctions
        if !allowed.contains(function) {
            let names = allowed.map(\.rawValue).sorted().joined(separator: ", ")
            throw QueryError(
                .execution,
                "\(selector.anchored ? "anchored" : "smoothed") modifier can only be used with: \(names) - not with \(function.rawValue)"
            )
        }
        let (series, windows) = try rangeInput(argument, grid)
        let call = RangeCall(
            function: function, windows: windows, scalars: [], argument: argument, call: expr,
            typeLabels: options.features.contains(.typeAndUnitLabels), control: control)
        var out: [Column] = []
        for one in series {
            var column = Column(labels: one.labels, values: [Double](repeating: absent, count: grid.count))
            try hold(grid.count)
            for i in 0..<grid.count {
                if i & 255 == 0 { try control.check() }
                let end = windows.end(i)
                let window = call.surroundings(
                    one, from: end - windows.range - lookback, through: selector.smoothed ? end + lookback : end)
                if window.floats.isEmpty, window.histograms.isEmpty { continue }
                switch call.extended(window, end, selector.smoothed, one.labels.metricName, &notes) {
                case .none: break
                case .float(let value, _): column.values[i] = value
                case .histogram(let histogram, _): column.set(i, histogram)
                }
            }
            if column.isEmpty { continue }
            unnamed(&column)
            out.append(column)
        }
        return delayedNames ? out : try joinSameLabels(out)
    }

    /// A range vector with a sample at each border.
    func extendedRangeVector(_ expr: Expr, _ grid: Grid) throws -> [SeriesData] {
        guard case .matrix(let selector, _) = expr.unwrapped.kind else { return [] }
        let (series, windows) = try rangeInput(expr, grid)
        let end = windows.end(0)
        let start = end - windows.range
        var out: [SeriesData] = []
        for one in series {
            if !one.histograms.isEmpty {
                throw QueryError(
                    .execution,
                    "\(selector.anchored ? "anchored" : "smoothed") modifier is not supported with histograms")
            }
            let samples = zip(one.times, one.values).filter {
                $0.0 > start - lookback && $0.0 <= (selector.smoothed ? end + lookback : end)
            }
            guard let borders = FloatBorders(samples, start, end, selector.smoothed, counter: false) else { continue }
            var data = SeriesData(labels: one.labels, timestamps: [start], values: [borders.left])
            for sample in borders.inner {
                data.timestamps.append(sample.0)
                data.values.append(sample.1)
            }
            data.timestamps.append(end)
            data.values.append(borders.right)
            out.append(data)
        }
        out = out.sortedByLabels(\.labels)
        return out
    }

    /// An instant vector whose values lie on the line between the samples before and after.
    func smoothedVector(_ selector: VectorSelector, _ grid: Grid) throws -> [Column] {
        let (fixed, offset) = try resolve(selector.time)
        let windows = Windows(grid: grid, range: lookback, offset: offset, fixed: fixed, open: 1)
        let found = try select(selector.matchers, from: windows.first, through: windows.last + lookback)
        var out: [Column] = []
        for series in found.map(RangeSeries.init) {
            var column = Column(labels: series.labels, values: [Double](repeating: absent, count: grid.count))
            for i in 0..<grid.count {
                let t = windows.end(i)
                let times = series.times.filter { $0 > t - lookback && $0 <= t + lookback }
                let histogramTimes = series.histogramTimes.filter { $0 > t - lookback && $0 <= t + lookback }
                if !times.isEmpty, !histogramTimes.isEmpty {
                    notes.warn(
                        "encountered a mix of histograms and floats for metric name \(quoteGo(series.labels.metricName))",
                        Expr(.vector(selector), 0..<0))
                    continue
                }
                if let after = series.times.firstIndex(where: { $0 >= t && $0 <= t + lookback }),
                    histogramTimes.isEmpty
                {
                    if series.times[after] == t {
                        column.values[i] = series.values[after]
                    } else if after > 0, series.times[after - 1] > t - lookback {
                        column.values[i] = interpolate(
                            (series.times[after - 1], series.values[after - 1]),
                            (series.times[after], series.values[after]), t, counter: false)
                    }
                } else if let last = times.last, let place = series.times.firstIndex(of: last) {
                    column.values[i] = series.values[place]
                } else if !histogramTimes.isEmpty {
                    smoothHistogram(series, t, &column, i)
                }
            }
            if !column.isEmpty { out.append(column) }
        }
        return out
    }

    private func smoothHistogram(_ series: RangeSeries, _ t: Int64, _ column: inout Column, _ i: Int) {
        let after = series.histogramTimes.firstIndex { $0 >= t && $0 <= t + lookback }
        if let after, series.histogramTimes[after] == t {
            column.set(i, series.histograms[after])
            return
        }
        let before = (after ?? series.histogramTimes.count) - 1
        guard before >= 0, series.histogramTimes[before] > t - lookback, series.histogramTimes[before] < t else {
            return
        }
        guard let after else {
            var last = series.histograms[before]
            last.counterResetHint = .unknown
            column.set(i, last)
            return
        }
        let a = series.histograms[before]
        let b = series.histograms[after]
        let counter = a.counterResetHint != .gauge || b.counterResetHint != .gauge
        if let result = try? interpolate(
            (series.histogramTimes[before], a), (series.histogramTimes[after], b), t, counter: counter)
        {
            column.set(i, result)
        }
    }
}

/// The value at `t` on the line between two samples; a counter that was reset between them starts from zero.
private func interpolate(_ a: (Int64, Double), _ b: (Int64, Double), _ t: Int64, counter: Bool) -> Double {
    let start = counter && b.1 < a.1 ? 0 : a.1
    return start + (b.1 - start) * Double(t - a.0) / Double(b.0 - a.0)
}

private func interpolate(
    _ a: (Int64, NativeHistogram), _ b: (Int64, NativeHistogram), _ t: Int64, counter: Bool
) throws(NativeHistogram.IncompatibleBuckets) -> NativeHistogram {
    if t == a.0 { return a.1 }
    if t == b.0 { return b.1 }
    let share = Double(t - a.0) / Double(b.0 - a.0)
    var result = b.1
    if counter, b.1.isReset(after: a.1) {
        result.scale(by: share)
        return result
    }
    try result.subtract(a.1)
    result.scale(by: share)
    try result.add(a.1)
    return result
}

/// Values at a window's borders and the samples between.
private struct FloatBorders {
    var left: Double
    var right: Double
    /// Samples strictly between the borders.
    var inner: ArraySlice<(Int64, Double)>

    init?(_ samples: [(Int64, Double)], _ start: Int64, _ end: Int64, _ smoothed: Bool, counter: Bool) {
        guard !samples.isEmpty else { return nil }
        var last = samples.count - 1
        // The sample that the window starts from: the last one not after its start, or the first there is.
        var first = max(0, (samples[..<last].firstIndex { $0.0 > start } ?? last) - 1)
        if smoothed { last = samples[..<last].firstIndex { $0.0 >= end } ?? last }
        if samples[last].0 <= start { return nil }
        if smoothed, samples[first].0 > end { return nil }
        if smoothed, samples[first].0 < start, first + 1 < samples.count {
            left = interpolate(samples[first], samples[first + 1], start, counter: counter)
        } else {
            left = samples[first].1
        }
        if smoothed, last > 0, samples[last].0 > end {
            right = interpolate(samples[last - 1], samples[last], end, counter: counter)
        } else {
            right = samples[last].1
        }
        if samples[first].0 <= start { first += 1 }
        if samples[last].0 >= end { last -= 1 }
        inner = first <= last ? samples[first...last] : []
    }
}

extension RangeCall {
    fileprivate func surroundings(_ series: RangeSeries, from: Int64, through: Int64) -> Window {
        func part(_ times: [Int64]) -> Range<Int> {
            let start = times.firstIndex { $0 > from } ?? times.count
            let end = times[start...].firstIndex { $0 > through } ?? times.count
            return start..<end
        }
        let floats = part(series.times)
        let histograms = part(series.histogramTimes)
        return Window(
            floats: series.values[floats], floatTimes: series.times[floats],
            histograms: series.histograms[histograms], histogramTimes: series.histogramTimes[histograms])
    }

    fileprivate func extended(
        _ window: Window, _ end: Int64, _ smoothed: Bool, _ metric: String, _ notes: inout Annotations
    ) -> PairResult {
        let start = end - windows.range
        if function == .changes || function == .resets { return neighbours(window, start) }
        if !window.floats.isEmpty, !window.histograms.isEmpty {
            notes.warn("encountered a mix of histograms and floats for metric name \(quoteGo(metric))", argument)
            return .none
        }
        let counter = function != .delta
        if window.floats.isEmpty { return extendedHistogram(window, start, end, smoothed, counter, metric, &notes) }
        let samples = Array(zip(window.floatTimes, window.floats))
        guard let borders = FloatBorders(samples, start, end, smoothed, counter: counter) else { return .none }
        var result = borders.right - borders.left
        if counter {
            var correction = 0.0
            var previous = borders.left
            for sample in borders.inner {
                if sample.1 < previous { correction += previous }
                previous = sample.1
            }
            if borders.right < previous { correction += previous }
            result += correction
        }
        if function == .rate { result /= Double(windows.range) / 1000 }
        return .float(result, keep: true)
    }

    /// Changes and resets from the last sample before the window on.
    private func neighbours(_ window: Window, _ start: Int64) -> PairResult {
        let samples = window.samples
        let anchor = samples.lastIndex { $0.time <= start }
        let kept = anchor.map { Array(samples[$0...]) } ?? samples
        guard kept.contains(where: { $0.time > start }) else { return .none }
        var total = 0.0
        for (a, b) in zip(kept, kept.dropFirst()) {
            let counts: Bool
            switch (a.histogram, b.histogram) {
            case (nil, nil):
                counts =
                    function == .resets
                    ? b.value < a.value : b.value != a.value && !(b.value.isNaN && a.value.isNaN)
            case (let x?, let y?): counts = function == .resets ? y.isReset(after: x) : !y.equals(x)
            default: counts = true
            }
            if counts { total += 1 }
        }
        return .float(total, keep: true)
    }

    private func extendedHistogram(
        _ window: Window, _ start: Int64, _ end: Int64, _ smoothed: Bool, _ counter: Bool, _ metric: String,
        _ notes: inout Annotations
    ) -> PairResult {
        let samples = Array(zip(window.histogramTimes, window.histograms))
        var last = samples.count - 1
        let first = max(0, (samples[..<last].firstIndex { $0.0 > start } ?? last) - 1)
        if smoothed { last = samples[..<last].firstIndex { $0.0 >= end } ?? last }
        if samples[last].0 <= start || (smoothed && samples[first].0 > end) { return .none }
        guard first <= last else { return .none }
        for sample in samples[first...last] {
            if sample.1.usesCustomBuckets != samples[first].1.usesCustomBuckets {
                warnOfLayouts(metric, &notes)
                return .none
            }
            if counter, sample.1.counterResetHint == .gauge { warnNotCounter(metric, &notes) }
        }
        do {
            var left = samples[first].1
            if smoothed, samples[first].0 < start, first + 1 < samples.count {
                left = try interpolate(samples[first], samples[first + 1], start, counter: counter)
            }
            var right = samples[last].1
            if smoothed, last > 0, samples[last].0 > end {
                right = try interpolate(samples[last - 1], samples[last], end, counter: counter)
            }
            if !counter, left.counterResetHint != .gauge || right.counterResetHint != .gauge {
                warnNotGauge(metric, &notes)
            }
            var result = right
            if try result.subtract(left).reconciledBounds { noteReconciled("subtraction", &notes) }
            if counter {
                var from = first + 1
                var previous = left
                if smoothed, samples[first].0 < start, from < samples.count,
                    samples[from].1.isReset(after: samples[first].1)
                {
                    // The interpolation has seen to that reset.
                    previous = samples[from].1
                    from += 1
                }
                if from <= last {
                    for sample in samples[from..<last] {
                        if sample.1.isReset(after: previous) { try result.add(previous) }
                        previous = sample.1
                    }
                    if right.isReset(after: previous) { try result.add(previous) }
                }
            }
            if function == .rate { result.divide(by: Double(windows.range) / 1000) }
            result.counterResetHint = .gauge
            result.compact()
            return .histogram(result, keep: true)
        } catch {
            warnOfLayouts(metric, &notes)
            return .none
        }
    }
}
