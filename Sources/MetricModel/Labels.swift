/// A series' identity: label names with their values, sorted by name, names unique, values not empty.
///
/// All pairs lie in one byte buffer, so that a copy is one reference count, equality is one comparison of memory and no
/// `String` is made until somebody asks for one. Each name and each value is preceded by its length: one byte below
/// 255, else the byte 255 and three bytes, least significant first. Immutable, hence safe to share.
package struct Labels: Hashable, Sendable {
    /// The encoded pairs.
    package let bytes: [UInt8]

    package static let empty = Labels(bytes: [])

    /// Takes bytes that are already in the canonical form described above; nothing is checked.
    package init(bytes: [UInt8]) { self.bytes = bytes }

    /// The bytes where they are whole fields, an even number of them; nil for anything else. For bytes from files.
    package init?(stored bytes: UnsafeRawBufferPointer) {
        guard Labels.isWhole(bytes) else { return nil }
        self.bytes = Array(bytes)
    }

    package static func isWhole(_ raw: UnsafeRawBufferPointer) -> Bool {
        var at = 0
        var fields = 0
        while at < raw.count {
            var length = Int(raw[at])
            at += 1
            if length == 255 {
                guard raw.count - at >= 3 else { return false }
                length = Int(raw[at]) | Int(raw[at + 1]) << 8 | Int(raw[at + 2]) << 16
                at += 3
            }
            guard raw.count - at >= length else { return false }
            at += length
            fields += 1
        }
        return fields % 2 == 0
    }

    /// Sorts the pairs by name and drops pairs with an empty value. Of several pairs with one name the last one stays.
    package init(_ pairs: some Sequence<(String, String)>) {
        var builder = LabelsBuilder()
        for (name, value) in pairs { builder.set(name, value) }
        self = builder.labels()
    }

    package var isEmpty: Bool { bytes.isEmpty }

    package var count: Int {
        var n = 0
        forEachPair { _, _ in n += 1 }
        return n
    }

    package static func == (a: Labels, b: Labels) -> Bool { a.bytes == b.bytes }

    package func hash(into hasher: inout Hasher) {
        bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }

    /// Whether one of the names that begin with a byte below `end` is wanted.
    package func hasName(before end: UInt8, where isWanted: (UnsafeRawBufferPointer) -> Bool) -> Bool {
        bytes.withUnsafeBytes { raw in
            var at = 0
            while at < raw.count {
                let name = Labels.field(raw, &at)
                if let first = name.first, first >= end { return false }
                if isWanted(name) { return true }
                _ = Labels.field(raw, &at)
            }
            return false
        }
    }

    /// Calls `body` with the bytes of each name and value, in order. The slices are valid only during the call.
    @inline(__always)
    package func forEachPair(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws -> Void) rethrows {
        try bytes.withUnsafeBytes { raw in
            var at = 0
            while at < raw.count {
                let name = Labels.field(raw, &at)
                let value = Labels.field(raw, &at)
                try body(name, value)
            }
        }
    }

    @inline(__always)
    static func field(_ raw: UnsafeRawBufferPointer, _ at: inout Int) -> UnsafeRawBufferPointer {
        var length = Int(raw[at])
        at += 1
        if length == 255 {
            length = Int(raw[at]) | Int(raw[at + 1]) << 8 | Int(raw[at + 2]) << 16
            at += 3
        }
        let slice = UnsafeRawBufferPointer(rebasing: raw[at..<at + length])
        at += length
        return slice
    }

    /// The value of the label `name`, or nil where the series has none.
    package subscript(name: String) -> String? {
        var name = name
        return name.withUTF8 { wanted in
            var found: String?
            bytes.withUnsafeBytes { raw in
                var at = 0
                while at < raw.count {
                    let field = Labels.field(raw, &at)
                    let value = Labels.field(raw, &at)
                    if field.elementsEqual(wanted) {
                        found = String(decoding: value, as: UTF8.self)
                        return
                    }
                }
            }
            return found
        }
    }

    /// The metric name, `__name__`, or the empty string.
    package var metricName: String { self[Labels.metricNameLabel] ?? "" }

    package static let metricNameLabel = "__name__"

    /// All pairs as strings, in order of the names.
    package var pairs: [(name: String, value: String)] {
        var out: [(name: String, value: String)] = []
        forEachPair { out.append((String(decoding: $0, as: UTF8.self), String(decoding: $1, as: UTF8.self))) }
        return out
    }

    /// These labels without those for which `drop` says so.
    @inline(__always)
    package func removing(where drop: (UnsafeRawBufferPointer) -> Bool) -> Labels {
        removing(before: .max, where: drop)
    }

    /// The same where no name that is to go begins with the byte `end` or one above it: what lies behind is not looked at.
    package func removing(before end: UInt8, where drop: (UnsafeRawBufferPointer) -> Bool) -> Labels {
        bytes.withUnsafeBytes { raw in
            // Most often it is the name, which comes first: what stays is then one piece, or all there is.
            var start = 0
            var at = 0
            while at < raw.count {
                let begin = at
                let name = Labels.field(raw, &at)
                if let first = name.first, first >= end { break }
                let dropped = drop(name)
                _ = Labels.field(raw, &at)
                if !dropped { continue }
                if begin == start {
                    start = at
                } else {
                    return Labels(bytes: Labels.kept(raw, from: start, begin, drop))
                }
            }
            return start == 0 ? self : Labels(bytes: Array(raw[start...]))
        }
    }

    /// The pairs from `start` to `end`, and of those behind the ones that are not dropped.
    private static func kept(
        _ raw: UnsafeRawBufferPointer, from start: Int, _ end: Int, _ drop: (UnsafeRawBufferPointer) -> Bool
    ) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(raw.count - start)
        out.append(contentsOf: raw[start..<end])
        appendPairs(of: raw, from: end, to: &out) { !drop($0) }
        return out
    }

    /// Appends the canonical bytes of those pairs that `keep` wants.
    @inline(__always)
    package func appendPairs(to out: inout [UInt8], where keep: (UnsafeRawBufferPointer) -> Bool) {
        bytes.withUnsafeBytes { Labels.appendPairs(of: $0, from: 0, to: &out, where: keep) }
    }

    @inline(__always)
    private static func appendPairs(
        of raw: UnsafeRawBufferPointer, from first: Int, to out: inout [UInt8],
        where keep: (UnsafeRawBufferPointer) -> Bool
    ) {
        var at = first
        while at < raw.count {
            let begin = at
            let kept = keep(Labels.field(raw, &at))
            _ = Labels.field(raw, &at)
            if kept { out.append(contentsOf: raw[begin..<at]) }
        }
    }

    /// These labels without `__name__`.
    package var withoutMetricName: Labels {
        removing { $0.elementsEqual(Labels.metricNameLabel.utf8) }
    }

    static func append(_ field: UnsafeRawBufferPointer, to out: inout [UInt8]) {
        appendLength(field.count, to: &out)
        out.append(contentsOf: field)
    }

    static func appendLength(_ n: Int, to out: inout [UInt8]) {
        if n < 255 {
            out.append(UInt8(n))
        } else {
            out.append(255)
            out.append(UInt8(truncatingIfNeeded: n))
            out.append(UInt8(truncatingIfNeeded: n >> 8))
            out.append(UInt8(truncatingIfNeeded: n >> 16))
        }
    }
}

extension Labels: Comparable {
    /// Prometheus' order: pair by pair, name before value, bytewise; a prefix comes first.
    package static func < (a: Labels, b: Labels) -> Bool {
        a.bytes.withUnsafeBytes { x in b.bytes.withUnsafeBytes { y in labelsPrecede(x, y) } }
    }
}

/// Bytewise order of two buffers: below, at or above zero, as memcmp says; a prefix comes first.
package func compareBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    let n = min(a.count, b.count)
    var i = 0
    while i < n {
        if a[i] != b[i] { return a[i] < b[i] ? -1 : 1 }
        i += 1
    }
    return a.count - b.count
}

extension Labels: CustomStringConvertible {
    /// As Prometheus writes a series: `name{label="value", …}`, names that are no legacy names in quotes.
    package var description: String {
        var name: String?
        var rest: [String] = []
        for pair in pairs {
            if pair.name == Labels.metricNameLabel, isLegacyMetricName(pair.value) {
                name = pair.value
            } else if pair.name == Labels.metricNameLabel {
                rest.insert(quoteGo(pair.value), at: 0)
            } else {
                let shown = isLegacyLabelName(pair.name) ? pair.name : quoteGo(pair.name)
                rest.append("\(shown)=\(quoteGo(pair.value))")
            }
        }
        if rest.isEmpty, let name { return name }
        return (name ?? "") + "{" + rest.joined(separator: ", ") + "}"
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
package func isLegacyMetricName(_ text: String) -> Bool { isLegacyName(text, colon: true) }

/// `[a-zA-Z_][a-zA-Z0-9_]*`
package func isLegacyLabelName(_ text: String) -> Bool { isLegacyName(text, colon: false) }

private func isLegacyName(_ text: String, colon: Bool) -> Bool {
    var first = true
    for byte in text.utf8 {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"): break
        case UInt8(ascii: ":") where colon: break
        case UInt8(ascii: "0")...UInt8(ascii: "9") where !first: break
        default: return false
        }
        first = false
    }
    return !first
}

/// Collects label pairs and makes `Labels` of them. Not for use from several threads.
package struct LabelsBuilder {
    private var values: [(name: String, value: String)] = []

    package init() {}

    package init(_ labels: Labels) { values = labels.pairs }

    /// Sets the label; an empty value removes it.
    package mutating func set(_ name: String, _ value: String) {
        if let i = values.firstIndex(where: { $0.name == name }) {
            if value.isEmpty { values.remove(at: i) } else { values[i].value = value }
        } else if !value.isEmpty {
            values.append((name, value))
        }
    }

    package mutating func remove(_ name: String) { values.removeAll { $0.name == name } }

    package mutating func keep(where predicate: (String) -> Bool) { values.removeAll { !predicate($0.name) } }

    package subscript(name: String) -> String? { values.first { $0.name == name }?.value }

    package var names: [String] { values.map(\.name) }

    /// The canonical form. Values longer than 16 MiB cannot be encoded and are cut.
    package func labels() -> Labels {
        var out: [UInt8] = []
        for pair in values.sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
            for text in [pair.name, pair.value] {
                let bytes = Array(text.utf8.prefix(0xFF_FFFF))
                Labels.appendLength(bytes.count, to: &out)
                out.append(contentsOf: bytes)
            }
        }
        return Labels(bytes: out)
    }
}
