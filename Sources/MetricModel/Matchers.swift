import CRE2

/// How a matcher compares.
package enum MatchOperator: String, Sendable, Hashable {
    case equal = "="
    case notEqual = "!="
    case regex = "=~"
    case notRegex = "!~"
}

/// A label matcher. A label that is absent matches as the empty string. Regular expressions are RE2's, anchored at both
/// ends, with `.` matching newlines, as in Prometheus 3. Safe to share between threads.
package struct LabelMatcher: Sendable, Hashable, CustomStringConvertible {
    package let name: String
    package let op: MatchOperator
    package let value: String
    private let regex: Regex2?

    /// Throws where `value` is no regular expression and should be one.
    package init(_ name: String, _ op: MatchOperator, _ value: String) throws(RegexError) {
        self.name = name
        self.op = op
        self.value = value
        switch op {
        case .equal, .notEqual: regex = nil
        case .regex, .notRegex: regex = try Regex2(value)
        }
    }

    /// An equality matcher, which cannot fail.
    package init(_ name: String, equals value: String) {
        self.name = name
        op = .equal
        self.value = value
        regex = nil
    }

    package func matches(_ text: String) -> Bool {
        switch op {
        case .equal: text == value
        case .notEqual: text != value
        case .regex: regex?.matchesWhole(text) ?? false
        case .notRegex: !(regex?.matchesWhole(text) ?? false)
        }
    }

    package func matches(utf8 text: UnsafeRawBufferPointer) -> Bool {
        switch op {
        case .equal: text.elementsEqual(value.utf8)
        case .notEqual: !text.elementsEqual(value.utf8)
        case .regex: regex?.matchesWhole(utf8: text) ?? false
        case .notRegex: !(regex?.matchesWhole(utf8: text) ?? false)
        }
    }

    package var matchesEmpty: Bool { matches("") }

    package func matches(_ labels: Labels) -> Bool { matches(labels[name] ?? "") }

    package var description: String {
        "\(isLegacyLabelName(name) ? name : quoteGo(name))\(op.rawValue)\(quoteGo(value))"
    }

    package static func == (a: LabelMatcher, b: LabelMatcher) -> Bool {
        a.name == b.name && a.op == b.op && a.value == b.value
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(name)
        hasher.combine(op)
        hasher.combine(value)
    }
}

package struct RegexError: Error, Hashable, CustomStringConvertible {
    package let pattern: String
    package let reason: String
    package var description: String { "invalid regular expression \(quoteGo(pattern)): \(reason)" }
}

/// A compiled RE2 expression; linear time whatever the pattern. RE2 objects are immutable once made and documented as
/// safe for concurrent use, which is what the unchecked conformance rests on.
package final class Regex2: @unchecked Sendable {
    package let pattern: String
    private let handle: OpaquePointer

    /// Compiles `pattern`; `.` matches newlines unless `dotMatchesNewline` is false.
    package init(_ pattern: String, dotMatchesNewline: Bool = true) throws(RegexError) {
        self.pattern = pattern
        var reason = [CChar](repeating: 0, count: 256)
        var text = pattern
        let made = text.withUTF8 { utf8 in
            utf8.withMemoryRebound(to: CChar.self) {
                kops_re2_new($0.baseAddress, $0.count, dotMatchesNewline, &reason, reason.count)
            }
        }
        guard let made else {
            let bytes = reason.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            throw RegexError(pattern: pattern, reason: String(decoding: bytes, as: UTF8.self))
        }
        handle = made
    }

    deinit { kops_re2_delete(handle) }

    package var groupCount: Int { Int(kops_re2_groups(handle)) }

    /// Whether the whole text matches.
    package func matchesWhole(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { matchesWhole(utf8: UnsafeRawBufferPointer($0)) }
    }

    package func matchesWhole(utf8 text: UnsafeRawBufferPointer) -> Bool {
        text.withMemoryRebound(to: CChar.self) { kops_re2_full_match(handle, $0.baseAddress, $0.count) }
    }

    /// Byte ranges of all groups (0 is the whole match; nil where a group took no part) of the first match at or after
    /// `start`; with `whole` the match must span the text from `start` to its end.
    package func match(_ text: [UInt8], from start: Int = 0, whole: Bool = false) -> [Range<Int>?]? {
        let n = groupCount + 1
        var begin = [Int](repeating: -1, count: n)
        var end = begin
        let found = text.withUnsafeBytes { raw in
            raw.withMemoryRebound(to: CChar.self) {
                kops_re2_match(handle, $0.baseAddress, $0.count, start, whole ? 1 : 0, &begin, &end, Int32(n))
            }
        }
        guard found else { return nil }
        return (0..<n).map { begin[$0] < 0 ? nil : begin[$0]..<end[$0] }
    }

    /// The match with `$1`, `${1}`, `$name`, `${name}` and `$$` in `template` replaced by its groups, as Go's
    /// regexp.Expand does (unknown groups are empty; the longest run of word characters is the name).
    package func expand(_ template: String, match groups: [Range<Int>?], in text: [UInt8]) -> String {
        var out: [UInt8] = []
        let bytes = Array(template.utf8)
        var i = 0
        func isWord(_ c: UInt8) -> Bool {
            (c >= 48 && c <= 57) || (c >= 65 && c <= 90) || (c >= 97 && c <= 122) || c == 95
        }
        while i < bytes.count {
            guard bytes[i] == UInt8(ascii: "$"), i + 1 < bytes.count else {
                out.append(bytes[i])
                i += 1
                continue
            }
            if bytes[i + 1] == UInt8(ascii: "$") {
                out.append(UInt8(ascii: "$"))
                i += 2
                continue
            }
            let braced = bytes[i + 1] == UInt8(ascii: "{")
            let from = i + (braced ? 2 : 1)
            var to = from
            while to < bytes.count, isWord(bytes[to]) { to += 1 }
            if to == from || (braced && (to >= bytes.count || bytes[to] != UInt8(ascii: "}"))) {
                out.append(bytes[i])
                i += 1
                continue
            }
            let name = String(decoding: bytes[from..<to], as: UTF8.self)
            let index: Int
            if let number = Int(name) {
                index = number
            } else {
                index =
                    name.utf8.withContiguousStorageIfAvailable { utf8 in
                        utf8.withMemoryRebound(to: CChar.self) {
                            Int(kops_re2_group_index(handle, $0.baseAddress, $0.count))
                        }
                    } ?? -1
            }
            if index >= 0, index < groups.count, let range = groups[index] { out.append(contentsOf: text[range]) }
            i = braced ? to + 1 : to
        }
        return String(decoding: out, as: UTF8.self)
    }
}
