import MetricModel

/// The label index of the series in the head: pair of symbols → slots in ascending order. Used under the store's lock.
struct HeadIndex {
    private var postings: [UInt64: [UInt32]] = [:]
    private var values: [UInt32: [UInt32]] = [:]

    private static func key(_ name: UInt32, _ value: UInt32) -> UInt64 { UInt64(name) << 32 | UInt64(value) }

    mutating func add(_ slot: UInt32, _ labels: HeadLabels) {
        labels.forEachPair(Int(slot)) { name, value in
            let isNew = Self.insert(slot, into: &postings[Self.key(name, value), default: []])
            if isNew { values[name, default: []].append(value) }
        }
    }

    /// True where the list was empty.
    private static func insert(_ slot: UInt32, into list: inout [UInt32]) -> Bool {
        guard let last = list.last else {
            list.append(slot)
            return true
        }
        if last >= slot {
            let at = list.partitioningIndex { $0 >= slot }
            if at == list.count || list[at] != slot { list.insert(slot, at: at) }
            return false
        }
        // Doubling would leave a third of the index empty.
        if list.count == list.capacity, list.count > 8 { list.reserveCapacity(list.count + list.count / 4) }
        list.append(slot)
        return false
    }

    /// Takes slots out of the lists of their labels.
    mutating func remove(_ slots: [UInt32], _ labels: HeadLabels) {
        var touched: Set<UInt64> = []
        for slot in slots { labels.forEachPair(Int(slot)) { touched.insert(Self.key($0, $1)) } }
        let gone = Set(slots)
        var emptied: [UInt32: Set<UInt32>] = [:]
        for key in touched {
            guard var list = postings.removeValue(forKey: key) else { continue }
            list.removeAll { gone.contains($0) }
            if list.isEmpty {
                emptied[UInt32(key >> 32), default: []].insert(UInt32(truncatingIfNeeded: key))
            } else {
                postings[key] = list
            }
        }
        for (name, without) in emptied {
            values[name]?.removeAll { without.contains($0) }
            if values[name]?.isEmpty == true { values[name] = nil }
        }
    }

    func names(_ symbols: SymbolTable) -> [String] { values.keys.map { symbols.text($0) } }

    func values(_ name: String, _ symbols: SymbolTable) -> [String] {
        guard let number = symbols.find(name), let list = values[number] else { return [] }
        return list.map { symbols.text($0) }
    }

    func postingCounts(_ symbols: SymbolTable) -> [(name: String, values: [String: Int])] {
        values.map { name, list in
            let pairs = list.map { (symbols.text($0), postings[Self.key(name, $0)]?.count ?? 0) }
            return (symbols.text(name), Dictionary(pairs) { first, _ in first })
        }
    }

    /// Slots whose labels all matchers match; `all` gives every slot in use.
    func select(_ matchers: [LabelMatcher], _ symbols: SymbolTable, all: () -> [UInt32]) -> [UInt32] {
        resolvePostings(
            matchers, all: all,
            list: { name, value in
                guard let name = symbols.find(name), let value = symbols.find(value) else { return [] }
                return postings[Self.key(name, value)] ?? []
            },
            matching: { name, test in
                guard let name = symbols.find(name), let list = values[name] else { return [] }
                return union(
                    list.compactMap { test(symbols.text($0)) ? postings[Self.key(name, $0)] : nil })
            })
    }
}

extension RandomAccessCollection where Index == Int {
    /// The index of the first element for which the predicate holds, in a list where it holds for all after that.
    @inline(__always)
    func partitioningIndex(_ belongsAfter: (Element) -> Bool) -> Int {
        var low = startIndex
        var high = endIndex
        while low < high {
            let middle = (low + high) / 2
            if belongsAfter(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}

/// Series that all matchers match, from posting lists. A matcher that also matches the empty text holds for series without
/// the label, so it takes away those whose value it does not match; the others intersect.
func resolvePostings<ID: FixedWidthInteger>(
    _ matchers: [LabelMatcher], all: () throws -> [ID], list: (String, String) throws -> [ID],
    matching: (String, (String) -> Bool) throws -> [ID]
) rethrows -> [ID] {
    var result: [ID]?
    for matcher in matchers where !matcher.matches("") {
        let next: [ID]
        if matcher.op == .equal {
            next = try list(matcher.name, matcher.value)
        } else {
            next = try matching(matcher.name) { matcher.matches($0) }
        }
        result = result.map { intersection($0, next) } ?? next
        if result?.isEmpty == true { return [] }
    }
    var kept = try result ?? all()
    for matcher in matchers where matcher.matches("") {
        if kept.isEmpty { break }
        kept = difference(kept, try matching(matcher.name) { !matcher.matches($0) })
    }
    return kept
}

/// Of ascending lists, ascending.
func intersection<ID: FixedWidthInteger>(_ a: [ID], _ b: [ID]) -> [ID] {
    var out: [ID] = []
    var (i, j) = (0, 0)
    while i < a.count, j < b.count {
        if a[i] == b[j] {
            out.append(a[i])
            i += 1
            j += 1
        } else if a[i] < b[j] {
            i += 1
        } else {
            j += 1
        }
    }
    return out
}

/// What is in `a` and not in `b`; both ascending.
func difference<ID: FixedWidthInteger>(_ a: [ID], _ b: [ID]) -> [ID] {
    if b.isEmpty { return a }
    var out: [ID] = []
    var j = 0
    for element in a {
        while j < b.count, b[j] < element { j += 1 }
        if j == b.count || b[j] != element { out.append(element) }
    }
    return out
}

/// The union of ascending lists, ascending, each element once.
func union<ID: FixedWidthInteger>(_ lists: [[ID]]) -> [ID] {
    if lists.count == 1 { return lists[0] }
    var out = lists.flatMap { $0 }
    out.sort()
    var kept = 0
    for index in out.indices where index == 0 || out[index] != out[index - 1] {
        out[kept] = out[index]
        kept += 1
    }
    out.removeLast(out.count - kept)
    return out
}
