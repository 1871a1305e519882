import Glibc
import MetricModel

extension JSONWriter {
    /// A native histogram as Prometheus' API writes it: count, sum and every bucket that is not empty, from the lowest up,
    /// as [boundary rule, lower, upper, count] with rule 0 open left, 1 open right, 3 closed.
    mutating func histogram(_ histogram: NativeHistogram) {
        var buckets: [(rule: Int, lower: Double, upper: Double, count: Double)] = []
        for (index, count) in histogram.indexed(histogram.negativeSpans, histogram.negativeBuckets).reversed() {
            buckets.append((1, -histogram.bound(index), -histogram.bound(index - 1), count))
        }
        if histogram.zeroCount > 0 {
            let threshold = histogram.zeroThreshold
            let hasNegative = !histogram.negativeBuckets.isEmpty
            let hasPositive = !histogram.positiveBuckets.isEmpty
            let lower = !hasNegative && hasPositive ? 0 : -threshold
            let upper = hasNegative && !hasPositive ? 0 : threshold
            buckets.append((3, lower, upper, histogram.zeroCount))
        }
        for (index, count) in histogram.indexed(histogram.positiveSpans, histogram.positiveBuckets) {
            buckets.append((0, histogram.bound(index - 1), histogram.bound(index), count))
        }
        beginObject()
        key("count")
        sampleValue(histogram.count)
        key("sum")
        sampleValue(histogram.sum)
        let filled = buckets.filter { $0.count != 0 }
        if !filled.isEmpty {
            key("buckets")
            array(filled) { writer, bucket in
                writer.beginArray()
                writer.int(bucket.rule)
                writer.sampleValue(bucket.lower)
                writer.sampleValue(bucket.upper)
                writer.sampleValue(bucket.count)
                writer.endArray()
            }
        }
        endObject()
    }
}

extension NativeHistogram {
    /// Buckets with their indices; spans that claim more buckets than there are end early.
    fileprivate func indexed(_ spans: [Span], _ counts: [Double]) -> [(index: Int, count: Double)] {
        var out: [(Int, Double)] = []
        var index = 0
        var next = 0
        for span in spans {
            index += Int(span.offset)
            for _ in 0..<span.length {
                guard next < counts.count else { return out }
                out.append((index, counts[next]))
                next += 1
                index += 1
            }
        }
        return out
    }

    /// The upper bound of a bucket on the positive side: 2^(index · 2^−schema), or the custom bound.
    fileprivate func bound(_ index: Int) -> Double {
        if schema == -53 {
            if index < 0 { return -.infinity }
            return index < customValues.count ? customValues[index] : .infinity
        }
        let exponent =
            schema >= 0 ? Double(index) / Double(1 << min(schema, 30)) : Double(index) * Double(1 << min(-schema, 30))
        // The last regular bucket ends at the greatest float; what is beyond it at infinity.
        if exponent == 1024 { return .greatestFiniteMagnitude }
        return exp2(exponent)
    }
}
