#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// A bucket with its borders and count.
package struct HistogramBucket: Sendable, Equatable {
    package var lower: Double
    package var upper: Double
    package var lowerInclusive: Bool
    package var upperInclusive: Bool
    package var count: Double

    package init(lower: Double, upper: Double, lowerInclusive: Bool, upperInclusive: Bool, count: Double) {
        self.lower = lower
        self.upper = upper
        self.lowerInclusive = lowerInclusive
        self.upperInclusive = upperInclusive
        self.count = count
    }

    /// The share of the bucket's observations below `value`, which lies in it: on a straight scale or a logarithmic one.
    package func fractionBelow(_ value: Double, linear: Bool) -> Double {
        if linear { return (value - lower) / (upper - lower) }
        let logLower = log2(abs(lower))
        let logUpper = log2(abs(upper))
        let logValue = log2(abs(value))
        if value > 0 { return (logValue - logLower) / (logUpper - logLower) }
        return 1 - (logValue - logUpper) / (logLower - logUpper)
    }
}

/// One side's buckets as pairs of index and count, ascending, which is easier to work on than spans.
package struct BucketRow: Sendable, Equatable {
    package var index: Int
    package var count: Double
    package init(index: Int, count: Double) {
        self.index = index
        self.count = count
    }
}

package let customBucketsSchema: Int32 = -53

extension NativeHistogram {
    package var usesCustomBuckets: Bool { schema == customBucketsSchema }

    /// Buckets of the positive or the negative side, empty ones among them.
    package func rows(positive: Bool) -> [BucketRow] {
        let spans = positive ? positiveSpans : negativeSpans
        let counts = positive ? positiveBuckets : negativeBuckets
        var out: [BucketRow] = []
        out.reserveCapacity(counts.count)
        var index = 0
        var next = 0
        for span in spans {
            index += Int(span.offset)
            for _ in 0..<span.length {
                guard next < counts.count else { return out }
                out.append(BucketRow(index: index, count: counts[next]))
                next += 1
                index += 1
            }
        }
        return out
    }

    /// Replaces one side's buckets; `rows` ascend.
    package mutating func setRows(_ rows: [BucketRow], positive: Bool) {
        var spans: [Span] = []
        var counts: [Double] = []
        counts.reserveCapacity(rows.count)
        var end = 0
        for row in rows {
            if let last = spans.indices.last, row.index == end {
                spans[last].length += 1
            } else {
                spans.append(Span(offset: Int32(truncatingIfNeeded: row.index - end), length: 1))
            }
            end = row.index + 1
            counts.append(row.count)
        }
        if positive {
            positiveSpans = spans
            positiveBuckets = counts
        } else {
            negativeSpans = spans
            negativeBuckets = counts
        }
    }

    /// The upper border of the positive bucket with that index.
    package func upperBound(_ index: Int) -> Double {
        if usesCustomBuckets {
            if index < 0 { return -.infinity }
            return index < customValues.count ? customValues[index] : .infinity
        }
        return NativeHistogram.exponentialBound(index, schema: schema)
    }

    /// 2^(index · 2^-schema), where what would be the first infinite border is the greatest finite number.
    package static func exponentialBound(_ index: Int, schema: Int32) -> Double {
        if schema < 0 {
            let shift = min(Int(-schema), 16)
            let exponent = index.multipliedReportingOverflow(by: 1 << shift)
            let clamped = exponent.overflow ? (index < 0 ? -5000 : 5000) : max(-5000, min(5000, exponent.partialValue))
            return clamped == 1024 ? .greatestFiniteMagnitude : ldexp(1, Int32(clamped))
        }
        let shift = min(Int(schema), 30)
        let part = index & ((1 << shift) - 1)
        // The table holds 2^(part / 2^schema - 1): in [0.5, 1).
        let fraction = part == 0 ? 0.5 : exp2(Double(part) / Double(1 << shift)) / 2
        let exponent = max(-5000, min(5000, (index >> shift) + 1))
        if part == 0, exponent == 1025 { return .greatestFiniteMagnitude }
        return ldexp(fraction, Int32(exponent))
    }

    /// The bucket that a row stands for.
    package func bucket(_ row: BucketRow, positive: Bool) -> HistogramBucket {
        let upper = upperBound(row.index)
        let lower = upperBound(row.index - 1)
        if positive {
            return HistogramBucket(
                lower: lower, upper: upper, lowerInclusive: usesCustomBuckets && row.index == 0,
                upperInclusive: true, count: row.count)
        }
        return HistogramBucket(
            lower: -upper, upper: -lower, lowerInclusive: true, upperInclusive: false, count: row.count)
    }

    package var zeroBucket: HistogramBucket {
        HistogramBucket(
            lower: -zeroThreshold, upper: zeroThreshold, lowerInclusive: true, upperInclusive: true, count: zeroCount)
    }

    /// All buckets from the lowest to the highest; the zero bucket only where it is populated.
    package var allBuckets: [HistogramBucket] {
        var out: [HistogramBucket] = []
        for row in rows(positive: false).reversed() {
            var bucket = bucket(row, positive: false)
            // What the zero bucket covers belongs to it.
            if bucket.upper < 0, bucket.upper > -zeroThreshold { bucket.upper = -zeroThreshold }
            out.append(bucket)
        }
        if zeroCount > 0 { out.append(zeroBucket) }
        for row in rows(positive: true) {
            var bucket = bucket(row, positive: true)
            if bucket.lower > 0, bucket.lower < zeroThreshold { bucket.lower = zeroThreshold }
            out.append(bucket)
        }
        return out
    }
}

extension NativeHistogram: CustomStringConvertible {
    /// As Prometheus prints it: `{count:20, sum:10, [-2,-1):2, (0.5,1]:1}`; empty buckets are left out.
    package var description: String {
        var out = "{count:\(formatFloat(count, .general)), sum:\(formatFloat(sum, .general))"
        func add(_ bucket: HistogramBucket) {
            out += ", " + (bucket.lowerInclusive ? "[" : "(") + formatFloat(bucket.lower, .general) + ","
            out += formatFloat(bucket.upper, .general) + (bucket.upperInclusive ? "]" : ")")
            out += ":" + formatFloat(bucket.count, .general)
        }
        for row in rows(positive: false).reversed() where row.count != 0 { add(bucket(row, positive: false)) }
        if zeroCount != 0 { add(zeroBucket) }
        for row in rows(positive: true) where row.count != 0 { add(bucket(row, positive: true)) }
        return out + "}"
    }
}
