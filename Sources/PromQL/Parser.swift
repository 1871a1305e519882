package import MetricModel

/// Reads a query. Takes linear time; text that nests deeper than `maxNesting` or `maxDepth` is refused, so neither parsing nor
/// anything that walks the tree afterwards can run out of stack.
package func parseExpression(_ text: String, features: PromQLFeatures = []) throws(ParseError) -> Expr {
    var parser = Parser(text, features)
    return try parser.parse()
}

/// Reads a series selector (`name{label="value"}`), as the API's `match[]` takes it: no range, offset or `@`.
package func parseMetricSelector(_ text: String) throws(ParseError) -> [LabelMatcher] {
    var parser = Parser(text, [])
    return try parser.parseSelectorOnly()
}

/// Deepest tree of a query, in nodes.
package let maxDepth = 500
/// Deepest nesting of brackets, calls and right-binding operators.
package let maxNesting = 200

struct Parser {
    let text: [UInt8]
    let features: PromQLFeatures
    private var lexer: Lexer
    private(set) var token: Token
    private var ahead: Token?
    /// End of the last closing bracket, number or duration taken: where Prometheus says that a selector ends.
    private(set) var lastEnd = 0
    var nesting = 0
    /// Aggregations whose arguments are being read: Prometheus blames the outermost grammar rule that it can.
    private var aggregations = 0

    init(_ text: String, _ features: PromQLFeatures) {
        self.text = Array(text.utf8)
        self.features = features
        lexer = Lexer(self.text)
        token = lexer.next()
    }

    mutating func parse() throws(ParseError) -> Expr {
        if token.kind == .end { throw fail("no expression found in input", 0..<0) }
        let expr = try expression()
        if token.kind != .end { throw unexpected() }
        try check(expr)
        return expr
    }

    mutating func parseSelectorOnly() throws(ParseError) -> [LabelMatcher] {
        if token.kind == .end { throw fail("no expression found in input", 0..<0) }
        let expr = try primary()
        guard case .vector(let selector) = expr.kind else { throw unexpected() }
        if token.kind != .end { throw unexpected() }
        try check(expr)
        return selector.matchers
    }

    // MARK: - Tokens

    mutating func advance() {
        lastEnd = token.range.upperBound
        if let next = ahead {
            token = next
            ahead = nil
        } else {
            token = lexer.next()
        }
    }

    private mutating func peek() -> Token {
        if let ahead { return ahead }
        let next = lexer.next()
        ahead = next
        return next
    }

    func fail(_ message: String, _ range: Range<Int>) -> ParseError { ParseError(message, range, in: text) }

    /// The current token is not what may stand here.
    func unexpected(_ context: String = "", _ expected: String = "") -> ParseError {
        if token.kind == .error { return fail(token.text, token.range) }
        var message = "unexpected \(token.shown)"
        let context = context.isEmpty && aggregations > 0 ? "aggregation" : context
        if !context.isEmpty { message += " in \(context)" }
        if !expected.isEmpty { message += ", expected \(expected)" }
        return fail(message, token.range)
    }

    private func node(_ kind: Expr.Kind, _ range: Range<Int>) throws(ParseError) -> Expr {
        let expr = Expr(kind, range)
        if expr.depth > maxDepth { throw tooDeep(range) }
        return expr
    }

    func tooDeep(_ range: Range<Int>) -> ParseError {
        fail(
            "the expression is nested too deeply (at most \(maxNesting) brackets and \(maxDepth) operators deep)", range
        )
    }

    // MARK: - Expressions

    private mutating func expression(_ minimum: Int = 1) throws(ParseError) -> Expr {
        nesting += 1
        defer { nesting -= 1 }
        if nesting > maxNesting { throw tooDeep(token.range) }
        var lhs = try unary()
        while case .op(let op) = token.kind, op.precedence >= minimum {
            let precedence = op.precedence
            advance()
            let (matching, returnBool) = try binaryModifiers(op)
            // Only the power binds to the right.
            let rhs = try expression(op == .power ? precedence : precedence + 1)
            lhs = try node(
                .binary(.init(op: op, lhs: lhs, rhs: rhs, returnBool: returnBool, matching: matching)),
                lhs.range.lowerBound..<max(rhs.range.upperBound, lhs.range.lowerBound))
        }
        return lhs
    }

    private mutating func unary() throws(ParseError) -> Expr {
        guard token.kind == .op(.subtract) || token.kind == .op(.add) else { return try postfix(primary()) }
        // Signs in a row need no recursion.
        var signs: [(negative: Bool, start: Int)] = []
        while token.kind == .op(.subtract) || token.kind == .op(.add) {
            signs.append((token.kind == .op(.subtract), token.range.lowerBound))
            if signs.count > maxNesting { throw tooDeep(token.range) }
            advance()
        }
        var expr = try expression(BinaryOperator.power.precedence)
        for sign in signs.reversed() {
            let range = sign.start..<expr.range.upperBound
            if case .number(let value, let isDuration) = expr.kind {
                expr = try node(.number(sign.negative ? -value : value, isDuration: isDuration), range)
            } else {
                expr = try node(.unary(negative: sign.negative, expr), range)
            }
        }
        return expr
    }

    private mutating func binaryModifiers(_ op: BinaryOperator) throws(ParseError) -> (VectorMatching, Bool) {
        var matching = VectorMatching()
        var returnBool = false
        if token.kind == .keyword(.bool) {
            returnBool = true
            advance()
        }
        if token.kind == .keyword(.on) || token.kind == .keyword(.ignoring) {
            matching.on = token.kind == .keyword(.on)
            advance()
            matching.labels = try groupingLabels()
            if token.kind == .keyword(.groupLeft) || token.kind == .keyword(.groupRight) {
                matching.cardinality = token.kind == .keyword(.groupLeft) ? .manyToOne : .oneToMany
                advance()
                if token.kind == .leftParen { matching.include = try groupingLabels() }
            }
        }
        while case .keyword(let word) = token.kind, word == .fill || word == .fillLeft || word == .fillRight,
            peek().kind == .leftParen
        {
            let start = token.range.lowerBound
            advance()
            advance()
            var negative = false
            if token.kind == .op(.subtract) || token.kind == .op(.add) {
                negative = token.kind == .op(.subtract)
                advance()
            }
            guard token.kind == .number || token.kind == .duration else { throw unexpected() }
            let (value, _) = try number()
            guard token.kind == .rightParen else { throw unexpected() }
            advance()
            if !features.contains(.fillModifiers) {
                throw fail("binop fill modifiers are experimental and not enabled", start..<lastEnd)
            }
            let filled = negative ? -value : value
            if word != .fillRight { matching.fillLeft = filled }
            if word != .fillLeft { matching.fillRight = filled }
            if word == .fill { break }
        }
        if op.isSet, matching.cardinality == .oneToOne { matching.cardinality = .manyToMany }
        return (matching, returnBool)
    }

    private mutating func groupingLabels() throws(ParseError) -> [String] {
        guard token.kind == .leftParen else { throw unexpected("grouping opts", "\"(\"") }
        advance()
        var labels: [String] = []
        while token.kind != .rightParen {
            labels.append(try groupingLabel())
            if token.kind == .comma {
                advance()
            } else if token.kind != .rightParen {
                throw unexpected("grouping opts", "\",\" or \")\"")
            }
        }
        advance()
        return labels
    }

    private mutating func groupingLabel() throws(ParseError) -> String {
        var name = token.text
        switch token.kind {
        case .identifier, .metricIdentifier: break
        case .aggregator, .keyword: break
        case .op(let op) where op.isWord: break
        case .number where isLegacyLabelName(token.text): break
        case .string:
            name = try unquoted()
            if name.isEmpty || hasRawBytes(name) {
                throw fail("invalid label name for grouping: \(quoteGo(name))", token.range)
            }
            advance()
            return name
        default: throw unexpected("grouping opts", "label")
        }
        if !isLegacyLabelName(name) {
            throw fail("invalid label name for grouping: \(quoteGo(name))", token.range)
        }
        advance()
        return name
    }

    func unquoted() throws(ParseError) -> String {
        guard let text = unquoteGo(token.text.utf8) else {
            throw fail("error unquoting string \(quoteGo(token.text)): invalid syntax", token.range)
        }
        return text
    }

    /// The current number or duration, in seconds.
    mutating func number() throws(ParseError) -> (Double, isDuration: Bool) {
        let text = token.text
        if token.kind == .duration {
            guard let milliseconds = parseDuration(text) else {
                throw fail("not a valid duration string: \(quoteGo(text))", token.range)
            }
            advance()
            return (Double(milliseconds / 1000) + Double(milliseconds % 1000 * 1_000_000) / 1e9, true)
        }
        guard let value = parseNumber(text) else {
            throw fail(
                "error parsing number: strconv.ParseFloat: parsing \(quoteGo(text)): invalid syntax", token.range)
        }
        advance()
        return (value, false)
    }

    // MARK: - Operands

    private mutating func primary() throws(ParseError) -> Expr {
        let start = token.range.lowerBound
        switch token.kind {
        case .number, .duration:
            let (value, isDuration) = try number()
            return try node(.number(value, isDuration: isDuration), start..<lastEnd)
        case .string:
            let value = try unquoted()
            advance()
            return try node(.string(value), start..<lastEnd)
        case .leftParen:
            advance()
            let inner = try expression()
            guard token.kind == .rightParen else { throw unexpected() }
            advance()
            return try node(.paren(inner), start..<lastEnd)
        case .leftBrace:
            return try selector(name: "", start)
        case .aggregator(let op):
            let next = peek().kind
            if next == .leftParen || next == .keyword(.by) || next == .keyword(.without) {
                return try aggregation(op, start)
            }
            return try selector(start)
        case .identifier, .metricIdentifier:
            if peek().kind == .leftParen, token.kind == .identifier { return try call(start) }
            return try selector(start)
        case .keyword(let word):
            switch word {
            case .on, .ignoring, .bool, .groupLeft, .groupRight: throw unexpected()
            default: break
            }
            if peek().kind == .leftParen, word.isPreprocessor { return try call(start) }
            return try selector(start)
        case .op(let op) where op.isSet: return try selector(start)
        default: throw unexpected()
        }
    }

    private var canStartOperand: Bool {
        switch token.kind {
        case .identifier, .metricIdentifier, .string, .number, .duration, .aggregator, .leftParen, .leftBrace,
            .error, .op(.add), .op(.subtract):
            true
        case .op(let op): op.isSet
        case .keyword(let word):
            switch word {
            case .on, .ignoring, .bool, .groupLeft, .groupRight: false
            default: true
            }
        default: false
        }
    }

    private mutating func call(_ start: Int) throws(ParseError) -> Expr {
        let name = token.text
        let range = token.range
        advance()
        let arguments = try callArguments()
        guard let function = Function.all[name] else {
            throw fail("unknown function with name \(quoteGo(name))", range)
        }
        if function.experimental, !features.contains(.experimentalFunctions) {
            throw fail("function \(quoteGo(name)) is not enabled", range)
        }
        return try node(.call(function, arguments), start..<lastEnd)
    }

    private mutating func callArguments() throws(ParseError) -> [Expr] {
        guard token.kind == .leftParen else { throw unexpected() }
        advance()
        var arguments: [Expr] = []
        if token.kind == .rightParen {
            advance()
            return arguments
        }
        while true {
            arguments.append(try expression())
            if token.kind == .comma {
                let comma = token.range
                advance()
                if !canStartOperand {
                    throw fail("trailing commas not allowed in function call args", comma)
                }
            } else {
                break
            }
        }
        guard token.kind == .rightParen else { throw unexpected() }
        advance()
        return arguments
    }

    private mutating func aggregation(_ op: Aggregator, _ start: Int) throws(ParseError) -> Expr {
        advance()
        var grouping: [String] = []
        var without = false
        var grouped = false
        func isGrouping(_ kind: TokenKind) -> Bool { kind == .keyword(.by) || kind == .keyword(.without) }
        if isGrouping(token.kind) {
            without = token.kind == .keyword(.without)
            advance()
            grouping = try groupingLabels()
            grouped = true
        }
        aggregations += 1
        guard token.kind == .leftParen else { throw unexpected() }
        let arguments = try callArguments()
        aggregations -= 1
        if !grouped, isGrouping(token.kind) {
            without = token.kind == .keyword(.without)
            advance()
            grouping = try groupingLabels()
        }
        let range = start..<lastEnd
        if arguments.isEmpty { throw fail("no arguments for aggregate expression provided", range) }
        if op.isExperimental, !features.contains(.experimentalFunctions) {
            throw fail(
                "\(op.rawValue)() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                range)
        }
        let wanted = op.takesParameter ? 2 : 1
        if arguments.count != wanted {
            throw fail(
                "wrong number of arguments for aggregate expression provided, expected \(wanted), got \(arguments.count)",
                range)
        }
        return try node(
            .aggregate(
                .init(
                    op: op, expr: arguments[wanted - 1], parameter: wanted == 2 ? arguments[0] : nil,
                    grouping: grouping, without: without)), range)
    }

    // MARK: - Selectors

    private mutating func selector(_ start: Int) throws(ParseError) -> Expr {
        let name = token.text
        advance()
        return try selector(name: name, start)
    }

    private mutating func selector(name: String, _ start: Int) throws(ParseError) -> Expr {
        var selector = VectorSelector(name: name, matchers: [])
        if token.kind == .leftBrace {
            advance()
            while token.kind != .rightBrace {
                let matcher = try labelMatcher()
                selector.matchers.append(matcher)
                if token.kind == .comma {
                    advance()
                } else if token.kind != .rightBrace {
                    throw unexpected("label matching", "\",\" or \"}\"")
                }
            }
            advance()
            selector.bracesOnly = name.isEmpty
        }
        if !name.isEmpty { selector.matchers.append(LabelMatcher(Labels.metricNameLabel, equals: name)) }
        return try node(.vector(selector), start..<lastEnd)
    }

    private mutating func labelMatcher() throws(ParseError) -> LabelMatcher {
        let start = token.range.lowerBound
        let name: String
        var isString = false
        switch token.kind {
        case .identifier: name = token.text
        case .string:
            name = try unquoted()
            isString = true
        default: throw unexpected("label matching", "identifier or \"}\"")
        }
        advance()
        let op: MatchOperator
        switch token.kind {
        case .equal: op = .equal
        case .op(.notEqual): op = .notEqual
        case .regexEqual: op = .regex
        case .regexNotEqual: op = .notRegex
        default:
            if isString, token.kind == .comma || token.kind == .rightBrace {
                return LabelMatcher(Labels.metricNameLabel, equals: name)
            }
            throw unexpected("label matching", isString ? "\",\" or \"}\"" : "label matching operator")
        }
        advance()
        guard token.kind == .string else { throw unexpected("label matching", "string") }
        let value = try unquoted()
        let range = start..<token.range.upperBound
        advance()
        do {
            return try LabelMatcher(name, op, value)
        } catch {
            throw fail("error parsing regexp: " + goRegexReason(error.reason, value), range)
        }
    }

    /// What may follow an operand: ranges, subqueries, `offset`, `@`, `anchored`, `smoothed`.
    private mutating func postfix(_ operand: Expr) throws(ParseError) -> Expr {
        var expr = operand
        while true {
            switch token.kind {
            case .leftBracket: expr = try bracket(expr)
            case .keyword(.offset): expr = try offset(expr)
            case .at: expr = try at(expr)
            case .keyword(.anchored): expr = try extended(expr, anchored: true)
            case .keyword(.smoothed): expr = try extended(expr, anchored: false)
            default: return expr
            }
        }
    }

    private mutating func bracket(_ expr: Expr) throws(ParseError) -> Expr {
        let open = token.range.lowerBound
        advance()
        let context = "subquery or range selector"
        let range = try positiveSpan(context, "number, duration, step(), or range()")
        if token.kind == .rightBracket {
            advance()
            guard case .vector(let selector) = expr.kind else {
                throw fail("ranges only allowed for vector selectors", open..<lastEnd)
            }
            if !selector.time.offset.isZero { throw fail("no offset modifiers allowed before range", open..<lastEnd) }
            if selector.time.at != .none { throw fail("no @ modifiers allowed before range", open..<lastEnd) }
            return try node(.matrix(selector, range: range), expr.range.lowerBound..<lastEnd)
        }
        guard token.kind == .colon else { throw unexpected("subquery or range", "\":\" or \"]\"") }
        advance()
        var step: Span?
        if token.kind != .rightBracket {
            step = try positiveSpan("subquery selector", "number, duration, step(), range(), or \"]\"")
            guard token.kind == .rightBracket else { throw unexpected("subquery selector", "\"]\"") }
        }
        advance()
        return try node(
            .subquery(.init(expr: expr, range: range, step: step, time: TimeShift())),
            expr.range.lowerBound..<lastEnd)
    }

    private mutating func offset(_ expr: Expr) throws(ParseError) -> Expr {
        advance()
        let span = try offsetSpan()
        let range = expr.range.lowerBound..<max(lastEnd, expr.range.lowerBound)
        return try reshape(
            expr, range,
            "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery"
        ) { (time: inout TimeShift) throws(ParseError) in
            if !time.offset.isZero { throw self.fail("offset may not be set multiple times", expr.range) }
            time.offset = span
        }
    }

    private mutating func at(_ expr: Expr) throws(ParseError) -> Expr {
        advance()
        var moment: TimeShift.At
        var negative = false
        switch token.kind {
        case .keyword(.start), .keyword(.end):
            moment = token.kind == .keyword(.start) ? .start : .end
            advance()
            guard token.kind == .leftParen else { throw unexpected("@", "timestamp") }
            advance()
            guard token.kind == .rightParen else { throw unexpected("@", "timestamp") }
            advance()
        default:
            if token.kind == .op(.subtract) || token.kind == .op(.add) {
                negative = token.kind == .op(.subtract)
                advance()
            }
            guard token.kind == .number || token.kind == .duration else { throw unexpected("@", "timestamp") }
            let (seconds, _) = try number()
            let signed = negative ? -seconds : seconds
            guard abs(signed) < 9.2e15 else {
                throw fail("timestamp out of bounds for @ modifier: \(fixed(signed, 6))", expr.range)
            }
            moment = .time(Int64((signed * 1000).rounded(.toNearestOrAwayFromZero)))
        }
        let range = expr.range.lowerBound..<max(lastEnd, expr.range.lowerBound)
        return try reshape(
            expr, range,
            "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery"
        ) { (time: inout TimeShift) throws(ParseError) in
            if time.at != .none { throw self.fail("@ <timestamp> may not be set multiple times", expr.range) }
            time.at = moment
        }
    }

    private func reshape(
        _ expr: Expr, _ range: Range<Int>, _ refusal: String, _ body: (inout TimeShift) throws(ParseError) -> Void
    ) throws(ParseError) -> Expr {
        switch expr.kind {
        case .vector(var selector):
            try body(&selector.time)
            return try node(.vector(selector), range)
        case .matrix(var selector, let window):
            try body(&selector.time)
            return try node(.matrix(selector, range: window), range)
        case .subquery(var subquery):
            try body(&subquery.time)
            return try node(.subquery(subquery), range)
        default: throw fail(refusal, expr.range)
        }
    }

    private mutating func extended(_ expr: Expr, anchored: Bool) throws(ParseError) -> Expr {
        let word = anchored ? "anchored" : "smoothed"
        advance()
        if !features.contains(.extendedRangeSelectors) {
            throw fail("\(word) modifier is experimental and not enabled", expr.range)
        }
        func set(_ selector: inout VectorSelector) throws(ParseError) {
            if anchored ? selector.smoothed : selector.anchored {
                throw fail("anchored and smoothed modifiers cannot be used together", expr.range)
            }
            if anchored { selector.anchored = true } else { selector.smoothed = true }
        }
        switch expr.kind {
        case .vector(var selector):
            try set(&selector)
            return try node(.vector(selector), expr.range.lowerBound..<lastEnd)
        case .matrix(var selector, let window):
            try set(&selector)
            return try node(.matrix(selector, range: window), expr.range.lowerBound..<lastEnd)
        case .subquery: throw fail("\(word) modifier is not supported for subqueries", expr.range)
        default: throw fail("\(word) modifier not implemented", expr.range)
        }
    }
}

/// RE2's reasons in the words of Go's package, which Prometheus shows.
private func goRegexReason(_ reason: String, _ pattern: String) -> String {
    let parts = reason.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let argument = parts.count > 1 ? String(parts[1].dropFirst()) : pattern
    switch parts[0] {
    case "missing )": return "missing closing ): `^(?s:\(pattern))$`"
    case "missing ]": return "missing closing ]: `\(argument))$`"
    case "unexpected )": return "unexpected ): `^(?s:\(pattern))$`"
    case "no argument for repetition operator": return "missing argument to repetition operator: `\(argument)`"
    case "bad repetition operator": return "invalid nested repetition operator: `\(argument)`"
    case "trailing \\": return "trailing backslash at end of expression: ``"
    default: return "\(parts[0]): `\(argument)`"
    }
}

/// A number token's value: decimal, hexadecimal, octal with a leading zero, or a word.
func parseNumber(_ text: String) -> Double? {
    let bytes = Array(text.utf8)
    if bytes.count > 1, bytes[0] == 48, bytes.allSatisfy({ ($0 >= 48 && $0 <= 55) || $0 == 95 }) {
        return Int64(text.filter { $0 != "_" }, radix: 8).map(Double.init)
    }
    if bytes.count > 2, bytes[0] == 48, bytes[1] | 0x20 == 120 {
        let digits = text.dropFirst(2).filter { $0 != "_" }
        if let value = Int64(digits, radix: 16) { return Double(value) }
    }
    return parseFloat(text)
}

/// `%.nf`
func fixed(_ value: Double, _ digits: Int) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 9e18 else { return formatFloat(value) }
    let whole = Int64(scaled)
    var fraction = String(whole % Int64(scale))
    fraction = String(repeating: "0", count: digits - fraction.utf8.count) + fraction
    return (value < 0 ? "-" : "") + "\(whole / Int64(scale))." + fraction
}
