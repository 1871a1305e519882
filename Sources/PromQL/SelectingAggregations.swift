import MetricModel

/// `topk`, `bottomk`, `limitk` and `limit_ratio`: they pass some of their input on, unchanged.
extension Evaluator {
    func choose(
        _ aggregation: Expr.Aggregation, _ columns: [Column], _ expr: Expr, _ grid: Grid
    ) throws -> [Column] {
        guard let parameter = aggregation.parameter else { return [] }
        let parameters = try scalar(parameter, grid)
        let op = aggregation.op
        guard try checkParameters(op, parameters, parameter) else { return [] }
        let grouping = Grouping(columns, by: aggregation.grouping, without: aggregation.without)
        var members = [[Int]](repeating: [], count: grouping.labels.count)
        for (i, group) in grouping.group.enumerated() { members[group].append(i) }
        var chosen = [Bool](repeating: false, count: columns.count)
        // For a range: which samples stay. For an instant: in which order.
        var keep = [[Bool]](repeating: [], count: columns.count)
        var order: [Int] = []
        for indices in members {
            try control.check()
            for i in 0..<grid.count {
                for index in select(op, columns, indices, i, parameters[i], expr) {
                    if !chosen[index] {
                        chosen[index] = true
                        keep[index] = [Bool](repeating: false, count: grid.count)
                    }
                    keep[index][i] = true
                    if grid.count == 1 { order.append(index) }
                }
            }
        }
        if grid.count == 1 {
            return order.map { index in
                var column = columns[index]
                if op == .topk || op == .bottomk { column.histograms = nil }
                return column
            }
        }
        var out: [Column] = []
        for index in columns.indices where chosen[index] {
            var column = columns[index]
            for i in 0..<grid.count where !keep[index][i] { column.clear(i) }
            out.append(column)
        }
        return out
    }

    /// False where nothing can be chosen.
    private func checkParameters(_ op: Aggregator, _ values: [Double], _ parameter: Expr) throws -> Bool {
        let numbers = values.filter { !$0.isNaN }
        let most = numbers.max() ?? .nan
        let least = numbers.min() ?? .nan
        let hasNaN = numbers.count < values.count
        if op == .limitRatio {
            if most == 0, least == 0, !hasNaN { return false }
            if hasNaN { throw QueryError(.execution, "Ratio value is NaN") }
            func warn(_ value: Double, _ limit: Double) {
                notes.warn(
                    "ratio value should be between -1 and 1, got \(formatFloat(value, .general)), capping to \(formatFloat(limit, .general))",
                    parameter)
            }
            if most > 1 { warn(most, 1) }
            if least < -1 { warn(least, -1) }
            return true
        }
        if most < 1 { return false }
        if hasNaN { throw QueryError(.execution, "Parameter value is NaN") }
        if least <= -9_223_372_036_854_775_808 {
            throw QueryError(.execution, "Scalar value \(formatFloat(least, .general)) underflows int64")
        }
        if most >= 9_223_372_036_854_775_808 {
            throw QueryError(.execution, "Scalar value \(formatFloat(most, .general)) overflows int64")
        }
        return true
    }

    private func select(
        _ op: Aggregator, _ columns: [Column], _ indices: [Int], _ i: Int, _ parameter: Double, _ expr: Expr
    ) -> [Int] {
        switch op {
        case .limitRatio:
            if parameter == 0 { return [] }
            let ratio = min(1, max(-1, parameter))
            return indices.filter { columns[$0].isPresent(i) && isSampled(columns[$0].labels, ratio) }
        case .limitk:
            let k = parameter < 1 ? 0 : Int(min(parameter, Double(indices.count)))
            return Array(indices.lazy.filter { columns[$0].isPresent(i) }.prefix(k))
        default: break
        }
        let k = parameter < 1 ? 0 : Int(min(parameter, Double(columns.count)))
        if k == 0 { return [] }
        var heap = SampleHeap(smallestFirst: op == .topk)
        for index in indices {
            let value = columns[index].values[i]
            if value.isAbsent {
                if columns[index].isPresent(i) {
                    notes.info("ignored histogram in \(op.rawValue) aggregation", expr)
                }
                continue
            }
            heap.offer(value, index, limit: k)
        }
        return heap.ordered()
    }

    /// Whether a series is in a pseudo-random share of all: the same as Prometheus picks.
    private func isSampled(_ labels: Labels, _ ratio: Double) -> Bool {
        let place = Double(xxHash64(labels.bytes)) / 18_446_744_073_709_551_616.0
        return ratio >= 0 ? place < ratio : place >= 1 + ratio
    }
}

/// A binary heap of samples with the worst of the chosen on top; NaN is worst of all. The same moves as Go's
/// container/heap makes, so that equal values come out in the same order as in Prometheus.
private struct SampleHeap {
    let smallestFirst: Bool
    private var items: [(value: Double, index: Int)] = []

    init(smallestFirst: Bool) { self.smallestFirst = smallestFirst }

    private func less(_ a: Double, _ b: Double) -> Bool { a.isNaN ? true : smallestFirst ? a < b : a > b }

    mutating func offer(_ value: Double, _ index: Int, limit: Int) {
        if items.count < limit {
            items.append((value, index))
            up(items.count - 1)
            return
        }
        let top = items[0].value
        if (smallestFirst ? top < value : top > value) || (top.isNaN && !value.isNaN) {
            items[0] = (value, index)
            if limit > 1 { down(0) }
        }
    }

    private mutating func up(_ start: Int) {
        var j = start
        while j > 0 {
            let parent = (j - 1) / 2
            if !less(items[j].value, items[parent].value) { return }
            items.swapAt(parent, j)
            j = parent
        }
    }

    private mutating func down(_ start: Int) {
        var i = start
        while true {
            let left = 2 * i + 1
            guard left < items.count else { return }
            var child = left
            if left + 1 < items.count, less(items[left + 1].value, items[left].value) { child = left + 1 }
            if !less(items[child].value, items[i].value) { return }
            items.swapAt(i, child)
            i = child
        }
    }

    /// Best first.
    func ordered() -> [Int] {
        items.sorted { a, b in
            if a.value.isNaN || b.value.isNaN { return !a.value.isNaN && b.value.isNaN }
            return smallestFirst ? a.value > b.value : a.value < b.value
        }.map(\.index)
    }
}

/// XXH64 with seed 0.
func xxHash64(_ bytes: [UInt8]) -> UInt64 {
    let p1: UInt64 = 0x9E37_79B1_85EB_CA87
    let p2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    let p3: UInt64 = 0x1656_67B1_9E37_79F9
    let p4: UInt64 = 0x85EB_CA77_C2B2_AE63
    let p5: UInt64 = 0x27D4_EB2F_1656_67C5
    func rotate(_ x: UInt64, _ n: UInt64) -> UInt64 { x << n | x >> (64 - n) }
    func round(_ acc: UInt64, _ input: UInt64) -> UInt64 { rotate(acc &+ input &* p2, 31) &* p1 }
    return bytes.withUnsafeBytes { raw in
        func word(_ i: Int) -> UInt64 { UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: i, as: UInt64.self)) }
        let n = raw.count
        var i = 0
        var hash: UInt64
        if n >= 32 {
            var v1 = p1 &+ p2
            var v2 = p2
            var v3: UInt64 = 0
            var v4 = 0 &- p1
            while i + 32 <= n {
                v1 = round(v1, word(i))
                v2 = round(v2, word(i + 8))
                v3 = round(v3, word(i + 16))
                v4 = round(v4, word(i + 24))
                i += 32
            }
            hash = rotate(v1, 1) &+ rotate(v2, 7) &+ rotate(v3, 12) &+ rotate(v4, 18)
            for v in [v1, v2, v3, v4] { hash = (hash ^ round(0, v)) &* p1 &+ p4 }
        } else {
            hash = p5
        }
        hash = hash &+ UInt64(n)
        while i + 8 <= n {
            hash ^= round(0, word(i))
            hash = rotate(hash, 27) &* p1 &+ p4
            i += 8
        }
        if i + 4 <= n {
            let half = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: i, as: UInt32.self))
            hash ^= UInt64(half) &* p1
            hash = rotate(hash, 23) &* p2 &+ p3
            i += 4
        }
        while i < n {
            hash ^= UInt64(raw[i]) &* p5
            hash = rotate(hash, 11) &* p1
            i += 1
        }
        hash ^= hash >> 33
        hash = hash &* p2
        hash ^= hash >> 29
        hash = hash &* p3
        hash ^= hash >> 32
        return hash
    }
}
