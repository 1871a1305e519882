/// Arithmetic of native histograms, with Prometheus' rules for differing resolutions, zero buckets and custom bounds.
extension NativeHistogram {
    /// What happened besides the arithmetic when two histograms were combined.
    package struct Combination: Sendable, Equatable {
        /// One was known to follow a counter reset and the other not to.
        package var resetCollision = false
        /// Custom bounds differed; those that both have were kept.
        package var reconciledBounds = false
    }

    /// Exponential and custom buckets cannot be combined.
    package struct IncompatibleBuckets: Error, Sendable {}

    // MARK: - Scaling

    /// Multiplies all counts and the sum; below zero the result is a gauge.
    package mutating func scale(by factor: Double) {
        zeroCount *= factor
        count *= factor
        sum *= factor
        for i in positiveBuckets.indices { positiveBuckets[i] *= factor }
        for i in negativeBuckets.indices { negativeBuckets[i] *= factor }
        if factor < 0 { counterResetHint = .gauge }
    }

    /// Divides all counts and the sum; by zero no buckets are left.
    package mutating func divide(by divisor: Double) {
        zeroCount /= divisor
        count /= divisor
        sum /= divisor
        if divisor == 0 {
            positiveSpans = []
            negativeSpans = []
            positiveBuckets = []
            negativeBuckets = []
            return
        }
        for i in positiveBuckets.indices { positiveBuckets[i] /= divisor }
        for i in negativeBuckets.indices { negativeBuckets[i] /= divisor }
        if divisor < 0 { counterResetHint = .gauge }
    }

    /// Drops empty buckets.
    package mutating func compact() {
        for positive in [true, false] {
            let all = rows(positive: positive)
            setRows(all.filter { $0.count != 0 }, positive: positive)
        }
    }

    /// Halves the resolution until the schema is reached; does nothing where it is reached already.
    package mutating func reduce(to target: Int32) {
        guard !usesCustomBuckets, target < schema else { return }
        for positive in [true, false] {
            setRows(NativeHistogram.reduced(rows(positive: positive), from: schema, to: target), positive: positive)
        }
        schema = target
    }

    static func reduced(_ rows: [BucketRow], from: Int32, to: Int32) -> [BucketRow] {
        let shift = Int(from - to)
        var out: [BucketRow] = []
        for row in rows {
            let index = ((row.index - 1) >> shift) + 1
            if let last = out.indices.last, out[last].index == index {
                out[last].count += row.count
            } else {
                out.append(BucketRow(index: index, count: row.count))
            }
        }
        return out
    }

    // MARK: - Adding

    /// Adds another histogram. Throws where one has exponential buckets and the other custom ones.
    @discardableResult
    package mutating func add(_ other: NativeHistogram) throws(IncompatibleBuckets) -> Combination {
        try combine(other, sign: 1)
    }

    /// Subtracts another histogram; as `add`.
    @discardableResult
    package mutating func subtract(_ other: NativeHistogram) throws(IncompatibleBuckets) -> Combination {
        try combine(other, sign: -1)
    }

    private mutating func combine(
        _ other: NativeHistogram, sign: Double
    ) throws(IncompatibleBuckets) -> Combination {
        guard usesCustomBuckets == other.usesCustomBuckets else { throw IncompatibleBuckets() }
        var outcome = Combination()
        outcome.resetCollision = adjustHint(other)
        var other = other
        outcome.reconciledBounds = alignLayout(&other)
        if !usesCustomBuckets { zeroCount += sign * other.zeroCount }
        count += sign * other.count
        sum += sign * other.sum
        for positive in [true, false] {
            setRows(
                merged(rows(positive: positive), other.rows(positive: positive)) { $0 + sign * $1 },
                positive: positive)
        }
        return outcome
    }

    /// Which counter reset hint the combination has; true where the two contradict each other.
    package mutating func adjustHint(_ other: NativeHistogram) -> Bool {
        switch (counterResetHint, other.counterResetHint) {
        case (let a, let b) where a == b: return false
        case (.gauge, _): return false
        case (_, .gauge):
            counterResetHint = .gauge
            return false
        case (.unknown, _): return false
        case (_, .unknown):
            counterResetHint = .unknown
            return false
        default:
            counterResetHint = .unknown
            return true
        }
    }

    /// Brings two histograms of one kind to the same bounds: the coarser schema and wider zero bucket, or the custom bounds
    /// that both have (then true).
    package mutating func alignLayout(_ other: inout NativeHistogram) -> Bool {
        if usesCustomBuckets {
            if customValues == other.customValues { return false }
            let shared = sharedBounds(customValues, other.customValues)
            remap(to: shared)
            other.remap(to: shared)
            return true
        }
        reconcileZeroBuckets(&other)
        let target = min(schema, other.schema)
        reduce(to: target)
        other.reduce(to: target)
        return false
    }

    private mutating func remap(to bounds: [Double]) {
        var counts = [Double](repeating: 0, count: bounds.count + 1)
        for row in rows(positive: true) {
            let upper = upperBound(row.index)
            let place = bounds.firstIndex { $0 >= upper } ?? bounds.count
            counts[place] += row.count
        }
        customValues = bounds
        setRows(
            counts.enumerated().filter { $0.element != 0 }.map { BucketRow(index: $0.offset, count: $0.element) },
            positive: true)
    }

    // MARK: - The zero bucket

    private mutating func reconcileZeroBuckets(_ other: inout NativeHistogram) {
        while zeroThreshold != other.zeroThreshold {
            if zeroThreshold > other.zeroThreshold {
                other.widenZeroBucket(to: zeroThreshold)
            } else {
                widenZeroBucket(to: other.zeroThreshold)
            }
        }
    }

    /// Takes what lies nearer to zero than the threshold into the zero bucket. Where the threshold is inside a populated
    /// bucket, all of it is taken and the threshold becomes its border.
    package mutating func widenZeroBucket(to threshold: Double) {
        let (count, reached) = zeroCount(upTo: threshold)
        zeroCount = count
        zeroThreshold = reached
        for positive in [true, false] {
            let kept = rows(positive: positive).filter {
                let bucket = bucket($0, positive: true)
                return bucket.lower >= reached
            }
            setRows(kept.filter { $0.count != 0 }, positive: positive)
        }
    }

    /// The zero bucket's count were its threshold that, and the threshold it would have then.
    package func zeroCount(upTo threshold: Double) -> (count: Double, threshold: Double) {
        if threshold == zeroThreshold { return (zeroCount, threshold) }
        var threshold = threshold
        var again = true
        var total = zeroCount
        while again {
            again = false
            total = zeroCount
            for positive in [true, false] {
                for row in rows(positive: positive) {
                    let bucket = bucket(row, positive: true)
                    if bucket.lower >= threshold { break }
                    total += row.count
                    if bucket.upper > threshold {
                        if row.count != 0 {
                            threshold = bucket.upper
                            if !positive { again = true }
                        }
                        break
                    }
                }
                if again { break }
            }
        }
        return (total, threshold)
    }

    // MARK: - Comparing

    /// Whether both hold the same data, bit by bit; the counter reset hint does not count, and neither do empty buckets.
    package func equals(_ other: NativeHistogram) -> Bool {
        func same(_ a: Double, _ b: Double) -> Bool { a.bitPattern == b.bitPattern }
        guard schema == other.schema, same(count, other.count), same(sum, other.sum) else { return false }
        if usesCustomBuckets {
            guard customValues == other.customValues else { return false }
        } else {
            guard same(zeroCount, other.zeroCount), zeroThreshold == other.zeroThreshold else { return false }
        }
        for positive in [true, false] {
            let a = rows(positive: positive).filter { $0.count != 0 }
            let b = other.rows(positive: positive).filter { $0.count != 0 }
            guard a.count == b.count else { return false }
            for (x, y) in zip(a, b) where x.index != y.index || !same(x.count, y.count) { return false }
        }
        return true
    }

    /// Whether a counter that had `previous` before was reset: something decreased, or the layout became finer.
    package func isReset(after previous: NativeHistogram) -> Bool {
        switch counterResetHint {
        case .reset: return true
        case .notReset: return false
        case .unknown, .gauge: break
        }
        if count < previous.count { return true }
        var before = previous
        if usesCustomBuckets {
            guard before.usesCustomBuckets else { return true }
            var now = self
            if customValues != before.customValues { _ = now.alignLayout(&before) }
            return NativeHistogram.decreased(now.rows(positive: true), before.rows(positive: true))
        }
        if before.usesCustomBuckets || schema > before.schema || zeroThreshold < before.zeroThreshold { return true }
        let (zeroBefore, reached) = before.zeroCount(upTo: zeroThreshold)
        if reached != zeroThreshold || zeroCount < zeroBefore { return true }
        before.widenZeroBucket(to: zeroThreshold)
        before.reduce(to: schema)
        for positive in [true, false]
        where NativeHistogram.decreased(rows(positive: positive), before.rows(positive: positive)) {
            return true
        }
        return false
    }

    private static func decreased(_ now: [BucketRow], _ before: [BucketRow]) -> Bool {
        var i = 0
        for row in before {
            while i < now.count, now[i].index < row.index { i += 1 }
            let current = i < now.count && now[i].index == row.index ? now[i].count : 0
            if current < row.count || (row.count != 0 && (i >= now.count || now[i].index != row.index)) {
                return true
            }
        }
        return false
    }
}

/// Joins two ascending lists of rows; a row that one of them lacks counts 0 there.
func merged(_ a: [BucketRow], _ b: [BucketRow], _ body: (Double, Double) -> Double) -> [BucketRow] {
    var out: [BucketRow] = []
    out.reserveCapacity(max(a.count, b.count))
    var i = 0
    var j = 0
    while i < a.count || j < b.count {
        if j >= b.count || (i < a.count && a[i].index < b[j].index) {
            out.append(a[i])
            i += 1
        } else if i >= a.count || b[j].index < a[i].index {
            out.append(BucketRow(index: b[j].index, count: body(0, b[j].count)))
            j += 1
        } else {
            out.append(BucketRow(index: a[i].index, count: body(a[i].count, b[j].count)))
            i += 1
            j += 1
        }
    }
    return out
}

/// Bounds that both ascending lists have.
private func sharedBounds(_ a: [Double], _ b: [Double]) -> [Double] {
    var out: [Double] = []
    var j = 0
    for bound in a {
        while j < b.count, b[j] < bound { j += 1 }
        if j < b.count, b[j] == bound { out.append(bound) }
    }
    return out
}
