/// A sum of native histograms that carries its rounding errors along, figure by figure.
package struct NativeHistogramSum: Sendable {
    /// The sum so far, without its corrections.
    package private(set) var value: NativeHistogram
    /// Errors of the same figures, in the same layout as `value`.
    private var corrections: NativeHistogram

    package init(_ first: NativeHistogram) {
        value = first
        corrections = first
        corrections.zeroCount = 0
        corrections.count = 0
        corrections.sum = 0
        corrections.positiveBuckets = first.positiveBuckets.map { _ in 0 }
        corrections.negativeBuckets = first.negativeBuckets.map { _ in 0 }
    }

    /// Adds a histogram. Throws where one has exponential buckets and the other custom ones.
    package mutating func add(
        _ other: NativeHistogram
    ) throws(NativeHistogram.IncompatibleBuckets) -> NativeHistogram.Combination {
        guard value.usesCustomBuckets == other.usesCustomBuckets else { throw NativeHistogram.IncompatibleBuckets() }
        var outcome = NativeHistogram.Combination()
        outcome.resetCollision = value.adjustHint(other)
        var aligned = other
        if value.schema != other.schema || value.zeroThreshold != other.zeroThreshold
            || value.customValues != other.customValues
        {
            // A new layout moves what is there; corrections are folded in first, for they are tiny.
            var total = self.total
            outcome.reconciledBounds = total.alignLayout(&aligned)
            total.counterResetHint = value.counterResetHint
            self = NativeHistogramSum(total)
        }
        if !value.usesCustomBuckets { increase(&value.zeroCount, &corrections.zeroCount, aligned.zeroCount) }
        increase(&value.count, &corrections.count, aligned.count)
        increase(&value.sum, &corrections.sum, aligned.sum)
        for positive in [true, false] {
            let added = aligned.rows(positive: positive)
            // Both get the same buckets, so that they stay alike.
            var sums = merged(value.rows(positive: positive), added) { a, _ in a }
            var errors = merged(corrections.rows(positive: positive), added) { a, _ in a }
            var i = 0
            for row in added {
                while sums[i].index < row.index { i += 1 }
                increase(&sums[i].count, &errors[i].count, row.count)
            }
            value.setRows(sums, positive: positive)
            corrections.setRows(errors, positive: positive)
        }
        return outcome
    }

    private func increase(_ sum: inout Double, _ correction: inout Double, _ value: Double) {
        let t = sum + value
        if t.isInfinite {
            correction = 0
        } else if abs(sum) >= abs(value) {
            correction += (sum - t) + value
        } else {
            correction += (value - t) + sum
        }
        sum = t
    }

    /// Whether any figure has become infinite.
    package var hasOverflowed: Bool {
        value.zeroCount.isInfinite || value.count.isInfinite || value.sum.isInfinite
            || value.positiveBuckets.contains(where: \.isInfinite)
            || value.negativeBuckets.contains(where: \.isInfinite)
    }

    /// The sum with its corrections.
    package var total: NativeHistogram {
        var out = value
        out.zeroCount += corrections.zeroCount
        out.count += corrections.count
        out.sum += corrections.sum
        for i in out.positiveBuckets.indices { out.positiveBuckets[i] += corrections.positiveBuckets[i] }
        for i in out.negativeBuckets.indices { out.negativeBuckets[i] += corrections.negativeBuckets[i] }
        return out
    }

    /// The sum divided, corrections divided apart.
    package func divided(by divisor: Double) -> NativeHistogram {
        var out = self
        out.value.divide(by: divisor)
        out.corrections.divide(by: divisor)
        return out.total
    }

    /// Multiplies sum and corrections.
    package mutating func scale(by factor: Double) {
        value.scale(by: factor)
        corrections.scale(by: factor)
    }

    /// Divides sum and corrections.
    package mutating func divide(by divisor: Double) {
        value.divide(by: divisor)
        corrections.divide(by: divisor)
    }
}
