import MetricModel

/// `info`: adds the data labels of info series that have the same instance and job.
extension Evaluator {
    private static let identifying = ["instance", "job"]

    /// An info series with the times of its samples, in seconds, for each step.
    private struct InfoSeries {
        var labels: Labels
        var name: String
        var times: [Double]
    }

    func info(_ arguments: [Expr], _ grid: Grid) throws -> [Column] {
        let base = try vector(arguments[0], grid)
        var dataMatchers: [LabelMatcher] = []
        var nameMatchers: [LabelMatcher] = []
        if arguments.count > 1, case .vector(let selector) = arguments[1].kind {
            for matcher in selector.matchers {
                if matcher.name == Labels.metricNameLabel {
                    nameMatchers.append(matcher)
                } else {
                    dataMatchers.append(matcher)
                }
            }
        }
        let names = try effectiveNames(nameMatchers)
        func isInfo(_ column: Column) -> Bool { names.allSatisfy { $0.matches(column.labels.metricName) } }
        let time = try referenceTime(arguments[0])
        let series = try infoSeries(base.filter { !isInfo($0) }, dataMatchers + names, time, grid)
        // By name and identifying labels.
        var byKey: [Labels: [Int]] = [:]
        for (i, one) in series.enumerated() { byKey[key(one.labels, one.name), default: []].append(i) }
        try checkConflicts(series, byKey, grid)
        let infoNames = Set(series.map(\.name)).sorted()
        let mayStayBare = dataMatchers.allSatisfy(\.matchesEmpty)
        var out: [Column] = []
        for column in base {
            if isInfo(column) {
                out.append(column)
                continue
            }
            let candidates = infoNames.compactMap { byKey[key(column.labels, $0)] }
            out += try enriched(column, candidates, series, Set(dataMatchers.map(\.name)), mayStayBare, grid)
        }
        return try joinSameLabels(out)
    }

    private func effectiveNames(_ matchers: [LabelMatcher]) throws -> [LabelMatcher] {
        if matchers.contains(where: { $0.op == .equal || $0.op == .regex }) { return matchers }
        if matchers.isEmpty { return [LabelMatcher(Labels.metricNameLabel, equals: "target_info")] }
        return [try LabelMatcher(Labels.metricNameLabel, .regex, ".+_info")] + matchers
    }

    /// The `@` and offset of the first selector of an expression, with those of subqueries around it.
    private func referenceTime(_ expr: Expr) throws -> TimeShift {
        func find(_ expr: Expr) throws -> (at: TimeShift.At, offset: Int64)? {
            switch expr.kind {
            case .vector(let selector), .matrix(let selector, _):
                return (selector.time.at, try milliseconds(selector.time.offset, mayBeNegative: true))
            case .subquery(let subquery):
                guard var found = try find(subquery.expr) else { return nil }
                if found.at == .none {
                    found.at = subquery.time.at
                    found.offset += try milliseconds(subquery.time.offset, mayBeNegative: true)
                }
                return found
            default:
                for child in expr.children {
                    if let found = try find(child) { return found }
                }
                return nil
            }
        }
        var out = TimeShift()
        if let found = try find(expr) {
            out.at = found.at
            out.offset = .literal(found.offset)
        }
        return out
    }

    private func infoSeries(
        _ base: [Column], _ matchers: [LabelMatcher], _ time: TimeShift, _ grid: Grid
    ) throws -> [InfoSeries] {
        var matchers = matchers
        var any = false
        for label in Self.identifying {
            let values = Set(base.compactMap { $0.labels[label] })
            if values.isEmpty { continue }
            any = true
            let pattern = values.sorted().map(quoteRegex).joined(separator: "|")
            matchers.append(try LabelMatcher(label, .regex, pattern))
        }
        guard any else { return [] }
        var selector = VectorSelector(name: "", matchers: matchers)
        selector.time = time
        if try instantVector(selector, grid).contains(where: { $0.histograms != nil }) {
            throw QueryError(.execution, "info sample should be float")
        }
        let (fixed, offset) = try resolve(time)
        let windows = Windows(grid: grid, range: lookback, offset: offset, fixed: fixed, open: 1)
        return try select(matchers, from: windows.first, through: windows.last).map { data in
            var times = [Double](repeating: absent, count: grid.count)
            for i in 0..<grid.count {
                guard let last = data.timestamps.lastIndex(where: { $0 <= windows.end(i) }),
                    data.timestamps[last] > windows.end(i) - lookback, !data.values[last].isStaleMarker
                else { continue }
                times[i] = Double(data.timestamps[last])
            }
            return InfoSeries(labels: data.labels, name: data.labels.metricName, times: times)
        }
    }

    private func key(_ labels: Labels, _ name: String) -> Labels {
        var builder = LabelsBuilder(labels.keeping(LabelNames(Self.identifying)))
        builder.set(Labels.metricNameLabel, name)
        return builder.labels()
    }

    private func checkConflicts(_ series: [InfoSeries], _ byKey: [Labels: [Int]], _ grid: Grid) throws {
        for members in byKey.values where members.count > 1 {
            for i in 0..<grid.count {
                guard let newest = newest(members, series, i) else { continue }
                for other in members where other != newest && series[other].times[i] == series[newest].times[i] {
                    let time = Int64(series[newest].times[i])
                    throw QueryError(
                        .execution,
                        "found duplicate series for info metric: existing \(series[min(newest, other)].labels.full) @ \(time), new \(series[max(newest, other)].labels.full) @ \(time)"
                    )
                }
            }
        }
    }

    private func newest(_ members: [Int], _ series: [InfoSeries], _ i: Int) -> Int? {
        var best: Int?
        for member in members where !series[member].times[i].isAbsent {
            if let current = best, series[current].times[i] >= series[member].times[i] { continue }
            best = member
        }
        return best
    }

    /// One series with the labels of the info series of each step: as many columns as there are different ones.
    private func enriched(
        _ column: Column, _ candidates: [[Int]], _ series: [InfoSeries], _ wanted: Set<String>, _ mayStayBare: Bool,
        _ grid: Grid
    ) throws -> [Column] {
        var places: [Labels: Int] = [:]
        var out: [Column] = []
        var known: [[Int]: Labels] = [:]
        for i in 0..<grid.count where column.isPresent(i) {
            let matches = candidates.compactMap { newest($0, series, i) }
            if matches.isEmpty, !mayStayBare { continue }
            let labels: Labels
            if let found = known[matches] {
                labels = found
            } else {
                labels = try merged(column.labels, matches.map { series[$0].labels }, wanted)
                known[matches] = labels
            }
            let place: Int
            if let found = places[labels] {
                place = found
            } else {
                place = out.count
                places[labels] = place
                out.append(
                    Column(
                        labels: labels, dropName: column.dropName,
                        values: [Double](repeating: absent, count: grid.count)))
            }
            if let histogram = column.histograms?[i] {
                out[place].set(i, histogram)
            } else {
                out[place].values[i] = column.values[i]
            }
        }
        return out
    }

    private func merged(_ base: Labels, _ infos: [Labels], _ wanted: Set<String>) throws -> Labels {
        var added: [String: String] = [:]
        for info in infos {
            for pair in info.pairs where pair.name != Labels.metricNameLabel {
                if !wanted.isEmpty, !wanted.contains(pair.name) { continue }
                if let other = added[pair.name], other != pair.value {
                    throw QueryError(.execution, "conflicting label: \(pair.name)")
                }
                if base[pair.name] == nil { added[pair.name] = pair.value }
            }
        }
        var builder = LabelsBuilder(base)
        for (name, value) in added { builder.set(name, value) }
        return builder.labels()
    }
}

private func quoteRegex(_ text: String) -> String {
    var out = ""
    for character in text {
        if "\\.+*?()|[]{}^$".contains(character) { out += "\\" }
        out.append(character)
    }
    return out
}
