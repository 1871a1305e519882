import Glibc
import MetricModel

/// Range functions over the floats of a series, all windows in one pass.
extension RangeCall {
    /// One step's window: samples `from..<to` of the series.
    private typealias Body = (_ step: Int, _ from: Int, _ to: Int) -> Double

    func floats(_ series: RangeSeries) -> [Double] {
        series.times.withUnsafeBufferPointer { times in
            series.values.withUnsafeBufferPointer { values in floats(times, values) }
        }
    }

    /// Fills a column from a body that gets every window with at least `least` samples.
    @inline(__always)
    private func fill(
        _ times: UnsafeBufferPointer<Int64>, least: Int = 1, _ body: (_ step: Int, _ from: Int, _ to: Int) -> Double
    ) -> [Double] {
        [Double](unsafeUninitializedCapacity: grid.count) { out, count in
            count = grid.count
            // Samples looked at since the clock was.
            var work = 0
            var stopped = false
            windows.slide(times) { step, from, to in
                work += to - from + 8
                if work > 500_000 {
                    work = 0
                    if (try? control.check()) == nil { stopped = true }
                }
                out[step] = to - from >= least && !stopped ? body(step, from, to) : absent
            }
        }
    }

    private func floats(_ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>) -> [Double] {
        switch function {
        case .rate: return extrapolated(times, values, counter: true, perSecond: true)
        case .increase: return extrapolated(times, values, counter: true, perSecond: false)
        case .delta: return extrapolated(times, values, counter: false, perSecond: false)
        case .irate: return fill(times, least: 2) { _, _, to in instantRate(times, values, to, counter: true) }
        case .idelta: return fill(times, least: 2) { _, _, to in instantRate(times, values, to, counter: false) }
        case .sumOverTime: return sums(times, values)
        case .avgOverTime: return means(times, values)
        case .countOverTime: return fill(times) { _, from, to in Double(to - from) }
        case .presentOverTime: return fill(times) { _, _, _ in 1 }
        case .absentOverTime: return []
        case .lastOverTime: return fill(times) { _, _, to in values[to - 1] }
        case .firstOverTime: return fill(times) { _, from, _ in values[from] }
        case .tsOfLastOverTime: return fill(times) { _, _, to in Double(times[to - 1]) / 1000 }
        case .tsOfFirstOverTime: return fill(times) { _, from, _ in Double(times[from]) / 1000 }
        case .maxOverTime: return extremes(times, values, { $0 > $1 }) { values[$0] }
        case .minOverTime: return extremes(times, values, { $0 < $1 }) { values[$0] }
        case .tsOfMaxOverTime: return extremes(times, values, { $0 >= $1 }) { Double(times[$0]) / 1000 }
        case .tsOfMinOverTime: return extremes(times, values, { $0 <= $1 }) { Double(times[$0]) / 1000 }
        case .changes: return pairs(times, values) { $0 != $1 && !($0.isNaN && $1.isNaN) }
        case .resets: return pairs(times, values) { $1 < $0 }
        case .stdvarOverTime: return variances(times, values) { $0 }
        case .stddevOverTime: return variances(times, values) { $0.squareRoot() }
        case .deriv:
            let tame = isTame(values)
            return fill(times, least: 2) { _, from, to in
                regression(times, values, from, to, origin: times[from], tame: tame).slope
            }
        case .predictLinear:
            let tame = isTame(values)
            return fill(times, least: 2) { step, from, to in
                let line = regression(times, values, from, to, origin: grid.time(step), tame: tame)
                return line.slope * scalars[0][step] + line.intercept
            }
        case .quantileOverTime:
            var scratch: [Double] = []
            return fill(times) { step, from, to in
                scratch.removeAll(keepingCapacity: true)
                scratch.append(contentsOf: values[from..<to])
                return quantile(scalars[0][step], &scratch)
            }
        case .madOverTime:
            var scratch: [Double] = []
            return fill(times) { _, from, to in
                scratch.removeAll(keepingCapacity: true)
                scratch.append(contentsOf: values[from..<to])
                if scratch.contains(where: \.isNaN) { return Double.nan }
                let median = quantile(0.5, &scratch)
                for i in scratch.indices { scratch[i] = abs(scratch[i] - median) }
                return quantile(0.5, &scratch)
            }
        case .doubleExponentialSmoothing:
            return fill(times, least: 2) { step, from, to in
                smoothed(values, from, to, scalars[0][step], scalars[1][step])
            }
        }
    }

    // MARK: - Rates

    /// Prometheus' extrapolation: the increase between the first and last sample, stretched to the window's borders where
    /// these are near, by half an interval where they are not, and never below zero for counters.
    func extrapolationFactor(
        firstTime: Int64, lastTime: Int64, samples: Int, step: Int, counter: Bool, perSecond: Bool, increase: Double,
        first: Double
    ) -> Double {
        let end = windows.end(step)
        var toStart = Double(firstTime - (end - windows.range)) / 1000
        var toEnd = Double(end - lastTime) / 1000
        let sampled = Double(lastTime - firstTime) / 1000
        let average = sampled / Double(samples - 1)
        let threshold = average * 1.1
        if toStart >= threshold { toStart = average / 2 }
        if counter {
            var toZero = toStart
            if increase > 0, first >= 0 { toZero = sampled * (first / increase) }
            if toZero < toStart { toStart = toZero }
        }
        if toEnd >= threshold { toEnd = average / 2 }
        var factor = sampled != 0 ? (sampled + toStart + toEnd) / sampled : 1
        if perSecond { factor /= Double(windows.range) / 1000 }
        return factor
    }

    private func extrapolated(
        _ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>, counter: Bool, perSecond: Bool
    ) -> [Double] {
        // Where the counter was reset: the windows' corrections add the values before, in order.
        var resets: [Int] = []
        if counter {
            var previous = values[0]
            for i in 1..<max(1, values.count) {
                let value = values[i]
                if value < previous { resets.append(i) }
                previous = value
            }
        }
        var nextReset = 0
        return fill(times, least: 2) { step, from, to in
            let first = values[from]
            var increase = values[to - 1] - first
            if counter {
                while nextReset < resets.count, resets[nextReset] <= from { nextReset += 1 }
                var r = nextReset
                while r < resets.count, resets[r] < to {
                    increase += values[resets[r] - 1]
                    r += 1
                }
            }
            return increase
                * extrapolationFactor(
                    firstTime: times[from], lastTime: times[to - 1], samples: to - from, step: step, counter: counter,
                    perSecond: perSecond, increase: increase, first: first)
        }
    }

    @inline(__always)
    private func instantRate(
        _ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>, _ to: Int, counter: Bool
    ) -> Double {
        let last = values[to - 1]
        let before = values[to - 2]
        let interval = times[to - 1] - times[to - 2]
        if interval == 0 { return absent }
        let difference = counter && last < before ? last : last - before
        return counter ? difference / (Double(interval) / 1000) : difference
    }

    // MARK: - Sums

    /// Running sums from the first sample on where all of them are exact: whole numbers small enough. A window's sum is
    /// then a difference of two, to the last bit what adding its samples up gives.
    private func exactPrefixSums(_ values: UnsafeBufferPointer<Double>) -> [Double]? {
        var sums: [Double] = []
        sums.reserveCapacity(values.count + 1)
        sums.append(0)
        var sum = 0.0
        var magnitude = 0.0
        for value in values {
            guard value == value.rounded(.towardZero) else { return nil }
            magnitude += abs(value)
            guard magnitude < 9_007_199_254_740_992 else { return nil }
            sum += value
            sums.append(sum)
        }
        return sums
    }

    private func sums(_ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>) -> [Double] {
        if let prefix = exactPrefixSums(values) { return fill(times) { _, from, to in prefix[to] - prefix[from] } }
        return fill(times) { _, from, to in
            var sum = KahanSum()
            for i in from..<to { sum.add(values[i]) }
            return sum.sum.isInfinite ? sum.sum : sum.total
        }
    }

    private func means(_ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>) -> [Double] {
        if let prefix = exactPrefixSums(values) {
            return fill(times) { _, from, to in (prefix[to] - prefix[from]) / Double(to - from) }
        }
        return fill(times) { _, from, to in
            var mean = RunningMean(first: values[from])
            for i in from + 1..<to { mean.add(values[i]) }
            return mean.mean
        }
    }

    // MARK: - Others

    /// Counts neighbours for which `counts` says so.
    @inline(__always)
    private func pairs(
        _ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>,
        _ counts: (Double, Double) -> Bool
    ) -> [Double] {
        var before = [Int32](repeating: 0, count: values.count)
        for i in 1..<max(1, values.count) { before[i] = before[i - 1] + (counts(values[i - 1], values[i]) ? 1 : 0) }
        return fill(times) { _, from, to in Double(before[to - 1] - before[from]) }
    }

    /// The extreme of each window, the last of equals; NaN only where there is nothing else. `beats(a, b)` says whether a
    /// later a makes an earlier b irrelevant. Candidates are kept in a queue, so each sample is looked at twice at most.
    @inline(__always)
    private func extremes(
        _ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>,
        _ beats: (Double, Double) -> Bool, _ result: (Int) -> Double
    ) -> [Double] {
        var queue = [Int](repeating: 0, count: values.count)
        var head = 0
        var tail = 0
        var seen = 0
        return queue.withUnsafeMutableBufferPointer { queue in
            fill(times) { _, from, to in
                while seen < to {
                    let value = values[seen]
                    if !value.isNaN {
                        while tail > head, beats(value, values[queue[tail - 1]]) { tail -= 1 }
                        queue[tail] = seen
                        tail += 1
                    }
                    seen += 1
                }
                while head < tail, queue[head] < from { head += 1 }
                return result(head < tail ? queue[head] : to - 1)
            }
        }
    }

    /// Whether sums over these values, and over their products with times, stay finite.
    private func isTame(_ values: UnsafeBufferPointer<Double>) -> Bool { values.allSatisfy { abs($0) < 1e200 } }

    /// The least-squares line, x in seconds from `origin`.
    @inline(__always)
    private func regression(
        _ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>, _ from: Int, _ to: Int,
        origin: Int64, tame: Bool
    ) -> (slope: Double, intercept: Double) {
        let first = values[from]
        if values[from..<to].allSatisfy({ $0 == first }) { return first.isInfinite ? (.nan, .nan) : (0, first) }
        let total = tame ? sums(times, values, from, to, origin) : carefulSums(times, values, from, to, origin)
        let n = Double(to - from)
        let x = total[0]
        let y = total[1]
        let covariance = total[2] - x * y / n
        let variance = total[3] - x * x / n
        let slope = covariance / variance
        return (slope, y / n - slope * x / n)
    }

    /// Σx, Σy, Σx·y and Σx², compensated.
    @inline(__always)
    private func sums(
        _ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>, _ from: Int, _ to: Int,
        _ origin: Int64
    ) -> SIMD4<Double> {
        var sums = KahanSums()
        for i in from..<to {
            let x = Double(times[i] - origin) / 1e3
            let y = values[i]
            sums.add(SIMD4(x, y, x * y, x * x))
        }
        return sums.total
    }

    /// The same where something may overflow.
    private func carefulSums(
        _ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>, _ from: Int, _ to: Int,
        _ origin: Int64
    ) -> SIMD4<Double> {
        var x = KahanSum()
        var y = KahanSum()
        var xy = KahanSum()
        var xx = KahanSum()
        for i in from..<to {
            let t = Double(times[i] - origin) / 1e3
            x.add(t)
            y.add(values[i])
            xy.add(t * values[i])
            xx.add(t * t)
        }
        return SIMD4(x.total, y.total, xy.total, xx.total)
    }

    private func smoothed(
        _ values: UnsafeBufferPointer<Double>, _ from: Int, _ to: Int, _ factor: Double, _ trendFactor: Double
    ) -> Double {
        var previous = 0.0
        var level = values[from]
        var trend = values[from + 1] - values[from]
        for i in from + 1..<to {
            let raw = factor * values[i]
            if i > from + 1 { trend = trendFactor * (level - previous) + (1 - trendFactor) * trend }
            let next = raw + (1 - factor) * (level + trend)
            previous = level
            level = next
        }
        return level
    }
}

/// The q-quantile by linear interpolation; NaN counts as the smallest value. Sorts `values`.
func quantile(_ q: Double, _ values: inout [Double]) -> Double {
    if values.isEmpty || q.isNaN { return .nan }
    if q < 0 { return -.infinity }
    if q > 1 { return .infinity }
    values.sort { $0.isNaN ? !$1.isNaN : $0 < $1 }
    let n = Double(values.count)
    let rank = q * (n - 1)
    let lower = max(0, rank.rounded(.down))
    let upper = min(n - 1, lower + 1)
    let weight = rank - rank.rounded(.down)
    return values[Int(lower)] * (1 - weight) + values[Int(upper)] * weight
}
