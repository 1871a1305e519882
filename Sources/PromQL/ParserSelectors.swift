import MetricModel

/// Selectors and what follows an operand: brackets, `offset`, `@`, `anchored` and `smoothed`.
extension Parser {
    mutating func selector(_ start: Int) throws(ParseError) -> Expr {
        let name = token.text
        advance()
        return try selector(name: name, start)
    }

    mutating func selector(name: String, _ start: Int) throws(ParseError) -> Expr {
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
    mutating func postfix(_ operand: Expr) throws(ParseError) -> Expr {
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
