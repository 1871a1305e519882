package import MetricModel

/// A matcher that could not be read: what and why, in one line.
package struct MatcherError: Error, Hashable, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}

/// Matchers as text, in Alertmanager's two syntaxes: the classic one and the one for UTF-8 names
/// (prometheus.io/docs/alerting/latest/configuration/#label-matchers). As there, the UTF-8 syntax is tried first and the
/// classic one taken where only it can read the text.
package enum MatcherSyntax {
    /// One or several matchers, separated by commas, with or without braces around them.
    package static func parse(_ text: String) throws(MatcherError) -> [LabelMatcher] {
        do {
            return try parseUTF8(text)
        } catch {
            if let classic = try? parseClassic(text) { return classic }
            throw error
        }
    }

    /// Exactly one matcher.
    package static func parseOne(_ text: String) throws(MatcherError) -> LabelMatcher {
        let all = try parse(text)
        guard let first = all.first, all.count == 1 else {
            throw MatcherError("expected one matcher, not \(all.count): \(text)")
        }
        return first
    }

    // MARK: UTF-8 syntax

    private static let reserved: Set<UInt8> = Set("{}!=~,\\\"'`".utf8)

    private static func isSpace(_ c: UInt8) -> Bool { c == 32 || (c >= 9 && c <= 13) }

    static func parseUTF8(_ text: String) throws(MatcherError) -> [LabelMatcher] {
        var scan = Scanner(Array(text.utf8))
        scan.skipSpace()
        let braced = scan.take(UInt8(ascii: "{"))
        var out: [LabelMatcher] = []
        scan.skipSpace()
        while true {
            scan.skipSpace()
            if braced, scan.take(UInt8(ascii: "}")) { break }
            if scan.atEnd {
                if braced { throw MatcherError("expected a closing brace at the end of \(text)") }
                break
            }
            if scan.peek == UInt8(ascii: "{") || scan.peek == UInt8(ascii: "}") {
                throw MatcherError("unexpected open or close brace: \(text)")
            }
            let name = try scan.word("label name", in: text)
            if name.isEmpty { throw MatcherError("a label name is missing in \(text)") }
            scan.skipSpace()
            guard let op = scan.matchOperator() else {
                throw MatcherError("expected one of =, !=, =~ and !~ after \(name) in \(text)")
            }
            scan.skipSpace()
            let value = try scan.word("label value", in: text)
            out.append(try make(name, op, value))
            scan.skipSpace()
            if scan.take(UInt8(ascii: ",")) { continue }
            if braced {
                guard scan.take(UInt8(ascii: "}")) else {
                    throw MatcherError("expected a comma or a closing brace after \(name) in \(text)")
                }
                break
            }
            guard scan.atEnd else { throw MatcherError("expected a comma or the end after \(name) in \(text)") }
            break
        }
        scan.skipSpace()
        guard scan.atEnd else { throw MatcherError("there is more after the closing brace in \(text)") }
        return out
    }

    private struct Scanner {
        let bytes: [UInt8]
        var at = 0

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        var atEnd: Bool { at >= bytes.count }
        var peek: UInt8? { at < bytes.count ? bytes[at] : nil }

        mutating func skipSpace() { while let c = peek, isSpace(c) { at += 1 } }

        mutating func take(_ byte: UInt8) -> Bool {
            guard peek == byte else { return false }
            at += 1
            return true
        }

        mutating func matchOperator() -> MatchOperator? {
            switch (peek, at + 1 < bytes.count ? bytes[at + 1] : 0) {
            case (UInt8(ascii: "="), UInt8(ascii: "~")):
                at += 2
                return .regex
            case (UInt8(ascii: "="), _):
                at += 1
                return .equal
            case (UInt8(ascii: "!"), UInt8(ascii: "=")):
                at += 2
                return .notEqual
            case (UInt8(ascii: "!"), UInt8(ascii: "~")):
                at += 2
                return .notRegex
            default: return nil
            }
        }

        mutating func word(_ what: String, in text: String) throws(MatcherError) -> String {
            if peek == UInt8(ascii: "\"") { return try quoted(in: text) }
            let start = at
            while let c = peek, !isSpace(c), !reserved.contains(c) { at += 1 }
            if at == start {
                let found = peek.map { "\(Character(UnicodeScalar($0)))" } ?? "the end"
                throw MatcherError("expected a \(what), not \(found), in \(text)")
            }
            return String(decoding: bytes[start..<at], as: UTF8.self)
        }

        private mutating func quoted(in text: String) throws(MatcherError) -> String {
            at += 1
            var out: [UInt8] = []
            while let c = peek {
                at += 1
                if c == UInt8(ascii: "\"") { return String(decoding: out, as: UTF8.self) }
                guard c == UInt8(ascii: "\\") else {
                    out.append(c)
                    continue
                }
                guard let escaped = peek else { break }
                at += 1
                let simple: [UInt8: UInt8] = [
                    UInt8(ascii: "a"): 7, UInt8(ascii: "b"): 8, UInt8(ascii: "f"): 12, UInt8(ascii: "n"): 10,
                    UInt8(ascii: "r"): 13, UInt8(ascii: "t"): 9, UInt8(ascii: "v"): 11, UInt8(ascii: "\\"): 92,
                    UInt8(ascii: "\""): 34,
                ]
                if let byte = simple[escaped] {
                    out.append(byte)
                } else if let digits = [UInt8(ascii: "x"): 2, UInt8(ascii: "u"): 4, UInt8(ascii: "U"): 8][escaped],
                    at + digits <= bytes.count,
                    let code = UInt32(String(decoding: bytes[at..<at + digits], as: UTF8.self), radix: 16)
                {
                    at += digits
                    if digits == 2 {
                        out.append(UInt8(code))
                    } else if let scalar = UnicodeScalar(code) {
                        out.append(contentsOf: String(Character(scalar)).utf8)
                    } else {
                        throw MatcherError("invalid escape in a quoted text in \(text)")
                    }
                } else {
                    throw MatcherError("invalid escape \\\(Character(UnicodeScalar(escaped))) in \(text)")
                }
            }
            throw MatcherError("a quoted text has no end in \(text)")
        }
    }

    // MARK: classic syntax

    /// `name OP value`, the value bare or in double quotes; several separated by commas outside quotes.
    static func parseClassic(_ text: String) throws(MatcherError) -> [LabelMatcher] {
        var body = trim(Array(text.utf8)[...])
        if body.first == UInt8(ascii: "{") { body = body.dropFirst() }
        if body.last == UInt8(ascii: "}") { body = body.dropLast() }
        var out: [LabelMatcher] = []
        var quoted = false
        var escaped = false
        var start = body.startIndex
        for i in body.indices {
            let c = body[i]
            if escaped {
                escaped = false
            } else if c == UInt8(ascii: "\\") {
                escaped = true
            } else if c == UInt8(ascii: "\"") {
                quoted.toggle()
            } else if c == UInt8(ascii: ","), !quoted {
                out.append(try classicMatcher(body[start..<i]))
                start = i + 1
            }
        }
        let rest = trim(body[start...])
        if !rest.isEmpty { out.append(try classicMatcher(rest)) }
        return out
    }

    private static func trim(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        var bytes = bytes
        while let c = bytes.first, isSpace(c) { bytes = bytes.dropFirst() }
        while let c = bytes.last, isSpace(c) { bytes = bytes.dropLast() }
        return bytes
    }

    private static func classicMatcher(_ piece: ArraySlice<UInt8>) throws(MatcherError) -> LabelMatcher {
        let piece = trim(piece)
        let shown = String(decoding: piece, as: UTF8.self)
        var scan = Scanner(Array(piece))
        while let c = scan.peek,
            c == UInt8(ascii: "_") || c == UInt8(ascii: ":") || (c >= 97 && c <= 122) || (c >= 65 && c <= 90)
                || (c >= 48 && c <= 57 && scan.at > 0)
        {
            scan.at += 1
        }
        let name = String(decoding: scan.bytes[..<scan.at], as: UTF8.self)
        scan.skipSpace()
        guard !name.isEmpty, let op = scan.matchOperator() else { throw MatcherError("bad matcher format: \(shown)") }
        scan.skipSpace()
        var value = trim(scan.bytes[scan.at...])
        var wasQuoted = false
        if value.first == UInt8(ascii: "\"") {
            value = value.dropFirst()
            guard value.last == UInt8(ascii: "\"") else {
                throw MatcherError("matcher value contains unescaped double quote: \(shown)")
            }
            value = value.dropLast()
            wasQuoted = true
        }
        var out: [UInt8] = []
        var escaped = false
        for c in value {
            if escaped {
                escaped = false
                switch c {
                case UInt8(ascii: "n"): out.append(10)
                case UInt8(ascii: "\""), UInt8(ascii: "\\"): out.append(c)
                default: out += [UInt8(ascii: "\\"), c]
                }
            } else if c == UInt8(ascii: "\\") {
                escaped = true
            } else if c == UInt8(ascii: "\"") {
                throw MatcherError("matcher value contains unescaped double quote: \(shown)")
            } else {
                out.append(c)
            }
        }
        if escaped {
            if wasQuoted { throw MatcherError("matcher value contains unescaped double quote: \(shown)") }
            out.append(UInt8(ascii: "\\"))
        }
        return try make(name, op, String(decoding: out, as: UTF8.self))
    }

    private static func make(_ name: String, _ op: MatchOperator, _ value: String) throws(MatcherError) -> LabelMatcher
    {
        do {
            return try LabelMatcher(name, op, value)
        } catch {
            throw MatcherError("\(error)")
        }
    }
}

extension LabelMatcher {
    /// As Alertmanager writes it in group keys: names bare unless they hold reserved characters.
    package var alertmanagerText: String {
        let bare = name.utf8.allSatisfy { !Set("{}!=~,\\\"'`".utf8).contains($0) && $0 > 32 }
        var escaped = ""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return "\(bare ? name : quoteGo(name))\(op.rawValue)\"\(escaped)\""
    }
}

/// `{a="x",b!="y"}`
package func matchersText(_ matchers: [LabelMatcher]) -> String {
    "{" + matchers.map(\.alertmanagerText).joined(separator: ",") + "}"
}

/// In Alertmanager's order: by name, value, then kind of comparison.
package func sortedMatchers(_ matchers: [LabelMatcher]) -> [LabelMatcher] {
    func rank(_ op: MatchOperator) -> Int {
        switch op {
        case .equal: 0
        case .notEqual: 1
        case .regex: 2
        case .notRegex: 3
        }
    }
    return matchers.sorted { a, b in
        if a.name != b.name { return bytewisePrecedes(a.name, b.name) }
        if a.value != b.value { return bytewisePrecedes(a.value, b.value) }
        return rank(a.op) < rank(b.op)
    }
}
