/// A sum that carries its rounding error along: Kahan's summation with Neumaier's improvement, as Prometheus sums.
struct KahanSum {
    var sum: Double
    var correction: Double

    @inline(__always)
    init(_ sum: Double = 0, correction: Double = 0) {
        self.sum = sum
        self.correction = correction
    }

    @inline(__always)
    mutating func add(_ value: Double) {
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

    /// The sum with its correction.
    @inline(__always)
    var total: Double { sum + correction }
}

/// Four of them at once, for finite figures that do not overflow. The rounding error of a sum is exact however it is
/// found, so this gives the same bits as four of the above, without their branches.
struct KahanSums {
    var sum = SIMD4<Double>.zero
    var correction = SIMD4<Double>.zero

    @inline(__always)
    mutating func add(_ value: SIMD4<Double>) {
        let t = sum + value
        let part = t - sum
        correction += (sum - (t - part)) + (value - part)
        sum = t
    }

    @inline(__always)
    var total: SIMD4<Double> { sum + correction }
}

/// A mean from a compensated sum; should the sum overflow, it goes on incrementally. Prometheus 3's way.
struct RunningMean {
    private var sum: KahanSum
    private var count = 1.0
    private var incremental = false

    @inline(__always)
    init(first: Double) { sum = KahanSum(first) }

    @inline(__always)
    mutating func add(_ value: Double) {
        count += 1
        if !incremental {
            var next = sum
            next.add(value)
            if !next.sum.isInfinite {
                sum = next
                return
            }
            incremental = true
            sum.sum /= count - 1
            sum.correction /= count - 1
        }
        let weight = (count - 1) / count
        sum = KahanSum(weight * sum.sum, correction: weight * sum.correction)
        sum.add(value / count)
    }

    @inline(__always)
    var mean: Double { incremental ? sum.total : sum.sum / count + sum.correction / count }
}
