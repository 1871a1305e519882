/// Cutting a histogram's observations off above or below a value.
extension NativeHistogram {
    /// Keeps observations below `limit` (`upper`) or above it. A bucket that holds the limit is split by interpolation; count
    /// and sum are estimated anew where anything was cut off.
    package mutating func trim(at limit: Double, upper: Bool) {
        var newCount = 0.0
        var newSum = 0.0
        var trimmed = false
        var populated: [Bool: Bool] = [:]
        for positive in [true, false] {
            var all = rows(positive: positive)
            for i in all.indices where all[i].count != 0 {
                populated[positive] = true
                let bucket = bucket(all[i], positive: positive)
                let wholeStays = upper ? bucket.upper <= limit : bucket.lower >= limit
                let partStays = upper ? bucket.lower < limit : bucket.upper > limit
                if wholeStays {
                    newCount += bucket.count
                    newSum += midpoint(bucket.lower, bucket.upper, positive) * bucket.count
                } else if partStays {
                    let (kept, middle) = split(bucket, limit, upper, positive)
                    newCount += kept
                    newSum += middle * kept
                    if all[i].count != kept {
                        all[i].count = kept
                        trimmed = true
                    }
                } else {
                    all[i].count = 0
                    trimmed = true
                }
            }
            setRows(all, positive: positive)
        }
        if zeroCount > 0 {
            let (kept, middle) = splitZeroBucket(limit, upper, populated[true] ?? false, populated[false] ?? false)
            if zeroCount != kept {
                zeroCount = kept
                trimmed = true
            }
            newCount += kept
            newSum += middle * kept
        }
        if trimmed {
            count = newCount
            sum = newSum
            compact()
        }
    }

    /// Where in an interval its observations are assumed to be: the middle, arithmetic or geometric.
    private func midpoint(_ lower: Double, _ upper: Double, _ positive: Bool) -> Double {
        if lower.isInfinite {
            if upper.isInfinite { return 0 }
            return upper > 0 ? upper / 2 : upper
        }
        if upper.isInfinite { return lower }
        if usesCustomBuckets { return (lower + upper) / 2 }
        let mean = abs(lower * upper).squareRoot()
        return positive ? mean : -mean
    }

    private func split(
        _ bucket: HistogramBucket, _ limit: Double, _ upper: Bool, _ positive: Bool
    ) -> (kept: Double, middle: Double) {
        func finite(_ value: Double) -> Double { value.isInfinite ? 0 : value }
        if bucket.lower == -.infinity {
            // Only custom buckets: from zero on where the border is above it, else unknown.
            if upper {
                if limit >= bucket.upper { return (bucket.count, 0) }
                if limit > 0, bucket.upper > 0, bucket.upper.isFinite {
                    return (bucket.count * limit / bucket.upper, limit / 2)
                }
                if bucket.upper <= 0 { return (bucket.count, limit) }
                return (0, finite(bucket.upper))
            }
            if limit <= bucket.lower { return (bucket.count, 0) }
            if limit >= 0, bucket.upper > limit, bucket.upper.isFinite {
                return (bucket.count * (1 - limit / bucket.upper), (limit + bucket.upper) / 2)
            }
            return (0, finite(bucket.upper))
        }
        if bucket.upper == .infinity {
            if !upper, limit >= bucket.lower { return (bucket.count, limit) }
            return (0, finite(bucket.lower))
        }
        let below: Double
        if limit <= bucket.lower {
            below = 0
        } else if limit >= bucket.upper {
            below = bucket.count
        } else {
            below = bucket.count * bucket.fractionBelow(limit, linear: usesCustomBuckets)
        }
        return upper
            ? (below, midpoint(bucket.lower, limit, positive))
            : (bucket.count - below, midpoint(limit, bucket.upper, positive))
    }

    private func splitZeroBucket(
        _ limit: Double, _ upper: Bool, _ hasPositive: Bool, _ hasNegative: Bool
    ) -> (kept: Double, middle: Double) {
        let high = hasNegative && !hasPositive ? 0 : zeroThreshold
        let low = hasPositive && !hasNegative ? 0 : -zeroThreshold
        if upper {
            if limit <= low { return (0, 0) }
            if limit >= high { return (zeroCount, (low + high) / 2) }
            return (zeroCount * ((limit - low) / (high - low)), (low + limit) / 2)
        }
        if limit <= low { return (zeroCount, (low + high) / 2) }
        if limit >= high { return (0, 0) }
        return (zeroCount * ((high - limit) / (high - low)), (limit + high) / 2)
    }
}
