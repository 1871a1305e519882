import MetricModel

/// The label index of the series in the head: pair → slots in ascending order. Used under the store's lock.
struct HeadIndex {
    private var postings: [String: [String: [UInt32]]] = [:]
    private(set) var all: [UInt32] = []

    mutating func add(_ labels: Labels, slot: UInt32) {
        Self.insert(slot, into: &all)
        for (name, value) in labels.pairs { Self.insert(slot, into: &postings[name, default: [:]][value, default: []]) }
    }

    private static func insert(_ slot: UInt32, into list: inout [UInt32]) {
        if let last = list.last, last >= slot {
            let at = list.partitioningIndex { $0 >= slot }
            if at < list.count, list[at] == slot { return }
            list.insert(slot, at: at)
        } else {
            list.append(slot)
        }
    }

    mutating func removeAll() {
        postings.removeAll()
        all.removeAll()
    }

    var names: [String] { Array(postings.keys) }

    func values(_ name: String) -> [String] { postings[name].map { Array($0.keys) } ?? [] }

    func postingCounts() -> [(name: String, values: [String: Int])] {
        postings.map { ($0.key, $0.value.mapValues(\.count)) }
    }

    /// Slots whose labels all matchers match.
    func select(_ matchers: [LabelMatcher]) -> [UInt32] {
        resolvePostings(
            matchers, all: { all }, list: { postings[$0]?[$1] ?? [] },
            matching: { name, test in
                guard let values = postings[name] else { return [] }
                return union(values.filter { test($0.key) }.map(\.value))
            })
    }
}

extension Array {
    /// The index of the first element for which the predicate holds, in an array where it holds for all after that.
    func partitioningIndex(_ belongsAfter: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
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
