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

    mutating func peek() -> Token {
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

    func node(_ kind: Expr.Kind, _ range: Range<Int>) throws(ParseError) -> Expr {
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

    mutating func expression(_ minimum: Int = 1) throws(ParseError) -> Expr {
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

    mutating func unary() throws(ParseError) -> Expr {
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

    mutating func groupingLabel() throws(ParseError) -> String {
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
}
