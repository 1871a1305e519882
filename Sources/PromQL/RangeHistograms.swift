import MetricModel

/// A sample of either kind, in a window that has histograms.
struct MixedSample {
    var time: Int64
    var value: Double
    var histogram: NativeHistogram?
}

/// Range functions over series with histograms, window by window.
extension RangeCall {
    /// One window's samples.
    struct Window {
        var floats: ArraySlice<Double>
        var floatTimes: ArraySlice<Int64>
        var histograms: ArraySlice<NativeHistogram>
        var histogramTimes: ArraySlice<Int64>

        /// Both kinds in order of time.
        var samples: [MixedSample] {
            var out: [MixedSample] = []
            out.reserveCapacity(floats.count + histograms.count)
            var i = floats.startIndex
            var j = histograms.startIndex
            while i < floats.endIndex || j < histograms.endIndex {
                if j >= histograms.endIndex || (i < floats.endIndex && floatTimes[i] < histogramTimes[j]) {
                    out.append(MixedSample(time: floatTimes[i], value: floats[i], histogram: nil))
                    i += 1
                } else {
                    out.append(MixedSample(time: histogramTimes[j], value: 0, histogram: histograms[j]))
                    j += 1
                }
            }
            return out
        }
    }

    func mixed(_ series: RangeSeries, _ notes: inout Annotations) -> Column {
        var column = Column(labels: series.labels, values: [Double](repeating: absent, count: grid.count))
        var floatWindows: [Range<Int>] = []
        series.times.withUnsafeBufferPointer { times in
            windows.slide(times) { _, from, to in floatWindows.append(from..<to) }
        }
        var step = 0
        var histogramWindows: [Range<Int>] = []
        series.histogramTimes.withUnsafeBufferPointer { times in
            windows.slide(times) { _, from, to in histogramWindows.append(from..<to) }
        }
        while step < grid.count {
            if step & 255 == 255, (try? control.check()) == nil { break }
            let floats = floatWindows[step]
            let histograms = histogramWindows[step]
            if !floats.isEmpty || !histograms.isEmpty {
                let window = Window(
                    floats: series.values[floats], floatTimes: series.times[floats],
                    histograms: series.histograms[histograms], histogramTimes: series.histogramTimes[histograms])
                switch evaluate(window, step, series.labels.metricName, &notes) {
                case .none: break
                case .float(let value, _): column.values[step] = value
                case .histogram(let histogram, _): column.set(step, histogram)
                }
            }
            step += 1
        }
        return column
    }

    private func evaluate(_ window: Window, _ step: Int, _ metric: String, _ notes: inout Annotations) -> PairResult {
        switch function {
        case .countOverTime: return .float(Double(window.floats.count + window.histograms.count), keep: true)
        case .presentOverTime: return .float(1, keep: true)
        case .lastOverTime, .firstOverTime, .tsOfLastOverTime, .tsOfFirstOverTime:
            let samples = window.samples
            let last = function == .lastOverTime || function == .tsOfLastOverTime
            let sample = last ? samples[samples.count - 1] : samples[0]
            if function == .tsOfLastOverTime || function == .tsOfFirstOverTime {
                return .float(Double(sample.time) / 1000, keep: true)
            }
            return sample.histogram.map { .histogram($0, keep: true) } ?? .float(sample.value, keep: true)
        case .changes:
            return count(window.samples) { a, b in
                switch (a.histogram, b.histogram) {
                case (nil, nil): return b.value != a.value && !(b.value.isNaN && a.value.isNaN)
                case (let x?, let y?): return !y.equals(x)
                default: return true
                }
            }
        case .resets:
            return count(window.samples) { a, b in
                switch (a.histogram, b.histogram) {
                case (nil, nil): return b.value < a.value
                case (let x?, let y?): return y.isReset(after: x)
                default: return true
                }
            }
        case .irate, .idelta: return instantRate(window.samples, metric, &notes)
        case .rate, .increase, .delta, .sumOverTime, .avgOverTime:
            if !window.floats.isEmpty {
                if !window.histograms.isEmpty {
                    notes.warn(
                        "encountered a mix of histograms and floats for metric name \(quoteGo(metric))", argument)
                    return .none
                }
                return floatsAlone(window, step)
            }
            switch function {
            case .sumOverTime: return sum(window.histograms, mean: false, metric, &notes)
            case .avgOverTime: return sum(window.histograms, mean: true, metric, &notes)
            default: return extrapolated(window, step, metric, &notes)
            }
        default: return .none
        }
    }

    private func count(
        _ samples: [MixedSample], _ counts: (MixedSample, MixedSample) -> Bool
    ) -> PairResult {
        var total = 0.0
        for (a, b) in zip(samples, samples.dropFirst()) where counts(a, b) { total += 1 }
        return .float(total, keep: true)
    }

    /// A window without histograms, in a series that has some elsewhere.
    private func floatsAlone(_ window: Window, _ step: Int) -> PairResult {
        let one = RangeSeries(labels: .empty, times: Array(window.floatTimes), values: Array(window.floats))
        let grid = Grid(start: windows.end(step) + windows.offset, step: 1, count: 1)
        let call = RangeCall(
            function: function,
            windows: Windows(
                grid: grid, range: windows.range, offset: windows.offset, fixed: windows.fixed, open: windows.open),
            scalars: scalars.map { [$0[step]] }, argument: argument, call: self.call, typeLabels: typeLabels,
            control: control)
        let value = call.floats(one)[0]
        return value.isAbsent ? .none : .float(value, keep: true)
    }

    // MARK: - Notes

    func warnOfLayouts(_ metric: String, _ notes: inout Annotations) {
        notes.warn(
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name \(quoteGo(metric))",
            argument)
    }

    func noteReconciled(_ word: String, _ notes: inout Annotations) {
        notes.info("mismatched custom buckets were reconciled during \(word)", argument)
    }

    func warnNotCounter(_ metric: String, _ notes: inout Annotations) {
        notes.warn("this native histogram metric is not a counter: \(quoteGo(metric))", argument)
    }

    func warnNotGauge(_ metric: String, _ notes: inout Annotations) {
        notes.warn("this native histogram metric is not a gauge: \(quoteGo(metric))", argument)
    }

    // MARK: - Sums

    private func sum(
        _ histograms: ArraySlice<NativeHistogram>, mean: Bool, _ metric: String, _ notes: inout Annotations
    ) -> PairResult {
        guard let first = histograms.first else { return .none }
        var total = HistogramMean(first)
        var hints: Set<NativeHistogram.CounterResetHint> = [first.counterResetHint]
        for histogram in histograms.dropFirst() {
            hints.insert(histogram.counterResetHint)
            do {
                let outcome = try mean ? total.addToMean(histogram) : total.addToSum(histogram)
                if outcome.reconciledBounds { noteReconciled("aggregation", &notes) }
            } catch {
                warnOfLayouts(metric, &notes)
                return .none
            }
        }
        if hints.contains(.reset), hints.contains(.notReset) {
            notes.warn("conflicting counter resets during histogram aggregation", argument)
        }
        let result = mean ? total.mean : total.sum
        return .histogram(result, keep: true)
    }

    // MARK: - Rates

    private func instantRate(
        _ samples: [MixedSample], _ metric: String, _ notes: inout Annotations
    ) -> PairResult {
        guard samples.count >= 2 else { return .none }
        let last = samples[samples.count - 1]
        let before = samples[samples.count - 2]
        let counter = function == .irate
        let seconds = Double(last.time - before.time) / 1000
        if seconds == 0 { return .none }
        switch (before.histogram, last.histogram) {
        case (nil, nil):
            let difference = counter && last.value < before.value ? last.value : last.value - before.value
            return .float(counter ? difference / seconds : difference, keep: true)
        case (let x?, let y?):
            var result = y
            if counter, x.counterResetHint == .gauge || y.counterResetHint == .gauge { warnNotCounter(metric, &notes) }
            if !counter, x.counterResetHint != .gauge || y.counterResetHint != .gauge { warnNotGauge(metric, &notes) }
            if !counter || !y.isReset(after: x) {
                do {
                    if try result.subtract(x).reconciledBounds { noteReconciled("subtraction", &notes) }
                } catch {
                    warnOfLayouts(metric, &notes)
                    return .none
                }
            }
            result.counterResetHint = .gauge
            result.compact()
            if counter { result.divide(by: seconds) }
            return .histogram(result, keep: true)
        default:
            notes.warn("encountered a mix of histograms and floats for metric name \(quoteGo(metric))", argument)
            return .none
        }
    }

    private func extrapolated(
        _ window: Window, _ step: Int, _ metric: String, _ notes: inout Annotations
    ) -> PairResult {
        let counter = function != .delta
        let histograms = Array(window.histograms)
        let times = Array(window.histogramTimes)
        guard histograms.count >= 2, var result = increase(histograms, counter: counter, metric, &notes) else {
            return .none
        }
        let factor = extrapolationFactor(
            firstTime: times[0], lastTime: times[times.count - 1], samples: times.count, step: step, counter: counter,
            perSecond: function == .rate, increase: result.count, first: histograms[0].count)
        result.scale(by: factor)
        return .histogram(result, keep: true)
    }

    /// The difference between the first and the last histogram, counter resets between them made good.
    private func increase(
        _ histograms: [NativeHistogram], counter: Bool, _ metric: String, _ notes: inout Annotations
    ) -> NativeHistogram? {
        var first = histograms[0]
        let last = histograms[histograms.count - 1]
        if counter, first.counterResetHint == .gauge || last.counterResetHint == .gauge {
            warnNotCounter(metric, &notes)
        }
        if counter, histograms[1].isReset(after: first) {
            // The first is from before the reset: only its time matters.
            var empty = NativeHistogram()
            empty.schema = histograms[1].schema
            empty.customValues = histograms[1].customValues
            first = empty
        }
        let custom = first.usesCustomBuckets
        if last.usesCustomBuckets != custom {
            warnOfLayouts(metric, &notes)
            return nil
        }
        var schema = min(last.schema, first.schema)
        if counter {
            for histogram in histograms[1..<histograms.count - 1] {
                if histogram.counterResetHint == .gauge { warnNotCounter(metric, &notes) }
                schema = min(schema, histogram.schema)
                if histogram.usesCustomBuckets != custom {
                    warnOfLayouts(metric, &notes)
                    return nil
                }
            }
        }
        var result = last
        result.reduce(to: schema)
        do {
            if try result.subtract(first).reconciledBounds { noteReconciled("subtraction", &notes) }
            if counter {
                var previous = first
                for histogram in histograms.dropFirst() {
                    if histogram.isReset(after: previous), try result.add(previous).reconciledBounds {
                        noteReconciled("addition", &notes)
                    }
                    previous = histogram
                }
            } else if histograms[0].counterResetHint != .gauge || last.counterResetHint != .gauge {
                warnNotGauge(metric, &notes)
            }
        } catch {
            warnOfLayouts(metric, &notes)
            return nil
        }
        result.counterResetHint = .gauge
        result.compact()
        return result
    }
}

/// A sum or mean of histograms: the mean goes on incrementally should the sum overflow.
struct HistogramMean {
    private var total: NativeHistogramSum
    private var count = 1.0
    private var incremental = false

    init(_ first: NativeHistogram) { total = NativeHistogramSum(first) }

    mutating func addToSum(
        _ histogram: NativeHistogram
    ) throws(NativeHistogram.IncompatibleBuckets) -> NativeHistogram.Combination {
        try total.add(histogram)
    }

    mutating func addToMean(
        _ histogram: NativeHistogram
    ) throws(NativeHistogram.IncompatibleBuckets) -> NativeHistogram.Combination {
        count += 1
        if !incremental {
            var next = total
            let outcome = try next.add(histogram)
            if !next.hasOverflowed {
                total = next
                return outcome
            }
            incremental = true
            total.divide(by: count - 1)
        }
        total.scale(by: (count - 1) / count)
        var part = histogram
        part.divide(by: count)
        return try total.add(part)
    }

    var sum: NativeHistogram {
        var out = total.total
        out.compact()
        return out
    }

    var mean: NativeHistogram {
        var out = incremental ? total.total : total.divided(by: count)
        out.compact()
        return out
    }
}
