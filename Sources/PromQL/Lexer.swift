import MetricModel

/// Cuts a query into tokens, one at a time, with Prometheus' rules and messages. One pass, linear time.
struct Lexer {
    private let input: [UInt8]
    private var at = 0
    private var parenDepth = 0
    private var inBraces = false
    private var inBrackets = false
    private var sawDuration = false
    private var sawColon = false

    init(_ text: [UInt8]) { input = text }

    var length: Int { input.count }

    /// The next token, comments and white space left out. After `.end` or `.error` the same kind comes again.
    mutating func next() -> Token {
        while at < input.count {
            let c = input[at]
            if isSpace(c) {
                at += 1
            } else if c == UInt8(ascii: "#"), !inBrackets {
                while at < input.count, input[at] != 10 { at += 1 }
            } else {
                break
            }
        }
        if inBrackets { return nextInBrackets() }
        return inBraces ? nextInBraces() : nextStatement()
    }

    private func peek(_ ahead: Int = 0) -> UInt8 { at + ahead < input.count ? input[at + ahead] : 0 }

    private mutating func token(_ kind: TokenKind, from start: Int) -> Token {
        Token(kind: kind, range: start..<at, text: String(decoding: input[start..<at], as: UTF8.self))
    }

    private mutating func take(_ kind: TokenKind, _ count: Int = 1) -> Token {
        let start = at
        at = min(at + count, input.count)
        return token(kind, from: start)
    }

    private mutating func fail(_ message: String, from start: Int, to end: Int? = nil) -> Token {
        let end = end ?? max(start, min(at, input.count))
        at = input.count
        return Token(kind: .error, range: start..<max(start, end), text: message)
    }

    /// The character at `at` as Go's %q shows it.
    private func shownCharacter(_ position: Int) -> String {
        guard position < input.count else { return "'\u{fffd}'" }
        let rest = String(decoding: input[position..<min(position + 4, input.count)], as: UTF8.self)
        guard let scalar = rest.unicodeScalars.first else { return "''" }
        if scalar == "'" { return "'\\''" }
        if scalar == "\"" { return "'\"'" }
        return "'" + quoteGo(String(scalar)).dropFirst().dropLast() + "'"
    }

    private mutating func nextStatement() -> Token {
        let start = at
        guard at < input.count else {
            if parenDepth != 0 { return fail("unclosed left parenthesis", from: start, to: start) }
            return Token(kind: .end, range: start..<start, text: "")
        }
        let c = input[at]
        let d = peek(1)
        switch c {
        case UInt8(ascii: ","): return take(.comma)
        case UInt8(ascii: "*"): return take(.op(.multiply))
        case UInt8(ascii: "/"): return take(.op(.divide))
        case UInt8(ascii: "%"): return take(.op(.modulo))
        case UInt8(ascii: "+"): return take(.op(.add))
        case UInt8(ascii: "-"): return take(.op(.subtract))
        case UInt8(ascii: "^"): return take(.op(.power))
        case UInt8(ascii: "@"): return take(.at)
        case UInt8(ascii: "="):
            if d == UInt8(ascii: "=") { return take(.op(.equal), 2) }
            if d == UInt8(ascii: "~") {
                return fail("unexpected character after '=': '~'", from: start, to: start + 1)
            }
            return take(.equal)
        case UInt8(ascii: "!"):
            if d == UInt8(ascii: "=") { return take(.op(.notEqual), 2) }
            return fail("unexpected character after '!': \(shownCharacter(at + 1))", from: start, to: start + 1)
        case UInt8(ascii: "<"):
            if d == UInt8(ascii: "=") { return take(.op(.lessOrEqual), 2) }
            if d == UInt8(ascii: "/") { return take(.op(.trimUpper), 2) }
            return take(.op(.less))
        case UInt8(ascii: ">"):
            if d == UInt8(ascii: "=") { return take(.op(.greaterOrEqual), 2) }
            if d == UInt8(ascii: "/") { return take(.op(.trimLower), 2) }
            return take(.op(.greater))
        case UInt8(ascii: "("):
            parenDepth += 1
            return take(.leftParen)
        case UInt8(ascii: ")"):
            parenDepth -= 1
            // The place is where the lexer stands after it.
            if parenDepth < 0 { return fail("unexpected right parenthesis ')'", from: start + 1, to: start + 1) }
            return take(.rightParen)
        case UInt8(ascii: "{"):
            inBraces = true
            return take(.leftBrace)
        case UInt8(ascii: "["):
            inBrackets = true
            sawDuration = false
            sawColon = false
            return take(.leftBracket)
        case UInt8(ascii: "]"): return fail("unexpected right bracket ']'", from: start, to: start + 1)
        case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "`"): return string()
        case UInt8(ascii: ":"): break
        default:
            if isDigit(c) || (c == UInt8(ascii: ".") && isDigit(d)) { return numberOrDuration() }
        }
        if isNameStart(c) || c == UInt8(ascii: ":") { return word() }
        return fail("unexpected character: \(shownCharacter(at))", from: start, to: start + 1)
    }

    private mutating func nextInBraces() -> Token {
        let start = at
        guard at < input.count else { return fail("unexpected end of input inside braces", from: start, to: start) }
        let c = input[at]
        let d = peek(1)
        switch c {
        case UInt8(ascii: ","): return take(.comma)
        case UInt8(ascii: "}"):
            inBraces = false
            return take(.rightBrace)
        case UInt8(ascii: "="): return d == UInt8(ascii: "~") ? take(.regexEqual, 2) : take(.equal)
        case UInt8(ascii: "!"):
            if d == UInt8(ascii: "~") { return take(.regexNotEqual, 2) }
            if d == UInt8(ascii: "=") { return take(.op(.notEqual), 2) }
            return fail(
                "unexpected character after '!' inside braces: \(shownCharacter(at + 1))", from: start, to: start + 1)
        case UInt8(ascii: "{"): return fail("unexpected left brace '{'", from: start, to: start + 1)
        case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "`"): return string()
        default:
            if isNameStart(c) {
                while isNameStart(peek()) || isDigit(peek()) { at += 1 }
                return token(.identifier, from: start)
            }
            return fail("unexpected character inside braces: \(shownCharacter(at))", from: start, to: start + 1)
        }
    }

    private mutating func nextInBrackets() -> Token {
        let start = at
        guard at < input.count else {
            return fail("unexpected end of input in duration expression", from: start, to: start)
        }
        let c = input[at]
        switch c {
        case UInt8(ascii: "]"):
            inBrackets = false
            return take(.rightBracket)
        case UInt8(ascii: ":"):
            if !sawDuration {
                return fail("unexpected colon before duration in duration expression", from: start + 1, to: start + 1)
            }
            if sawColon {
                return fail("unexpected repeated colon in duration expression", from: start + 1, to: start + 1)
            }
            sawColon = true
            return take(.colon)
        case UInt8(ascii: "("):
            parenDepth += 1
            return take(.leftParen)
        case UInt8(ascii: ")"):
            parenDepth -= 1
            // The place is where the lexer stands after it.
            if parenDepth < 0 { return fail("unexpected right parenthesis ')'", from: start + 1, to: start + 1) }
            return take(.rightParen)
        case UInt8(ascii: "+"): return take(.op(.add))
        case UInt8(ascii: "-"): return take(.op(.subtract))
        case UInt8(ascii: "*"): return take(.op(.multiply))
        case UInt8(ascii: "/"): return take(.op(.divide))
        case UInt8(ascii: "%"): return take(.op(.modulo))
        case UInt8(ascii: "^"): return take(.op(.power))
        case UInt8(ascii: ","): return take(.comma)
        default:
            if isDigit(c) || (c == UInt8(ascii: ".") && isDigit(peek(1))) {
                sawDuration = true
                return numberOrDuration()
            }
            if isNameStart(c) {
                while isNameStart(peek()) || isDigit(peek()) { at += 1 }
                let found = token(.identifier, from: start)
                switch found.text.lowercased() {
                case "step", "range", "min_of", "max_of":
                    sawDuration = true
                    var found = found
                    if let keyword = Keyword(rawValue: found.text.lowercased()) { found.kind = .keyword(keyword) }
                    return found
                default: at = start
                }
            }
            return fail(
                "unexpected character in duration expression: \(shownCharacter(at))", from: start, to: start + 1)
        }
    }

    private mutating func word() -> Token {
        let start = at
        var colon = false
        while at < input.count, isNameStart(input[at]) || isDigit(input[at]) || input[at] == UInt8(ascii: ":") {
            if input[at] == UInt8(ascii: ":") { colon = true }
            at += 1
        }
        var found = token(colon ? .metricIdentifier : .identifier, from: start)
        if colon || found.text.utf8.count > 12 { return found }
        let lower = found.text.lowercased()
        switch lower {
        case "inf", "nan": found.kind = .number
        case "and": found.kind = .op(.and)
        case "or": found.kind = .op(.or)
        case "unless": found.kind = .op(.unless)
        case "atan2": found.kind = .op(.atan2)
        default:
            if let aggregator = Aggregator(rawValue: lower) {
                found.kind = .aggregator(aggregator)
            } else if let keyword = Keyword(rawValue: lower) {
                found.kind = .keyword(keyword)
            }
        }
        return found
    }

    private mutating func string() -> Token {
        let start = at
        let quote = input[at]
        at += 1
        if quote == UInt8(ascii: "`") {
            while at < input.count, input[at] != quote { at += 1 }
            guard at < input.count else { return fail("unterminated raw string", from: start) }
            at += 1
            return token(.string, from: start)
        }
        while true {
            guard at < input.count, input[at] != 10 else { return fail("unterminated quoted string", from: start) }
            let c = input[at]
            at += 1
            if c == quote { return token(.string, from: start) }
            if c == UInt8(ascii: "\\") {
                if let message = skipEscape(quote) { return fail(message, from: start) }
            }
        }
    }

    /// Steps over what follows a backslash; a message where that is no escape.
    private mutating func skipEscape(_ quote: UInt8) -> String? {
        guard at < input.count else { return "escape sequence not terminated" }
        let c = input[at]
        var digits = 0
        var radix = 16
        var limit: UInt32 = 255
        switch c {
        case UInt8(ascii: "a"), UInt8(ascii: "b"), UInt8(ascii: "f"), UInt8(ascii: "n"), UInt8(ascii: "r"),
            UInt8(ascii: "t"), UInt8(ascii: "v"), UInt8(ascii: "\\"), quote:
            at += 1
            return nil
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
            digits = 3
            radix = 8
        case UInt8(ascii: "x"):
            at += 1
            digits = 2
        case UInt8(ascii: "u"):
            at += 1
            digits = 4
            limit = 0x10ffff
        case UInt8(ascii: "U"):
            at += 1
            digits = 8
            limit = 0x10ffff
        default: return "unknown escape sequence \(unicodeName(c))"
        }
        var value: UInt32 = 0
        for _ in 0..<digits {
            guard at < input.count else { return "escape sequence not terminated" }
            guard let digit = Character(Unicode.Scalar(input[at])).hexDigitValue, digit < radix else {
                return "illegal character \(unicodeName(input[at])) in escape sequence"
            }
            value = value &* UInt32(radix) &+ UInt32(digit)
            at += 1
        }
        if value > limit || (value >= 0xd800 && value < 0xe000) {
            return "escape sequence is an invalid Unicode code point"
        }
        return nil
    }

    private func unicodeName(_ byte: UInt8) -> String {
        let hex = String(byte, radix: 16, uppercase: true)
        return "U+" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
            + (byte >= 0x20 && byte < 0x7f ? " '\(Character(Unicode.Scalar(byte)))'" : "")
    }

    private mutating func numberOrDuration() -> Token {
        let start = at
        if scanNumber() { return token(.number, from: start) }
        // Not a number: perhaps digits and units.
        if scanDuration() { return token(.duration, from: start) }
        let text = String(decoding: input[start..<min(at, input.count)], as: UTF8.self)
        return fail("bad number or duration syntax: \(quoteGo(text))", from: start)
    }

    private mutating func accept(_ set: StaticString) -> Bool {
        guard at < input.count, isIn(input[at], set) else { return false }
        at += 1
        return true
    }

    private func isIn(_ c: UInt8, _ set: StaticString) -> Bool {
        set.withUTF8Buffer { $0.contains(c) }
    }

    /// Steps over a number; false where it is malformed or a letter follows. Then `at` is where that was noticed.
    private mutating func scanNumber() -> Bool {
        let start = at
        var hex = false
        if accept("0"), accept("xX") {
            _ = accept("_")
            hex = true
        }
        func isDigitHere(_ c: UInt8) -> Bool { isDigit(c) || (hex && c | 0x20 >= 97 && c | 0x20 <= 102) }
        _ = accept(".")
        if at < input.count, isDigitHere(input[at]) { at += 1 }
        var sawPoint = false
        var sawExponent = false
        while at < input.count {
            let c = input[at]
            if isDigitHere(c) {
                at += 1
            } else if c == UInt8(ascii: ".") {
                at += 1
                if sawPoint || accept("_.") || hex { return false }
                sawPoint = true
            } else if c | 0x20 == UInt8(ascii: "e") {
                at += 1
                if sawExponent { return false }
                sawExponent = true
                _ = accept("+-")
                if accept("._eE") || at == input.count { return false }
            } else if c == UInt8(ascii: "_") {
                at += 1
                if accept("._eE") || at == input.count { return false }
            } else {
                break
            }
        }
        if at == start { return false }
        return at == input.count || !(isNameStart(input[at]) || isDigit(input[at]))
    }

    private mutating func scanDuration() -> Bool {
        guard accept("smhdwy") else { return false }
        _ = accept("s")
        while accept("0123456789") {
            while accept("0123456789") {}
            guard accept("smhdw") else { return false }
            _ = accept("s")
        }
        guard at < input.count, isNameStart(input[at]) || isDigit(input[at]) else { return true }
        at += 1
        return false
    }
}

@inline(__always) private func isSpace(_ c: UInt8) -> Bool { c == 32 || c == 9 || c == 10 || c == 13 }
@inline(__always) private func isDigit(_ c: UInt8) -> Bool { c >= 48 && c <= 57 }
@inline(__always) private func isNameStart(_ c: UInt8) -> Bool {
    (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || c == 95
}
