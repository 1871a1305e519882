import Glibc
import MetricModel

/// A cumulative bucket of a classic histogram.
struct ClassicBucket {
    var upper: Double
    var count: Double
}

/// What had to be mended in counts that must not decrease.
struct MendedBuckets {
    var minBucket = Double.infinity
    var maxBucket = -Double.infinity
    var maxDiff = 0.0
}

/// The q-quantile of a classic histogram, by linear interpolation in the bucket it falls in.
func classicQuantile(_ q: Double, _ buckets: inout [ClassicBucket]) -> (Double, MendedBuckets?) {
    if q.isNaN { return (.nan, nil) }
    if q < 0 { return (-.infinity, nil) }
    if q > 1 { return (.infinity, nil) }
    guard let top = buckets.last, top.upper == .infinity else { return (.nan, nil) }
    let mended = makeMonotonic(&buckets)
    if buckets.count < 2 { return (.nan, mended) }
    let observations = buckets[buckets.count - 1].count
    if observations == 0 { return (.nan, mended) }
    var rank = q * observations
    let last = buckets.count - 1
    var lo = 0
    var hi = last
    while lo < hi {
        let middle = (lo + hi) / 2
        if buckets[middle].count >= rank { hi = middle } else { lo = middle + 1 }
    }
    if lo == last { return (buckets[last - 1].upper, mended) }
    if lo == 0, buckets[0].upper <= 0 { return (buckets[0].upper, mended) }
    var start = 0.0
    var count = buckets[lo].count
    if lo > 0 {
        start = buckets[lo - 1].upper
        count -= buckets[lo - 1].count
        rank -= buckets[lo - 1].count
    }
    return (start + (buckets[lo].upper - start) * (rank / count), mended)
}

/// Differences as small as rounding makes them are ignored; where counts decrease by more, the greater one stays.
private func makeMonotonic(_ buckets: inout [ClassicBucket]) -> MendedBuckets? {
    var mended: MendedBuckets?
    var previous = buckets[0].count
    for i in buckets.indices.dropFirst() {
        let current = buckets[i].count
        if current == previous { continue }
        if almostEqual(previous, current, 1e-12) {
            buckets[i].count = previous
        } else if current < previous {
            buckets[i].count = previous
            var now = mended ?? MendedBuckets()
            now.minBucket = min(now.minBucket, buckets[i].upper)
            now.maxBucket = max(now.maxBucket, buckets[i].upper)
            now.maxDiff = max(now.maxDiff, previous - current)
            mended = now
        } else {
            previous = current
        }
    }
    return mended
}

/// Whether two floats differ by at most a share of their sum; NaN equals NaN.
func almostEqual(_ a: Double, _ b: Double, _ epsilon: Double) -> Bool {
    if a.isNaN && b.isNaN || a == b { return true }
    let sum = abs(a) + abs(b)
    let difference = abs(a - b)
    if a == 0 || b == 0 || sum < 2.2250738585072014e-308 { return difference < epsilon * 2.2250738585072014e-308 }
    return difference / min(sum, .greatestFiniteMagnitude) < epsilon
}

/// The share of a classic histogram's observations between two values.
func classicFraction(_ lower: Double, _ upper: Double, _ buckets: [ClassicBucket]) -> Double {
    guard let top = buckets.last, top.upper == .infinity else { return .nan }
    let count = top.count
    if count == 0 || lower.isNaN || upper.isNaN { return .nan }
    if lower >= upper { return 0 }
    var rank = 0.0
    var lowerRank: Double?
    var upperRank: Double?
    var lowerBound = buckets[0].upper <= 0 ? -Double.infinity : 0
    for (i, bucket) in buckets.enumerated() {
        if i > 0 { lowerBound = buckets[i - 1].upper }
        func interpolated(_ value: Double) -> Double {
            if lowerBound == -.infinity { return bucket.count }
            return rank + (bucket.count - rank) * (value - lowerBound) / (bucket.upper - lowerBound)
        }
        if lowerRank == nil, lowerBound >= lower { lowerRank = rank }
        if upperRank == nil, lowerBound >= upper { upperRank = rank }
        if lowerRank != nil, upperRank != nil { break }
        if lowerRank == nil, lowerBound < lower, bucket.upper > lower { lowerRank = interpolated(lower) }
        if upperRank == nil, lowerBound < upper, bucket.upper > upper { upperRank = interpolated(upper) }
        if lowerRank != nil, upperRank != nil { break }
        rank = bucket.count
    }
    let from = min(lowerRank ?? count, count)
    let to = min(upperRank ?? count, count)
    return (to - from) / count
}

extension Evaluator {
    /// The q-quantile of a native histogram: linear interpolation in the zero bucket and custom buckets, else exponential.
    func nativeQuantile(
        _ q: Double, _ histogram: NativeHistogram, _ metric: String, _ argument: Expr, _ notes: inout Annotations
    ) -> Double {
        if q < 0 { return -.infinity }
        if q > 1 { return .infinity }
        if histogram.count == 0 || q.isNaN { return .nan }
        let forward = histogram.sum.isNaN || q < 0.5
        var buckets = histogram.allBuckets
        if !forward { buckets.reverse() }
        var rank = (forward ? q : 1 - q) * histogram.count
        var count = 0.0
        var bucket = HistogramBucket(lower: 0, upper: 0, lowerInclusive: false, upperInclusive: false, count: 0)
        var next = 0
        while next < buckets.count {
            bucket = buckets[next]
            next += 1
            if bucket.count == 0 { continue }
            count += bucket.count
            if count >= rank { break }
        }
        if histogram.usesCustomBuckets {
            if bucket.lower == -.infinity {
                if bucket.upper <= 0 { return bucket.upper }
                bucket.lower = 0
            } else if bucket.upper == .infinity {
                return bucket.lower
            }
        } else if bucket.lower < 0, bucket.upper > 0 {
            if histogram.negativeBuckets.isEmpty, !histogram.positiveBuckets.isEmpty {
                bucket.lower = 0
            } else if histogram.positiveBuckets.isEmpty, !histogram.negativeBuckets.isEmpty {
                bucket.upper = 0
            }
        }
        let suffix = metric.isEmpty ? "" : " for metric name \(quoteGo(metric))"
        if count > histogram.count { count = histogram.count }
        if count < rank {
            if histogram.sum.isNaN {
                notes.info("input to histogram_quantile has NaN observations, result is NaN" + suffix, argument)
                return .nan
            }
            return bucket.upper
        }
        rank = forward ? rank - (count - bucket.count) : count - rank
        if histogram.sum.isNaN {
            let total = buckets[next...].reduce(count) { $0 + $1.count }
            if total < histogram.count {
                notes.info(
                    "input to histogram_quantile has NaN observations, result is skewed higher" + suffix, argument)
            }
        }
        let fraction = rank / bucket.count
        if histogram.usesCustomBuckets || (bucket.lower <= 0 && bucket.upper >= 0) {
            return bucket.lower + (bucket.upper - bucket.lower) * fraction
        }
        let low = log2(abs(bucket.lower))
        let high = log2(abs(bucket.upper))
        if bucket.lower > 0 { return exp2(low + (high - low) * fraction) }
        return -exp2(high + (low - high) * (1 - fraction))
    }

    /// The share of a native histogram's observations between two values.
    func fraction(
        _ lower: Double, _ upper: Double, _ histogram: NativeHistogram, _ metric: String, _ argument: Expr,
        _ notes: inout Annotations
    ) -> Double {
        if histogram.count == 0 || lower.isNaN || upper.isNaN { return .nan }
        if lower >= upper { return 0 }
        var rank = 0.0
        var lowerRank: Double?
        var upperRank: Double?
        let buckets = histogram.allBuckets
        for var bucket in buckets {
            var isZero = false
            if bucket.lower <= 0, bucket.upper >= 0 {
                isZero = true
                if histogram.negativeBuckets.isEmpty, !histogram.positiveBuckets.isEmpty {
                    bucket.lower = 0
                } else if histogram.positiveBuckets.isEmpty, !histogram.negativeBuckets.isEmpty {
                    bucket.upper = 0
                }
            }
            let linear = histogram.usesCustomBuckets || isZero
            func interpolated(_ value: Double) -> Double {
                if linear, bucket.lower == -.infinity { return bucket.count }
                return rank + bucket.count * bucket.fractionBelow(value, linear: linear)
            }
            if lowerRank == nil, bucket.lower >= lower { lowerRank = rank }
            if upperRank == nil, bucket.lower >= upper { upperRank = rank }
            if lowerRank != nil, upperRank != nil { break }
            if lowerRank == nil, bucket.lower < lower, bucket.upper > lower { lowerRank = interpolated(lower) }
            if upperRank == nil, bucket.lower < upper, bucket.upper > upper { upperRank = interpolated(upper) }
            if lowerRank != nil, upperRank != nil { break }
            rank += bucket.count
        }
        var count = histogram.count
        if histogram.sum.isNaN {
            count = buckets.reduce(0) { $0 + $1.count }
            if count < histogram.count {
                notes.info(
                    "input to histogram_fraction has NaN observations, which are excluded from all fractions"
                        + (metric.isEmpty ? "" : " for metric name \(quoteGo(metric))"), argument)
            }
        }
        let from = min(lowerRank ?? count, count)
        let to = min(upperRank ?? count, count)
        return (to - from) / histogram.count
    }
}
