import MetricModel

/// The tree as `parse_query` of the HTTP API answers it.
extension Expr {
    /// JSON, as bytes.
    package var treeJSON: [UInt8] {
        var out = TreeWriter()
        out.write(self)
        return out.bytes
    }
}

private struct TreeWriter {
    var bytes: [UInt8] = []

    mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

    mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case 0..<0x20:
                let hex = String(byte, radix: 16)
                raw("\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex)
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }

    mutating func key(_ name: String) { raw(",\"\(name)\":") }

    mutating func strings(_ texts: [String]) {
        raw("[")
        for (i, text) in texts.enumerated() {
            if i > 0 { raw(",") }
            string(text)
        }
        raw("]")
    }

    mutating func write(_ expr: Expr) {
        switch expr.kind {
        case .number(let value, _):
            raw("{\"type\":\"numberLiteral\",\"val\":")
            string(formatFloat(value))
        case .string(let text):
            raw("{\"type\":\"stringLiteral\",\"val\":")
            string(text)
        case .paren(let inner):
            raw("{\"type\":\"parenExpr\",\"expr\":")
            write(inner)
        case .unary(let negative, let inner):
            raw("{\"type\":\"unaryExpr\",\"op\":\"\(negative ? "-" : "+")\",\"expr\":")
            write(inner)
        case .vector(let selector):
            raw("{\"type\":\"vectorSelector\"")
            write(selector)
        case .matrix(let selector, let range):
            raw("{\"type\":\"matrixSelector\"")
            key("range")
            span(range)
            write(selector)
        case .subquery(let subquery):
            raw("{\"type\":\"subquery\",\"expr\":")
            write(subquery.expr)
            key("range")
            span(subquery.range)
            key("step")
            if let step = subquery.step { span(step) } else { raw("0") }
            write(subquery.time)
        case .call(let function, let arguments):
            raw("{\"type\":\"call\",\"func\":{\"name\":")
            string(function.name)
            key("argTypes")
            strings(function.arguments.map(\.rawValue))
            key("variadic")
            raw("\(function.variadic)")
            key("returnType")
            string(function.returnType.rawValue)
            raw("},\"args\":[")
            for (i, argument) in arguments.enumerated() {
                if i > 0 { raw(",") }
                write(argument)
            }
            raw("]")
        case .aggregate(let aggregation):
            raw("{\"type\":\"aggregation\",\"op\":")
            string(aggregation.op.rawValue)
            key("expr")
            write(aggregation.expr)
            key("param")
            if let parameter = aggregation.parameter { write(parameter) } else { raw("null") }
            key("grouping")
            strings(aggregation.grouping)
            key("without")
            raw("\(aggregation.without)")
        case .binary(let binary): write(binary)
        }
        raw("}")
    }

    private mutating func write(_ binary: Expr.Binary) {
        raw("{\"type\":\"binaryExpr\",\"op\":")
        string(binary.op.rawValue)
        key("lhs")
        write(binary.lhs)
        key("rhs")
        write(binary.rhs)
        key("matching")
        if binary.lhs.valueType == .vector, binary.rhs.valueType == .vector {
            let matching = binary.matching
            raw("{\"card\":")
            string(matching.cardinality.rawValue)
            key("labels")
            strings(matching.labels)
            key("on")
            raw("\(matching.on)")
            key("include")
            strings(matching.include)
            key("fillValues")
            raw("{\"lhs\":" + (matching.fillLeft.map { formatFloat($0) } ?? "null"))
            raw(",\"rhs\":" + (matching.fillRight.map { formatFloat($0) } ?? "null") + "}}")
        } else {
            raw("null")
        }
        key("bool")
        raw("\(binary.returnBool)")
    }

    private mutating func write(_ selector: VectorSelector) {
        key("name")
        string(selector.name)
        key("matchers")
        raw("[")
        for (i, matcher) in selector.matchers.enumerated() {
            raw(i > 0 ? ",{\"name\":" : "{\"name\":")
            string(matcher.name)
            key("value")
            string(matcher.value)
            key("type")
            string(matcher.op.rawValue)
            raw("}")
        }
        raw("]")
        key("anchored")
        raw("\(selector.anchored)")
        key("smoothed")
        raw("\(selector.smoothed)")
        write(selector.time)
    }

    private mutating func write(_ time: TimeShift) {
        key("offset")
        span(time.offset)
        key("timestamp")
        if case .time(let moment) = time.at { raw("\(moment)") } else { raw("null") }
        key("startOrEnd")
        switch time.at {
        case .start: raw("\"start\"")
        case .end: raw("\"end\"")
        default: raw("null")
        }
    }

    /// Milliseconds; what is computed has no figure before it is evaluated.
    private mutating func span(_ span: Span) {
        if case .literal(let milliseconds) = span { raw("\(milliseconds)") } else { raw("0") }
    }
}
