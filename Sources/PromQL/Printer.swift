import MetricModel

/// Trees as text, in Prometheus' form.
extension Expr {
    /// One line, as Prometheus' `String()`: parses to the same tree.
    package var description: String {
        var out = ""
        write(to: &out)
        return out
    }

    private func write(to out: inout String) {
        switch kind {
        case .number(let value, let isDuration): out += printNumber(value, isDuration)
        case .string(let value): out += quoteGo(value)
        case .vector(let selector): out += selector.description
        case .matrix(let selector, let range): out += printMatrix(selector, range)
        case .subquery(let subquery):
            subquery.expr.write(to: &out)
            out += subquery.suffix
        case .call(let function, let arguments):
            out += function.name + "("
            for (i, argument) in arguments.enumerated() {
                if i > 0 { out += ", " }
                argument.write(to: &out)
            }
            out += ")"
        case .aggregate(let aggregation):
            out += aggregation.head + "("
            if let parameter = aggregation.parameter {
                parameter.write(to: &out)
                out += ", "
            }
            aggregation.expr.write(to: &out)
            out += ")"
        case .binary(let binary):
            binary.lhs.write(to: &out)
            out += " " + binary.head + " "
            binary.rhs.write(to: &out)
        case .unary(let negative, let inner):
            out += negative ? "-" : "+"
            inner.write(to: &out)
        case .paren(let inner):
            out += "("
            inner.write(to: &out)
            out += ")"
        }
    }

    /// Over several lines where it is long, as `format_query` answers.
    package func pretty(_ level: Int = 0) -> String {
        let indent = String(repeating: "  ", count: level)
        let line = description
        // Prometheus breaks what is longer than 100 characters.
        guard line.unicodeScalars.count > 100 else { return indent + line }
        switch kind {
        case .number, .string, .vector, .matrix: return indent + line
        case .subquery(let subquery): return subquery.expr.pretty(level) + subquery.suffix
        case .call(let function, let arguments):
            let inner = arguments.map { $0.pretty(level + 1) }.joined(separator: ",\n")
            return indent + function.name + "(\n" + inner + "\n" + indent + ")"
        case .aggregate(let aggregation):
            var inner = ""
            if let parameter = aggregation.parameter { inner = parameter.pretty(level + 1) + ",\n" }
            return indent + aggregation.head + "(\n" + inner + aggregation.expr.pretty(level + 1) + "\n" + indent + ")"
        case .binary(let binary):
            return binary.lhs.pretty(level + 1) + "\n" + indent + binary.head + "\n" + binary.rhs.pretty(level + 1)
        case .unary(let negative, let inner):
            let body = inner.pretty(level)
            return indent + (negative ? "-" : "+") + body.drop { $0 == " " }
        case .paren(let inner): return indent + "(\n" + inner.pretty(level + 1) + "\n" + indent + ")"
        }
    }
}

func printNumber(_ value: Double, _ isDuration: Bool) -> String {
    isDuration ? formatDuration(Int64((value * 1000).rounded())) : formatFloat(value)
}

private func printMatrix(_ selector: VectorSelector, _ range: Span) -> String {
    var plain = selector
    plain.time = TimeShift()
    plain.anchored = false
    plain.smoothed = false
    let extended = selector.anchored ? " anchored" : selector.smoothed ? " smoothed" : ""
    return plain.description + "[\(range)]" + extended + selector.time.atText + selector.time.offsetText
}

extension VectorSelector: CustomStringConvertible {
    package var description: String {
        var shown: [String] = []
        for matcher in matchers {
            let isName =
                matcher.name == Labels.metricNameLabel && matcher.op == .equal && matcher.value == name
                && !matcher.value.isEmpty
            if !isName {
                let label = isLegacyLabelName(matcher.name) ? matcher.name : quoteGo(matcher.name)
                shown.append("\(label)\(matcher.op.rawValue)\(quoteGo(matcher.value))")
            }
        }
        var out = name
        if !shown.isEmpty {
            shown.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
            out += "{" + shown.joined(separator: ",") + "}"
        } else if name.isEmpty {
            out += "{}"
        }
        out += time.atText
        if anchored { out += " anchored" } else if smoothed { out += " smoothed" }
        return out + time.offsetText
    }
}

extension TimeShift {
    var atText: String {
        switch at {
        case .none: ""
        case .start: " @ start()"
        case .end: " @ end()"
        case .time(let milliseconds): " @ \(thousandths(milliseconds))"
        }
    }

    var offsetText: String {
        if case .literal(0) = offset { return "" }
        return " offset \(offset)"
    }
}

/// Milliseconds as seconds with three decimals.
private func thousandths(_ milliseconds: Int64) -> String {
    let rest = String(milliseconds.magnitude % 1000)
    return (milliseconds < 0 ? "-" : "") + "\(milliseconds.magnitude / 1000)."
        + String(repeating: "0", count: 3 - rest.utf8.count) + rest
}

extension Span: CustomStringConvertible {
    package var description: String {
        switch self {
        case .literal(let milliseconds): formatDuration(milliseconds)
        case .computed(let expr): expr.description
        }
    }
}

extension DurationExpr: CustomStringConvertible {
    package var description: String {
        switch kind {
        case .number(let value, let isDuration): printNumber(value, isDuration)
        case .step: "step()"
        case .range: "range()"
        case .minOf(let a, let b): "min_of(\(a), \(b))"
        case .maxOf(let a, let b): "max_of(\(a), \(b))"
        case .unary(let negative, let inner): (negative ? "-" : "") + inner.description
        case .binary(let op, let a, let b): "\(a) \(op.rawValue) \(b)"
        case .paren(let inner): "(\(inner))"
        }
    }
}

extension Expr.Subquery {
    var suffix: String { "[\(range):\(step.map(\.description) ?? "")]" + time.atText + time.offsetText }
}

extension Expr.Aggregation {
    var head: String {
        if without { return "\(op.rawValue) without (\(labelList(grouping))) " }
        return grouping.isEmpty ? op.rawValue : "\(op.rawValue) by (\(labelList(grouping))) "
    }
}

extension Expr.Binary {
    var head: String {
        var out = op.rawValue
        if returnBool { out += " bool" }
        let grouped = matching.cardinality == .manyToOne || matching.cardinality == .oneToMany
        if !matching.labels.isEmpty || matching.on || grouped {
            out += matching.on ? " on (" : " ignoring ("
            out += labelList(matching.labels) + ")"
        }
        if grouped {
            out += matching.cardinality == .manyToOne ? " group_left (" : " group_right ("
            out += labelList(matching.include) + ")"
        }
        if let left = matching.fillLeft, let right = matching.fillRight, left == right {
            out += " fill (\(formatFloat(left, .general)))"
        } else {
            if let left = matching.fillLeft { out += " fill_left (\(formatFloat(left, .general)))" }
            if let right = matching.fillRight { out += " fill_right (\(formatFloat(right, .general)))" }
        }
        return out
    }
}

private func labelList(_ labels: [String]) -> String {
    labels.map { isLegacyLabelName($0) ? $0 : quoteGo($0) }.joined(separator: ", ")
}
