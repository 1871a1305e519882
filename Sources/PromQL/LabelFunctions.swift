import MetricModel

/// `label_replace`, `label_join` and the sorting functions.
extension Evaluator {
    private func isValidLabelName(_ name: String) -> Bool { !name.isEmpty && !hasRawBytes(name) }

    /// Sets a label; one that is a name set anew need not be dropped any more.
    private func relabel(_ column: inout Column, _ label: String, _ value: String) {
        var builder = LabelsBuilder(column.labels)
        builder.set(label, value)
        column.labels = builder.labels()
        if label == Labels.metricNameLabel { column.dropName = false }
    }

    func labelReplace(_ arguments: [Expr], _ grid: Grid) throws -> [Column] {
        let destination = try string(arguments[1])
        let replacement = try string(arguments[2])
        let sourceLabel = try string(arguments[3])
        let pattern = try string(arguments[4])
        guard let regex = try? Regex2(pattern) else {
            throw QueryError(.execution, "invalid regular expression in label_replace(): \(pattern)")
        }
        if !isValidLabelName(destination) {
            throw QueryError(.execution, "invalid destination label name in label_replace(): \(destination)")
        }
        var columns = try vector(arguments[0], grid)
        var results: [String: String?] = [:]
        for i in columns.indices {
            let value = columns[i].labels[sourceLabel] ?? ""
            let replaced: String?
            if let known = results[value] {
                replaced = known
            } else {
                let bytes = Array(value.utf8)
                replaced = regex.match(bytes, whole: true).map { regex.expand(replacement, match: $0, in: bytes) }
                results[value] = .some(replaced)
            }
            if let replaced { relabel(&columns[i], destination, replaced) }
        }
        return try joinSameLabels(columns)
    }

    func labelJoin(_ arguments: [Expr], _ grid: Grid) throws -> [Column] {
        let destination = try string(arguments[1])
        let separator = try string(arguments[2])
        let sources = try arguments.dropFirst(3).map { try string($0) }
        for label in sources where !isValidLabelName(label) {
            throw QueryError(.execution, "invalid source label name in label_join(): \(label)")
        }
        if !isValidLabelName(destination) {
            throw QueryError(.execution, "invalid destination label name in label_join(): \(destination)")
        }
        var columns = try vector(arguments[0], grid)
        for i in columns.indices {
            let labels = columns[i].labels
            relabel(&columns[i], destination, sources.map { labels[$0] ?? "" }.joined(separator: separator))
        }
        return try joinSameLabels(columns)
    }

    func sorted(_ name: String, _ arguments: [Expr], _ expr: Expr, _ grid: Grid) throws -> [Column] {
        var columns = try vector(arguments[0], grid)
        if queryStep > 0 {
            notes.warn("sort is ineffective for range queries since results are always ordered by labels", expr)
        }
        let byValue = name == "sort" || name == "sort_desc"
        if byValue { for i in columns.indices { columns[i].histograms = nil } }
        guard grid.count == 1 else { return columns }
        if byValue {
            columns.removeAll { $0.values[0].isAbsent }
            let descending = name == "sort_desc"
            columns.sort { a, b in
                let x = a.values[0]
                let y = b.values[0]
                // NaN goes last, whichever way.
                if x.isNaN || y.isNaN { return !x.isNaN && y.isNaN }
                return descending ? x > y : x < y
            }
        } else {
            let labels = try arguments.dropFirst().map { try string($0) }
            let descending = name == "sort_by_label_desc"
            columns.sort { a, b in
                for label in labels {
                    let x = a.labels[label] ?? ""
                    let y = b.labels[label] ?? ""
                    if x == y { continue }
                    return descending ? naturalLess(y, x) : naturalLess(x, y)
                }
                return descending ? b.labels < a.labels : a.labels < b.labels
            }
        }
        return columns
    }
}

/// Natural order: runs of digits compare as numbers, all else by bytes.
func naturalLess(_ a: String, _ b: String) -> Bool {
    let x = Array(a.utf8)
    let y = Array(b.utf8)
    func isDigit(_ c: UInt8) -> Bool { c >= 48 && c <= 57 }
    var i = 0
    var j = 0
    while i < x.count, j < y.count {
        let digits = isDigit(x[i])
        guard digits == isDigit(y[j]) else { return x[i] < y[j] }
        var iEnd = i
        while iEnd < x.count, isDigit(x[iEnd]) == digits { iEnd += 1 }
        var jEnd = j
        while jEnd < y.count, isDigit(y[jEnd]) == digits { jEnd += 1 }
        let left = x[i..<iEnd]
        let right = y[j..<jEnd]
        if digits {
            let p = left.drop { $0 == 48 }
            let q = right.drop { $0 == 48 }
            if p.count != q.count { return p.count < q.count }
            if !p.elementsEqual(q) { return p.lexicographicallyPrecedes(q) }
            if left.count != right.count { return left.count < right.count }
        } else if !left.elementsEqual(right) {
            return left.lexicographicallyPrecedes(right)
        }
        i = iEnd
        j = jEnd
    }
    return x.count - i < y.count - j
}
