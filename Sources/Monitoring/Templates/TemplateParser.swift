import MetricModel

/// A parsed template: text and actions.
indirect enum TemplateNode: Sendable {
    case text(String)
    case action(TemplatePipeline)
    case condition(TemplatePipeline, then: [TemplateNode], otherwise: [TemplateNode])
    case loop(TemplatePipeline, body: [TemplateNode], otherwise: [TemplateNode])
    case with(TemplatePipeline, then: [TemplateNode], otherwise: [TemplateNode])
    case template(String, TemplatePipeline?, line: Int)
    case breakLoop
    case continueLoop
}

struct TemplatePipeline: Sendable {
    var line: Int
    /// `$x := …` declares, `$x = …` assigns; two names in `range`.
    var variables: [String] = []
    var assigns = false
    /// Each is a list of operands; the first may be a function or a method.
    var commands: [[TemplateOperand]] = []
}

indirect enum TemplateOperand: Sendable {
    case dot
    case null
    case field([String])
    case variable(String, [String])
    case function(String)
    case string(String)
    case int(Int)
    case float(Double)
    case bool(Bool)
    case pipeline(TemplatePipeline, [String])
}

/// Reads Go's text/template syntax. Nesting is bounded.
struct TemplateParser {
    private enum Token: Equatable {
        case text(String)
        case open
        case close
        case word(String)
        case field(String)
        case variable(String)
        case string(String)
        case number(String)
        case symbol(String)
        case end
    }

    private let name: String
    private var tokens: [(token: Token, line: Int, spaced: Bool)] = []
    private var at = 0
    private var depth = 0
    private(set) var defined: [String: [TemplateNode]] = [:]
    /// Variables that may be used here.
    private var scope = ["$"]
    /// How many `range`s the text is within.
    private var loops = 0

    init(name: String, text: String) throws(TemplateError) {
        self.name = name
        try lex(text)
    }

    static func parse(name: String, text: String) throws(TemplateError) -> (
        body: [TemplateNode], defined: [String: [TemplateNode]]
    ) {
        var parser = try TemplateParser(name: name, text: text)
        let (body, end) = try parser.list()
        if let end { throw parser.fail("unexpected {{\(end)}}") }
        return (body, parser.defined)
    }

    private var line: Int { at < tokens.count ? tokens[at].line : tokens.last?.line ?? 1 }

    private func fail(_ message: String) -> TemplateError {
        TemplateError(template: name, line: line, message: message)
    }

    // MARK: lexing

    private mutating func lex(_ text: String) throws(TemplateError) {
        var line = 1
        var rest = Substring(text)
        var trimNext = false
        func isSpace(_ character: Character) -> Bool { character.isWhitespace }
        func lines(_ part: Substring) -> Int { part.reduce(0) { $0 + ($1.isNewline ? 1 : 0) } }
        while !rest.isEmpty {
            let start = find("{{", in: rest)
            var plain = start.map { rest[..<$0] } ?? rest
            let skipped = lines(plain)
            guard let start else {
                if trimNext { plain = plain.drop(while: isSpace) }
                if !plain.isEmpty { tokens.append((.text(String(plain)), line, false)) }
                break
            }
            var inside = rest[rest.index(start, offsetBy: 2)...]
            let trimsBefore = inside.first == "-" && (inside.dropFirst().first.map(isSpace) ?? false)
            if trimNext { plain = plain.drop(while: isSpace) }
            if trimsBefore {
                while let last = plain.last, isSpace(last) { plain.removeLast() }
                inside = inside.dropFirst()
            }
            if !plain.isEmpty { tokens.append((.text(String(plain)), line, false)) }
            line += skipped
            let trimmed = inside.drop(while: isSpace)
            if trimmed.hasPrefix("/*") {
                guard let end = find("*/", in: trimmed) else {
                    throw TemplateError(template: name, line: line, message: "unclosed comment")
                }
                line += lines(inside[..<end])
                var after = trimmed[trimmed.index(end, offsetBy: 2)...].drop(while: isSpace)
                trimNext = after.first == "-"
                if trimNext { after = after.dropFirst() }
                guard after.hasPrefix("}}") else {
                    throw TemplateError(template: name, line: line, message: "comment ends before closing delimiter")
                }
                rest = after.dropFirst(2)
                continue
            }
            tokens.append((.open, line, false))
            (rest, trimNext) = try lexAction(inside, &line)
        }
        tokens.append((.end, line, false))
    }

    private func find(_ text: String, in whole: Substring) -> Substring.Index? {
        guard let first = text.first else { return nil }
        var from = whole.startIndex
        while let at = whole[from...].firstIndex(of: first) {
            if whole[at...].hasPrefix(text) { return at }
            from = whole.index(after: at)
        }
        return nil
    }

    /// Reads up to the closing braces; gives what follows and whether blanks there are trimmed.
    private mutating func lexAction(_ text: Substring, _ line: inout Int) throws(TemplateError) -> (Substring, Bool) {
        var rest = text
        var spaced = true
        func isWord(_ character: Character) -> Bool { character.isLetter || character.isNumber || character == "_" }
        while let first = rest.first {
            if rest.hasPrefix("}}") {
                tokens.append((.close, line, spaced))
                return (rest.dropFirst(2), false)
            }
            if first == "-", spaced, rest.dropFirst().hasPrefix("}}") {
                tokens.append((.close, line, spaced))
                return (rest.dropFirst(3), true)
            }
            if first.isWhitespace {
                if first.isNewline { line += 1 }
                rest = rest.dropFirst()
                spaced = true
                continue
            }
            let token: Token
            switch first {
            case "\"", "`", "'":
                let (value, after) = try quoted(rest, line)
                line += rest[..<after].reduce(0) { $0 + ($1.isNewline ? 1 : 0) }
                rest = rest[after...]
                if first == "'" {
                    token = .number(value.unicodeScalars.first.map { String($0.value) } ?? "0")
                } else {
                    token = .string(value)
                }
            case "$":
                let word = rest.dropFirst().prefix(while: isWord)
                rest = rest.dropFirst(1 + word.count)
                token = .variable("$" + word)
            case ".":
                let word = rest.dropFirst().prefix(while: isWord)
                if word.first?.isNumber == true, spaced {
                    let number = rest.prefix { isWord($0) || $0 == "." || $0 == "+" || $0 == "-" }
                    rest = rest.dropFirst(number.count)
                    token = .number(String(number))
                } else {
                    rest = rest.dropFirst(1 + word.count)
                    token = .field(String(word))
                }
            case ":" where rest.hasPrefix(":="):
                rest = rest.dropFirst(2)
                token = .symbol(":=")
            case "|", "(", ")", ",", "=":
                rest = rest.dropFirst()
                token = .symbol(String(first))
            default:
                if first.isNumber || ((first == "-" || first == "+") && (rest.dropFirst().first?.isNumber ?? false)) {
                    var number = String(first)
                    rest = rest.dropFirst()
                    while let next = rest.first,
                        isWord(next) || next == "."
                            || ((next == "-" || next == "+") && (number.last == "e" || number.last == "E"))
                    {
                        number.append(next)
                        rest = rest.dropFirst()
                    }
                    token = .number(number)
                } else if isWord(first) {
                    let word = rest.prefix(while: isWord)
                    rest = rest.dropFirst(word.count)
                    token = .word(String(word))
                } else {
                    throw TemplateError(
                        template: name, line: line, message: "unexpected \(quoteGo(String(first))) in command")
                }
            }
            tokens.append((token, line, spaced))
            spaced = false
        }
        throw TemplateError(template: name, line: line, message: "unclosed action")
    }

    /// A quoted text's value and where it ends.
    private func quoted(_ text: Substring, _ line: Int) throws(TemplateError) -> (String, Substring.Index) {
        guard let quote = text.first else { return ("", text.startIndex) }
        var out = ""
        var index = text.index(after: text.startIndex)
        while index < text.endIndex {
            let character = text[index]
            index = text.index(after: index)
            if character == quote { return (out, index) }
            if character == "\\", quote != "`", index < text.endIndex {
                let escaped = text[index]
                index = text.index(after: index)
                switch escaped {
                case "n": out += "\n"
                case "t": out += "\t"
                case "r": out += "\r"
                case "a": out += "\u{7}"
                case "\\", "\"", "'": out.append(escaped)
                case "x", "u", "U":
                    let count = escaped == "x" ? 2 : escaped == "u" ? 4 : 8
                    let digits = text[index...].prefix(count)
                    guard let code = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(code) else {
                        throw TemplateError(template: name, line: line, message: "bad escape in a quoted text")
                    }
                    out.unicodeScalars.append(scalar)
                    index = text.index(index, offsetBy: digits.count)
                default: throw TemplateError(template: name, line: line, message: "unknown escape \\\(escaped)")
                }
            } else if character.isNewline, quote != "`" {
                break
            } else {
                out.append(character)
            }
        }
        throw TemplateError(template: name, line: line, message: "unterminated quoted string")
    }

    // MARK: parsing

    private var token: Token { at < tokens.count ? tokens[at].token : .end }

    private mutating func take() -> Token {
        let token = token
        if at < tokens.count { at += 1 }
        return token
    }

    private mutating func expectClose(_ context: String) throws(TemplateError) {
        guard token == .close else { throw fail("unexpected \(shown(token)) in \(context)") }
        at += 1
    }

    private func shown(_ token: Token) -> String {
        switch token {
        case .text(let text): quoteGo(String(text.prefix(20)))
        case .open: "{{"
        case .close: "\"}}\""
        case .word(let word): "<\(word)>"
        case .field(let word): "<.\(word)>"
        case .variable(let word): "<\(word)>"
        case .string(let text): quoteGo(text)
        case .number(let text): "\"\(text)\""
        case .symbol(let text): "\"\(text)\""
        case .end: "EOF"
        }
    }

    /// Nodes up to `end`, `else` or the text's end; `else` and `end` are told and consumed up to their word.
    private mutating func list() throws(TemplateError) -> ([TemplateNode], String?) {
        depth += 1
        defer { depth -= 1 }
        if depth > 100 { throw fail("nests deeper than 100 levels") }
        var nodes: [TemplateNode] = []
        while true {
            switch take() {
            case .end: return (nodes, nil)
            case .text(let text): nodes.append(.text(text))
            case .open:
                guard case .word(let word) = token else {
                    if token == .close { throw fail("missing value for command") }
                    nodes.append(.action(try pipeline("command")))
                    try expectClose("command")
                    continue
                }
                switch word {
                case "end":
                    at += 1
                    try expectClose("end")
                    return (nodes, "end")
                case "else":
                    at += 1
                    return (nodes, "else")
                case "if", "with", "range":
                    at += 1
                    nodes.append(try control(word))
                case "define":
                    at += 1
                    _ = try definition()
                case "block":
                    at += 1
                    nodes.append(try block())
                case "template":
                    at += 1
                    let line = line
                    guard case .string(let called) = take() else { throw fail("template needs a name in quotes") }
                    let argument = token == .close ? nil : try pipeline("template")
                    try expectClose("template")
                    nodes.append(.template(called, argument, line: line))
                case "break", "continue":
                    if loops == 0 { throw fail("{{\(word)}} outside {{range}}") }
                    at += 1
                    try expectClose(word)
                    nodes.append(word == "break" ? .breakLoop : .continueLoop)
                default:
                    nodes.append(.action(try pipeline("command")))
                    try expectClose("command")
                }
            default: throw fail("unexpected \(shown(tokens[max(0, at - 1)].token))")
            }
        }
    }

    private mutating func control(_ word: String) throws(TemplateError) -> TemplateNode {
        let outside = scope.count
        defer { scope.removeLast(scope.count - outside) }
        let condition = try pipeline(word, isRange: word == "range")
        try expectClose(word)
        loops += word == "range" ? 1 : 0
        let (then, end) = try list()
        loops -= word == "range" ? 1 : 0
        var otherwise: [TemplateNode] = []
        if end == "else" {
            if case .word(let next) = token, next == "if" || next == "with" {
                at += 1
                otherwise = [try control(next)]
                return node(word, condition, then, otherwise)
            }
            try expectClose("else")
            let (body, last) = try list()
            guard last == "end" else { throw fail("expected end; found \(last.map { "{{\($0)}}" } ?? "EOF")") }
            otherwise = body
        } else if end == nil {
            throw fail("unexpected EOF")
        }
        return node(word, condition, then, otherwise)
    }

    private func node(
        _ word: String, _ pipeline: TemplatePipeline, _ then: [TemplateNode], _ otherwise: [TemplateNode]
    ) -> TemplateNode {
        switch word {
        case "if": .condition(pipeline, then: then, otherwise: otherwise)
        case "range": .loop(pipeline, body: then, otherwise: otherwise)
        default: .with(pipeline, then: then, otherwise: otherwise)
        }
    }

    private mutating func definition() throws(TemplateError) -> String {
        guard case .string(let called) = take() else { throw fail("define needs a name in quotes") }
        try expectClose("define clause")
        let (body, end) = try inOwnScope()
        guard end == "end" else { throw fail("unexpected EOF in define clause") }
        defined[called] = body
        return called
    }

    private mutating func inOwnScope() throws(TemplateError) -> ([TemplateNode], String?) {
        let outside = (scope, loops)
        (scope, loops) = (["$"], 0)
        defer { (scope, loops) = outside }
        return try list()
    }

    private func requireVariable(_ name: String) throws(TemplateError) {
        if !scope.contains(name) { throw fail("undefined variable \(quoteGo(name))") }
    }

    private mutating func block() throws(TemplateError) -> TemplateNode {
        let line = line
        guard case .string(let called) = take() else { throw fail("block needs a name in quotes") }
        let argument = try pipeline("block clause")
        try expectClose("block clause")
        let (body, end) = try inOwnScope()
        guard end == "end" else { throw fail("unexpected EOF in block clause") }
        if defined[called] == nil { defined[called] = body }
        return .template(called, argument, line: line)
    }

    private mutating func pipeline(_ context: String, isRange: Bool = false) throws(TemplateError) -> TemplatePipeline {
        depth += 1
        defer { depth -= 1 }
        if depth > 100 { throw fail("nests deeper than 100 levels") }
        var pipeline = TemplatePipeline(line: line)
        if case .variable(let first) = token {
            let start = at
            at += 1
            var names = [first]
            if isRange, token == .symbol(",") {
                at += 1
                if case .variable(let second) = token {
                    names.append(second)
                    at += 1
                }
            }
            if token == .symbol(":=") || token == .symbol("=") {
                pipeline.variables = names
                pipeline.assigns = take() == .symbol("=")
                if pipeline.assigns {
                    for name in names { try requireVariable(name) }
                } else {
                    scope += names
                }
            } else {
                at = start
            }
        }
        while true {
            pipeline.commands.append(try command(context))
            guard token == .symbol("|") else { break }
            at += 1
        }
        return pipeline
    }

    private mutating func command(_ context: String) throws(TemplateError) -> [TemplateOperand] {
        var operands: [TemplateOperand] = []
        while true {
            switch token {
            case .close, .symbol("|"), .symbol(")"), .end:
                if operands.isEmpty { throw fail("missing value for \(context)") }
                return operands
            default: operands.append(try operand(context))
            }
        }
    }

    private mutating func operand(_ context: String) throws(TemplateError) -> TemplateOperand {
        switch take() {
        case .field(let word):
            if word.isEmpty { return .dot }
            return .field([word] + fields())
        case .variable(let word):
            try requireVariable(word)
            return .variable(word, fields())
        case .word("true"): return .bool(true)
        case .word("false"): return .bool(false)
        case .word("nil"): return .null
        case .word(let word): return .function(word)
        case .string(let text): return .string(text)
        case .number(let text):
            if let number = Int(text) ?? (text.hasPrefix("0x") ? Int(text.dropFirst(2), radix: 16) : nil) {
                return .int(number)
            }
            guard let number = Double(text) else { throw fail("bad number syntax: \(quoteGo(text))") }
            return .float(number)
        case .symbol("("):
            let inner = try pipeline("parenthesized pipeline")
            guard token == .symbol(")") else { throw fail("unclosed left paren") }
            at += 1
            return .pipeline(inner, fields())
        case let other:
            at -= 1
            throw fail("unexpected \(shown(other)) in \(context)")
        }
    }

    /// Fields that follow without a blank: `.A.B`.
    private mutating func fields() -> [String] {
        var names: [String] = []
        while case .field(let word) = token, at < tokens.count, !tokens[at].spaced, !word.isEmpty {
            names.append(word)
            at += 1
        }
        return names
    }
}
