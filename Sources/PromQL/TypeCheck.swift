import MetricModel

/// What a tree must hold to besides its grammar, with Prometheus' messages.
extension Parser {
    @discardableResult
    func check(_ expr: Expr) throws(ParseError) -> ValueType {
        switch expr.kind {
        case .number, .string: break
        case .matrix(let selector, _): try check(selector, expr.range)
        case .vector(let selector): try check(selector, expr.range)
        case .paren(let inner): return try check(inner)
        case .unary(_, let inner):
            let type = try check(inner)
            if type != .scalar && type != .vector {
                throw fail(
                    "unary expression only allowed on expressions of type scalar or instant vector, got \(quoteGo(type.documented))",
                    expr.range)
            }
            return type
        case .subquery(let subquery):
            let type = try check(subquery.expr)
            if type != .vector {
                throw fail("subquery is only allowed on instant vector, got \(type.rawValue) instead", expr.range)
            }
        case .aggregate(let aggregation):
            try expect(aggregation.expr, .vector, "aggregation expression")
            if let parameter = aggregation.parameter {
                try expect(
                    parameter, aggregation.op == .countValues ? .string : .scalar, "aggregation parameter")
            }
        case .binary(let binary): try check(binary, expr)
        case .call(let function, let arguments): try check(function, arguments, expr.range)
        }
        return expr.valueType
    }

    private func expect(_ expr: Expr, _ wanted: ValueType, _ context: String) throws(ParseError) {
        let type = try check(expr)
        if type != wanted {
            throw fail("expected type \(wanted.documented) in \(context), got \(type.documented)", expr.range)
        }
    }

    private func check(_ selector: VectorSelector, _ range: Range<Int>) throws(ParseError) {
        if !selector.name.isEmpty {
            // The name's own matcher is the last one.
            for matcher in selector.matchers.dropLast() where matcher.name == Labels.metricNameLabel {
                throw fail(
                    "metric name must not be set twice: \(quoteGo(selector.name)) or \(quoteGo(matcher.value))", range)
            }
            return
        }
        if selector.matchers.allSatisfy({ $0.matchesEmpty }) {
            throw fail("vector selector must contain at least one non-empty matcher", range)
        }
    }

    private func check(_ binary: Expr.Binary, _ expr: Expr) throws(ParseError) {
        let left = try check(binary.lhs)
        let right = try check(binary.rhs)
        func opRange() -> Range<Int> {
            var start = binary.lhs.range.upperBound
            while start < text.count, [32, 9, 10, 13].contains(text[start]) { start += 1 }
            return start..<max(start, binary.rhs.range.lowerBound)
        }
        let op = binary.op
        if binary.returnBool, !op.isComparison {
            throw fail("bool modifier can only be used on comparison operators", opRange())
        }
        if op.isComparison, !binary.returnBool, left == .scalar, right == .scalar {
            throw fail("comparisons between scalars must use BOOL modifier", opRange())
        }
        let matching = binary.matching
        if op.isSet, matching.cardinality != .manyToMany, left == .vector, right == .vector {
            throw fail("no grouping allowed for \(quoteGo(op.rawValue)) operation", expr.range)
        }
        if matching.on {
            for label in matching.labels where matching.include.contains(label) {
                throw fail("label \(quoteGo(label)) must not occur in ON and GROUP clause at once", opRange())
            }
        }
        if left != .scalar && left != .vector {
            throw fail("binary expression must contain only scalar and instant vector types", binary.lhs.range)
        }
        if right != .scalar && right != .vector {
            throw fail("binary expression must contain only scalar and instant vector types", binary.rhs.range)
        }
        if left != .vector || right != .vector {
            if !matching.labels.isEmpty {
                throw fail("vector matching only allowed between instant vectors", expr.range)
            }
            if matching.fillLeft != nil || matching.fillRight != nil {
                throw fail("filling in missing series only allowed between instant vectors", expr.range)
            }
            if op.isSet {
                throw fail("set operator \(quoteGo(op.rawValue)) not allowed in binary scalar expression", expr.range)
            }
        } else if op.isSet, matching.fillLeft != nil || matching.fillRight != nil {
            throw fail("filling in missing series not allowed for set operators", expr.range)
        }
    }

    private func check(_ function: Function, _ arguments: [Expr], _ range: Range<Int>) throws(ParseError) {
        let wanted = function.arguments.count
        let name = quoteGo(function.name)
        if function.variadic == 0 {
            if arguments.count != wanted {
                throw fail("expected \(wanted) argument(s) in call to \(name), got \(arguments.count)", range)
            }
        } else {
            let least = wanted - 1
            if arguments.count < least {
                throw fail("expected at least \(least) argument(s) in call to \(name), got \(arguments.count)", range)
            }
            let most = least + function.variadic
            if function.variadic > 0, arguments.count > most {
                throw fail("expected at most \(most) argument(s) in call to \(name), got \(arguments.count)", range)
            }
        }
        if function.name == "info", arguments.count > 1 {
            let second = arguments[1]
            if second.valueType != .vector {
                throw fail(
                    "expected type instant vector in call to function \(name), got \(second.valueType.documented)",
                    range)
            }
            guard case .vector(let selector) = second.kind else {
                throw fail("expected label selectors only", second.range)
            }
            if !selector.bracesOnly {
                throw fail("expected label selectors only, got vector selector instead", second.range)
            }
        }
        for (i, argument) in arguments.enumerated() {
            guard let type = i < wanted ? function.arguments[i] : function.arguments.last else { continue }
            if function.name == "info", i == 1 { continue }
            try expect(argument, type, "call to function \(name)")
        }
    }
}
