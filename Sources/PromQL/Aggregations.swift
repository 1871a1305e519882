import MetricModel

/// Which group each series of a vector belongs to, found once for all steps.
struct Grouping {
    /// The groups' labels, in order of first appearance.
    var labels: [Labels] = []
    /// Of each column, its group.
    var group: [Int] = []

    init(_ columns: [Column], by names: [String], without: Bool) {
        let set = LabelNames(without ? names + [Labels.metricNameLabel] : names)
        if !without, names.isEmpty {
            if !columns.isEmpty { labels = [.empty] }
            group = [Int](repeating: 0, count: columns.count)
            return
        }
        var known = GroupTable()
        var key: [UInt8] = []
        group.reserveCapacity(columns.count)
        for column in columns {
            key.removeAll(keepingCapacity: true)
            column.labels.appendPairs(to: &key) { set.contains($0) != without }
            group.append(known.place(of: key, in: &labels))
        }
    }
}

/// From the bytes of a group's labels to its number, without making labels of them for each series. Open addressing.
private struct GroupTable {
    /// A group's number plus one.
    private var places = [UInt32](repeating: 0, count: 64)

    /// The number of the group with these labels, which are added where it is new.
    mutating func place(of key: [UInt8], in labels: inout [Labels]) -> Int {
        var place = home(key)
        while places[place] != 0 {
            let group = Int(places[place]) - 1
            if labels[group].bytes == key { return group }
            place = (place + 1) & (places.count - 1)
        }
        labels.append(Labels(bytes: key))
        places[place] = UInt32(truncatingIfNeeded: labels.count)
        if labels.count * 2 > places.count { grow(labels) }
        return labels.count - 1
    }

    private mutating func grow(_ labels: [Labels]) {
        places = [UInt32](repeating: 0, count: places.count * 4)
        for (group, labels) in labels.enumerated() {
            var place = home(labels.bytes)
            while places[place] != 0 { place = (place + 1) & (places.count - 1) }
            places[place] = UInt32(truncatingIfNeeded: group + 1)
        }
    }

    /// By a hash with keys drawn at start, so that labels cannot be made to collide.
    private func home(_ key: [UInt8]) -> Int {
        var hasher = Hasher()
        key.withUnsafeBytes { hasher.combine(bytes: $0) }
        return hasher.finalize() & (places.count - 1)
    }
}

extension Evaluator {
    /// What a group counts for beside its values, so that very many groups meet the limit on samples.
    private static let groupCost = 64

    func aggregate(_ aggregation: Expr.Aggregation, _ expr: Expr, _ grid: Grid) throws -> [Column] {
        let columns = try vector(aggregation.expr, grid)
        switch aggregation.op {
        case .topk, .bottomk, .limitk, .limitRatio: return try choose(aggregation, columns, expr, grid)
        case .countValues: return try countValues(aggregation, columns, grid)
        default: break
        }
        var quantiles: [Double] = []
        if aggregation.op == .quantile, let parameter = aggregation.parameter {
            quantiles = try scalar(parameter, grid)
            warnOfQuantiles(quantiles, parameter)
        }
        let grouping = Grouping(columns, by: aggregation.grouping, without: aggregation.without)
        // A group's labels and its place in the tables weigh about as much as these figures.
        try hold(grouping.labels.count * (grid.count + Self.groupCost))
        var members = [[Int]](repeating: [], count: grouping.labels.count)
        for (i, group) in grouping.group.enumerated() { members[group].append(i) }
        var out: [Column] = []
        out.reserveCapacity(members.count)
        for (group, indices) in members.enumerated() {
            if group & 63 == 0 { try control.check() }
            var column = Column(labels: grouping.labels[group], values: [])
            for i in indices where columns[i].dropName { column.dropName = true }
            if indices.contains(where: { columns[$0].histograms != nil }) {
                aggregateMixed(aggregation, indices.map { columns[$0] }, quantiles, grid, &column)
            } else {
                column.values = aggregateFloats(aggregation.op, columns, indices, quantiles, grid.count)
            }
            if !column.isEmpty { out.append(column) }
        }
        release(columns.count * grid.count)
        return out
    }

    private func warnOfQuantiles(_ quantiles: [Double], _ parameter: Expr) {
        func warn(_ q: Double) {
            notes.warn("quantile value should be between 0 and 1, got \(formatFloat(q, .general))", parameter)
        }
        if quantiles.contains(where: \.isNaN) { warn(.nan) }
        if let most = quantiles.filter({ !$0.isNaN }).max(), most > 1 { warn(most) }
        if let least = quantiles.filter({ !$0.isNaN }).min(), least < 0 { warn(least) }
    }

    /// Adds the columns of one group into one, in order, step by step side by side.
    private func aggregateFloats(
        _ op: Aggregator, _ columns: [Column], _ indices: [Int], _ quantiles: [Double], _ count: Int
    ) -> [Double] {
        switch op {
        case .sum: return sums(columns, indices, count)
        case .avg: return averages(columns, indices, count)
        case .min: return fold(columns, indices, count) { $0 > $1 || $0.isNaN ? $1 : $0 }
        case .max: return fold(columns, indices, count) { $0 < $1 || $0.isNaN ? $1 : $0 }
        case .group, .count:
            var out = [Double](repeating: absent, count: count)
            for index in indices {
                for i in 0..<count where !columns[index].values[i].isAbsent {
                    out[i] = op == .group || out[i].isAbsent ? 1 : out[i] + 1
                }
            }
            return out
        case .stddev, .stdvar:
            var out = variances(columns, indices, count)
            if op == .stddev { for i in out.indices where !out[i].isAbsent { out[i] = out[i].squareRoot() } }
            return out
        case .quantile:
            var scratch: [Double] = []
            return (0..<count).map { i in
                scratch.removeAll(keepingCapacity: true)
                for index in indices where !columns[index].values[i].isAbsent {
                    scratch.append(columns[index].values[i])
                }
                return scratch.isEmpty ? absent : quantile(quantiles[i], &scratch)
            }
        case .topk, .bottomk, .limitk, .limitRatio, .countValues: return []
        }
    }

    @inline(__always)
    private func fold(
        _ columns: [Column], _ indices: [Int], _ count: Int, _ body: (Double, Double) -> Double
    ) -> [Double] {
        var out = columns[indices[0]].values
        for index in indices.dropFirst() {
            columns[index].values.withUnsafeBufferPointer { values in
                for i in 0..<count where !values[i].isAbsent {
                    out[i] = out[i].isAbsent ? values[i] : body(out[i], values[i])
                }
            }
        }
        return out
    }

    private func sums(_ columns: [Column], _ indices: [Int], _ count: Int) -> [Double] {
        var out = columns[indices[0]].values
        if indices.count == 1 { return out }
        var corrections = [Double](repeating: 0, count: count)
        out.withUnsafeMutableBufferPointer { out in
            corrections.withUnsafeMutableBufferPointer { corrections in
                for index in indices.dropFirst() {
                    columns[index].values.withUnsafeBufferPointer { values in
                        for i in 0..<count where !values[i].isAbsent {
                            if out[i].isAbsent {
                                out[i] = values[i]
                            } else {
                                var sum = KahanSum(out[i], correction: corrections[i])
                                sum.add(values[i])
                                out[i] = sum.sum
                                corrections[i] = sum.correction
                            }
                        }
                    }
                }
                for i in 0..<count where !out[i].isAbsent { out[i] += corrections[i] }
            }
        }
        return out
    }

    private func averages(_ columns: [Column], _ indices: [Int], _ count: Int) -> [Double] {
        var means = [RunningMean?](repeating: nil, count: count)
        for index in indices {
            columns[index].values.withUnsafeBufferPointer { values in
                for i in 0..<count where !values[i].isAbsent {
                    if means[i]?.add(values[i]) == nil { means[i] = RunningMean(first: values[i]) }
                }
            }
        }
        return means.map { $0?.mean ?? absent }
    }

    /// Welford's method, without compensation, as Prometheus has it here.
    private func variances(_ columns: [Column], _ indices: [Int], _ count: Int) -> [Double] {
        var counts = [Double](repeating: 0, count: count)
        var means = counts
        var squares = counts
        for index in indices {
            columns[index].values.withUnsafeBufferPointer { values in
                for i in 0..<count where !values[i].isAbsent {
                    let value = values[i]
                    counts[i] += 1
                    if counts[i] == 1 {
                        means[i] = value
                        squares[i] = value.isFinite ? 0 : .nan
                        continue
                    }
                    let delta = value - means[i]
                    means[i] += delta / counts[i]
                    squares[i] += delta * (value - means[i])
                }
            }
        }
        return (0..<count).map { counts[$0] == 0 ? absent : squares[$0] / counts[$0] }
    }

    // MARK: - count_values

    private func countValues(
        _ aggregation: Expr.Aggregation, _ columns: [Column], _ grid: Grid
    ) throws -> [Column] {
        guard let parameter = aggregation.parameter else { return [] }
        let label = try string(parameter)
        if label.isEmpty || hasRawBytes(label) {
            throw QueryError(.execution, "invalid label name \(quoteGo(label))")
        }
        let keep = LabelNames(aggregation.grouping + [label])
        let drop = LabelNames(aggregation.grouping + [Labels.metricNameLabel])
        var places: [Labels: Int] = [:]
        var out: [Column] = []
        for column in columns {
            var known: [UInt64: Int] = [:]
            for i in 0..<grid.count where column.isPresent(i) {
                let histogram = column.histograms?[i]
                let bits = column.values[i].bitPattern
                if histogram == nil, let place = known[bits] {
                    out[place].values[i] = out[place].values[i].isAbsent ? 1 : out[place].values[i] + 1
                    continue
                }
                var builder = LabelsBuilder(column.labels)
                builder.set(label, histogram?.description ?? formatFloat(column.values[i]))
                let full = builder.labels()
                let labels = aggregation.without ? full.dropping(drop) : full.keeping(keep)
                let place: Int
                if let found = places[labels] {
                    place = found
                } else {
                    place = out.count
                    places[labels] = place
                    try hold(grid.count)
                    out.append(Column(labels: labels, values: [Double](repeating: absent, count: grid.count)))
                }
                if histogram == nil { known[bits] = place }
                out[place].values[i] = out[place].values[i].isAbsent ? 1 : out[place].values[i] + 1
            }
        }
        return out
    }
}
