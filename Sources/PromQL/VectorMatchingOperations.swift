import MetricModel

/// Operations on two vectors: their series are matched once, by signature, for all steps.
extension Evaluator {
    /// The signature that matching goes by.
    private func signature(_ labels: Labels, _ names: LabelNames, on: Bool) -> Labels {
        on ? labels.keeping(names) : labels.dropping(names)
    }

    private func names(of matching: VectorMatching) -> LabelNames {
        LabelNames(matching.on ? matching.labels : matching.labels + [Labels.metricNameLabel])
    }

    // MARK: - and, or, unless

    func setOperation(
        _ binary: Expr.Binary, _ left: [Column], _ right: [Column], _ grid: Grid
    ) throws -> [Column] {
        let matching = binary.matching
        if binary.op == .and, left.isEmpty || right.isEmpty { return [] }
        if binary.op == .unless, left.isEmpty || right.isEmpty { return left }
        if binary.op == .or, left.isEmpty { return right }
        if binary.op == .or, right.isEmpty { return left }
        let names = names(of: matching)
        // Where any series of a signature on the deciding side has a sample.
        let deciding = binary.op == .or ? left : right
        var presence: [Labels: [Bool]] = [:]
        for column in deciding {
            var flags =
                presence.removeValue(forKey: signature(column.labels, names, on: matching.on))
                ?? [Bool](repeating: false, count: grid.count)
            for i in 0..<grid.count where !flags[i] && column.isPresent(i) { flags[i] = true }
            presence[signature(column.labels, names, on: matching.on)] = flags
        }
        var out: [Column] = binary.op == .or ? left : []
        for var column in binary.op == .or ? right : left {
            let flags = presence[signature(column.labels, names, on: matching.on)]
            guard let flags else {
                if binary.op != .and { out.append(column) }
                continue
            }
            let keepWhere = binary.op == .and
            for i in 0..<grid.count where flags[i] != keepWhere { column.clear(i) }
            if !column.isEmpty { out.append(column) }
        }
        return binary.op == .or ? try joinSameLabels(out) : out
    }

    // MARK: - Arithmetic and comparison

    /// The side on which many series may share a signature, and the side with one.
    private struct Sides {
        var many: [Column]
        var one: [Column]
        /// The many side is the right operand.
        var swapped: Bool
    }

    func matched(
        _ binary: Expr.Binary, _ left: [Column], _ right: [Column], _ expr: Expr, _ grid: Grid
    ) throws -> [Column] {
        let matching = binary.matching
        let swapped = matching.cardinality == .oneToMany
        let sides = Sides(many: swapped ? right : left, one: swapped ? left : right, swapped: swapped)
        let fills = matching.fillLeft != nil || matching.fillRight != nil
        if left.isEmpty && right.isEmpty || ((left.isEmpty || right.isEmpty) && !fills) { return [] }
        let names = names(of: matching)
        var groups: [Labels: Int] = [:]
        var manyIn: [[Int]] = []
        var oneIn: [[Int]] = []
        func group(_ labels: Labels) -> Int {
            let key = signature(labels, names, on: matching.on)
            if let index = groups[key] { return index }
            groups[key] = manyIn.count
            manyIn.append([])
            oneIn.append([])
            return manyIn.count - 1
        }
        for (i, column) in sides.many.enumerated() { manyIn[group(column.labels)].append(i) }
        for (i, column) in sides.one.enumerated() { oneIn[group(column.labels)].append(i) }
        try refuseDuplicates(sides, oneIn, matching, grid, fills)

        var output = MatchOutput(count: grid.count)
        for g in manyIn.indices {
            if g & 63 == 0 { try control.check() }
            if oneIn[g].isEmpty && matching.fillRight == nil { continue }
            if manyIn[g].isEmpty && matching.fillLeft == nil { continue }
            output.startGroup()
            try match(binary, sides, manyIn[g], oneIn[g], expr, grid, &output)
            if fills { try fill(binary, sides, manyIn[g], oneIn[g], expr, grid, &output) }
        }
        return output.columns
    }

    /// At a step at which both sides have samples, the one side may have only one of a signature.
    private func refuseDuplicates(
        _ sides: Sides, _ oneIn: [[Int]], _ matching: VectorMatching, _ grid: Grid, _ fills: Bool
    ) throws {
        for members in oneIn where members.count > 1 {
            var holder = [Int](repeating: -1, count: grid.count)
            for index in members {
                for i in 0..<grid.count where sides.one[index].isPresent(i) {
                    if holder[i] < 0 {
                        holder[i] = index
                        continue
                    }
                    guard fills || sides.many.contains(where: { $0.isPresent(i) }) else { continue }
                    let shown = [sides.one[index].labels, sides.one[holder[i]].labels].map(\.full).sorted()
                    let group = signature(
                        sides.one[index].labels, self.names(of: matching), on: matching.on)
                    throw QueryError(
                        .execution,
                        "found duplicate series for the match group \(group.full) on the \(sides.swapped ? "left" : "right") hand-side of the operation: [\(shown[0]), \(shown[1])];many-to-many matching not allowed: matching labels must be unique on one side"
                    )
                }
            }
        }
    }

    private func resultLabels(_ many: Labels, _ one: Labels, _ binary: Expr.Binary) -> Labels {
        let matching = binary.matching
        var labels = many
        if binary.op.changesMetric || (binary.returnBool && !delayedNames) { labels = labels.withoutMetadata }
        if matching.cardinality == .oneToOne {
            let set = LabelNames(matching.labels)
            labels = matching.on ? labels.keeping(set) : labels.dropping(set)
        }
        if !matching.include.isEmpty {
            var builder = LabelsBuilder(labels)
            for name in matching.include { builder.set(name, one[name] ?? "") }
            labels = builder.labels()
        }
        return labels
    }

    private func match(
        _ binary: Expr.Binary, _ sides: Sides, _ manyIn: [Int], _ oneIn: [Int], _ expr: Expr, _ grid: Grid,
        _ output: inout MatchOutput
    ) throws {
        let oneToOne = binary.matching.cardinality == .oneToOne
        let alone = manyIn.count == 1
        for m in manyIn {
            let many = sides.many[m]
            for o in oneIn {
                let one = sides.one[o]
                let labels = resultLabels(many.labels, one.labels, binary)
                let place = output.place(labels, dropName: binary.returnBool)
                if many.histograms == nil, one.histograms == nil, alone || !oneToOne, oneIn.count == 1,
                    output.isNew, binary.op != .trimUpper, binary.op != .trimLower
                {
                    output.columns[place].values =
                        sides.swapped
                        ? combine(binary, one.values, many.values) : combine(binary, many.values, one.values)
                    continue
                }
                for i in 0..<grid.count where many.isPresent(i) && one.isPresent(i) {
                    let result =
                        sides.swapped
                        ? pair(
                            binary.op, one.values[i], one.histograms?[i], many.values[i], many.histograms?[i], expr)
                        : pair(
                            binary.op, many.values[i], many.histograms?[i], one.values[i], one.histograms?[i], expr)
                    try output.put(result, at: i, in: place, returnBool: binary.returnBool, oneToOne: oneToOne)
                }
            }
        }
    }

    /// Both sides in one pass, where neither errors nor histograms can occur.
    private func combine(_ binary: Expr.Binary, _ a: [Double], _ b: [Double]) -> [Double] {
        @inline(__always)
        func run(_ body: (Double, Double) -> Double) -> [Double] {
            a.withUnsafeBufferPointer { a in
                b.withUnsafeBufferPointer { b in
                    [Double](unsafeUninitializedCapacity: a.count) { out, count in
                        for i in a.indices { out[i] = a[i].isAbsent || b[i].isAbsent ? absent : body(a[i], b[i]) }
                        count = a.count
                    }
                }
            }
        }
        let op = binary.op
        switch op {
        case .add: return run { $0 + $1 }
        case .subtract: return run { $0 - $1 }
        case .multiply: return run { $0 * $1 }
        case .divide: return run { $0 / $1 }
        default:
            if op.isComparison, !binary.returnBool { return run { scalarArithmetic(op, $0, $1) == 1 ? $0 : absent } }
            return run { scalarArithmetic(op, $0, $1) }
        }
    }

    /// Gives samples without a partner the fill value as one.
    private func fill(
        _ binary: Expr.Binary, _ sides: Sides, _ manyIn: [Int], _ oneIn: [Int], _ expr: Expr, _ grid: Grid,
        _ output: inout MatchOutput
    ) throws {
        let matching = binary.matching
        let set = LabelNames(matching.on ? matching.labels : matching.labels + [Labels.metricNameLabel])
        let oneToOne = matching.cardinality == .oneToOne
        func put(_ many: (Double, NativeHistogram?), _ one: (Double, NativeHistogram?), _ i: Int, _ place: Int) throws {
            let result =
                sides.swapped
                ? pair(binary.op, one.0, one.1, many.0, many.1, expr)
                : pair(binary.op, many.0, many.1, one.0, one.1, expr)
            try output.put(result, at: i, in: place, returnBool: binary.returnBool, oneToOne: oneToOne)
        }
        func anyPresent(_ columns: [Column], _ members: [Int], _ i: Int) -> Bool {
            members.contains { columns[$0].isPresent(i) }
        }
        if let value = matching.fillRight {
            for m in manyIn {
                let many = sides.many[m]
                let partner = signature(many.labels, set, on: matching.on)
                let place = output.place(
                    resultLabels(many.labels, partner, binary), dropName: binary.returnBool)
                for i in 0..<grid.count where many.isPresent(i) && !anyPresent(sides.one, oneIn, i) {
                    try put((many.values[i], many.histograms?[i]), (value, nil), i, place)
                }
            }
        }
        if let value = matching.fillLeft {
            for o in oneIn {
                let one = sides.one[o]
                let partner = signature(one.labels, set, on: matching.on)
                let place = output.place(
                    resultLabels(partner, one.labels, binary), dropName: binary.returnBool)
                for i in 0..<grid.count where one.isPresent(i) && !anyPresent(sides.many, manyIn, i) {
                    try put((value, nil), (one.values[i], one.histograms?[i]), i, place)
                }
            }
        }
    }
}

/// Collects the results of matching, by their labels.
private struct MatchOutput {
    let count: Int
    var columns: [Column] = []
    private var places: [Labels: Int] = [:]
    /// Steps at which the current group has had a match, for one-to-one.
    private var groupMatched: [Bool] = []
    /// By column: the group that put a sample at a step.
    private var owner: [[Int32]?] = []
    private var group: Int32 = 0
    /// Whether the last `place` made a column.
    private(set) var isNew = false

    init(count: Int) { self.count = count }

    mutating func startGroup() {
        group += 1
        groupMatched = []
    }

    mutating func place(_ labels: Labels, dropName: Bool) -> Int {
        if let found = places[labels] {
            isNew = false
            return found
        }
        isNew = true
        places[labels] = columns.count
        columns.append(
            Column(labels: labels, dropName: dropName, values: [Double](repeating: absent, count: count)))
        owner.append(nil)
        return columns.count - 1
    }

    mutating func put(_ result: PairResult, at i: Int, in place: Int, returnBool: Bool, oneToOne: Bool) throws {
        let keep: Bool
        switch result {
        case .none: return
        case .float(_, let kept), .histogram(_, let kept): keep = kept
        }
        if oneToOne {
            if groupMatched.isEmpty { groupMatched = [Bool](repeating: false, count: count) }
            if groupMatched[i] {
                throw QueryError(
                    .execution,
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")
            }
            groupMatched[i] = true
        } else {
            var owners = owner[place] ?? columns[place].values.map { $0.isAbsent ? 0 : group }
            owner[place] = nil
            if owners[i] == group {
                throw QueryError(
                    .execution, "multiple matches for labels: grouping labels must ensure unique matches")
            }
            owners[i] = group
            owner[place] = owners
        }
        if !keep && !returnBool { return }
        if columns[place].isPresent(i) { throw duplicateLabels }
        if returnBool {
            columns[place].values[i] = keep ? 1 : 0
            return
        }
        switch result {
        case .none: break
        case .float(let value, _): columns[place].values[i] = value
        case .histogram(let histogram, _): columns[place].set(i, histogram)
        }
    }

    func checked() throws -> [Column] { columns }
}

extension Labels {
    /// As Prometheus' messages show a series: the name among the labels.
    var full: String {
        let shown = pairs.map { pair in
            "\(isLegacyLabelName(pair.name) ? pair.name : quoteGo(pair.name))=\(quoteGo(pair.value))"
        }
        return "{" + shown.joined(separator: ", ") + "}"
    }
}
