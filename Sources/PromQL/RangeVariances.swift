import MetricModel

/// `stdvar_over_time` and `stddev_over_time`: Welford's updates with both of its sums compensated, as Prometheus has them.
///
/// An update waits for the one before it, a division included, and so leaves most of the processor idle. Windows of as many
/// samples each, which is what most neighbours are, therefore go side by side, four at a time; each comes to the same bits as
/// by itself.
extension RangeCall {
    func variances(
        _ times: UnsafeBufferPointer<Int64>, _ values: UnsafeBufferPointer<Double>, _ finish: (Double) -> Double
    ) -> [Double] {
        var out = [Double](repeating: absent, count: grid.count)
        var spans: [Range<Int>] = []
        spans.reserveCapacity(grid.count)
        windows.slide(times) { _, from, to in spans.append(from..<to) }
        // Products of differences, and as many of them as a window may have, stay finite.
        let isTame = values.allSatisfy { abs($0) < 1e145 }
        // Samples looked at since the clock was.
        var work = 0
        var step = 0
        while step < spans.count {
            let length = spans[step].count
            work += length + 8
            if work > 500_000 {
                work = 0
                if (try? control.check()) == nil { break }
            }
            if length == 0 {
                step += 1
                continue
            }
            if isTame, step + 3 < spans.count, spans[step + 1].count == length, spans[step + 2].count == length,
                spans[step + 3].count == length
            {
                let first = SIMD4(
                    spans[step].lowerBound, spans[step + 1].lowerBound, spans[step + 2].lowerBound,
                    spans[step + 3].lowerBound)
                let four = variance(values, first, length)
                for i in 0..<4 { out[step + i] = finish(four[i]) }
                work += 3 * length
                step += 4
            } else {
                out[step] = finish(variance(values, spans[step]))
                step += 1
            }
        }
        return out
    }

    private func variance(_ values: UnsafeBufferPointer<Double>, _ window: Range<Int>) -> Double {
        var count = 0.0
        var mean = KahanSum()
        var squares = KahanSum()
        for i in window {
            let value = values[i]
            count += 1
            let delta = value - mean.total
            mean.add(delta / count)
            squares.add(delta * (value - mean.total))
        }
        return squares.total / count
    }

    /// Of four windows that begin at `first` and have `length` samples each.
    private func variance(_ values: UnsafeBufferPointer<Double>, _ first: SIMD4<Int>, _ length: Int) -> SIMD4<Double> {
        var count = 0.0
        var mean = KahanSums()
        var squares = KahanSums()
        for i in 0..<length {
            let value = SIMD4(values[first[0] + i], values[first[1] + i], values[first[2] + i], values[first[3] + i])
            count += 1
            let delta = value - mean.total
            mean.add(delta / count)
            squares.add(delta * (value - mean.total))
        }
        return squares.total / count
    }
}
