/// Durations in brackets and after `offset`: figures or, where enabled, arithmetic.
extension Parser {
    /// A range or step: above zero.
    mutating func positiveSpan(_ context: String, _ expected: String) throws(ParseError) -> Span {
        let expr = try durationExpression(1, context, expected)
        if case .number(let seconds, _) = expr.kind {
            if seconds <= 0 { throw fail("duration must be greater than 0", expr.range) }
            return .literal(milliseconds(seconds))
        }
        return .computed(expr)
    }

    /// What follows `offset`: one figure, call or parenthesised expression, with a sign or without.
    mutating func offsetSpan() throws(ParseError) -> Span {
        let context = "offset"
        let expected = "number, duration, step(), or range()"
        let start = token.range.lowerBound
        var negative = false
        var signed = false
        if token.kind == .op(.subtract) || token.kind == .op(.add) {
            negative = token.kind == .op(.subtract)
            signed = true
            advance()
        }
        let inner = try durationOperand(context, expected)
        if case .number(let seconds, _) = inner.kind {
            return .literal(milliseconds(negative ? -seconds : seconds))
        }
        return .computed(
            signed ? DurationExpr(.unary(negative: negative, inner), start..<inner.range.upperBound) : inner)
    }

    /// As Prometheus rounds: to nanoseconds, of which whole milliseconds count.
    private func milliseconds(_ seconds: Double) -> Int64 {
        let nanoseconds = (seconds * 1e9).rounded(.toNearestOrAwayFromZero)
        guard abs(nanoseconds) < 9.2e18 else { return 0 }
        return Int64(nanoseconds) / 1_000_000
    }

    private func requireDurationExpressions(_ expr: DurationExpr) throws(ParseError) {
        if !features.contains(.durationExpressions) {
            throw fail("experimental duration expression is not enabled", expr.range)
        }
    }

    private mutating func durationExpression(
        _ minimum: Int, _ context: String, _ expected: String
    ) throws(ParseError) -> DurationExpr {
        nesting += 1
        defer { nesting -= 1 }
        if nesting > maxNesting {
            throw tooDeep(token.range)
        }
        var lhs = try durationUnary(context, expected)
        while case .op(let op) = token.kind, op.precedence >= max(minimum, BinaryOperator.add.precedence), !op.isWord {
            let opRange = token.range
            advance()
            let rhs = try durationExpression(
                op == .power ? op.precedence : op.precedence + 1, context, expected)
            try requireDurationExpressions(lhs)
            if case .number(let value, _) = rhs.kind, value == 0, op == .divide || op == .modulo {
                throw fail(op == .divide ? "division by zero" : "modulo by zero", opRange)
            }
            lhs = DurationExpr(.binary(op, lhs, rhs), lhs.range.lowerBound..<rhs.range.upperBound)
            if lhs.depth > maxNesting {
                throw tooDeep(lhs.range)
            }
        }
        return lhs
    }

    private mutating func durationUnary(
        _ context: String, _ expected: String
    ) throws(ParseError) -> DurationExpr {
        guard token.kind == .op(.subtract) || token.kind == .op(.add) else {
            return try durationOperand(context, expected)
        }
        let start = token.range.lowerBound
        let negative = token.kind == .op(.subtract)
        advance()
        let inner = try durationExpression(BinaryOperator.power.precedence, context, expected)
        let range = start..<inner.range.upperBound
        if case .number(let value, let isDuration) = inner.kind {
            return DurationExpr(.number(negative ? -value : value, isDuration: isDuration), range)
        }
        try requireDurationExpressions(inner)
        return DurationExpr(.unary(negative: negative, inner), range)
    }

    private mutating func durationOperand(
        _ context: String, _ expected: String
    ) throws(ParseError) -> DurationExpr {
        let start = token.range.lowerBound
        switch token.kind {
        case .number, .duration:
            let range = token.range
            let (value, isDuration) = try number()
            guard abs(value) <= 9_223_372_036 else { throw fail("duration out of range", range) }
            return DurationExpr(.number(value, isDuration: isDuration), range)
        case .leftParen:
            advance()
            let inner = try durationExpression(1, context, expected)
            guard token.kind == .rightParen else { throw unexpected(context, expected) }
            advance()
            try requireDurationExpressions(inner)
            return DurationExpr(.paren(inner), start..<lastEnd)
        case .keyword(let word) where word == .step || word == .range:
            advance()
            guard token.kind == .leftParen else { throw unexpected(context, expected) }
            advance()
            guard token.kind == .rightParen else { throw unexpected(context, expected) }
            advance()
            let expr = DurationExpr(word == .step ? .step : .range, start..<lastEnd)
            try requireDurationExpressions(expr)
            return expr
        case .keyword(let word) where word == .minOf || word == .maxOf:
            advance()
            guard token.kind == .leftParen else { throw unexpected(context, expected) }
            advance()
            let a = try durationExpression(1, context, expected)
            guard token.kind == .comma else { throw unexpected(context, expected) }
            advance()
            let b = try durationExpression(1, context, expected)
            guard token.kind == .rightParen else { throw unexpected(context, expected) }
            advance()
            let expr = DurationExpr(word == .minOf ? .minOf(a, b) : .maxOf(a, b), start..<lastEnd)
            try requireDurationExpressions(expr)
            return expr
        default: throw unexpected(context, expected)
        }
    }
}
