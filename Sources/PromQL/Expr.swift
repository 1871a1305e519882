package import MetricModel

/// What an expression yields.
package enum ValueType: String, Sendable {
    case scalar, string, vector, matrix, none

    /// As Prometheus' messages call it.
    package var documented: String {
        switch self {
        case .vector: "instant vector"
        case .matrix: "range vector"
        default: rawValue
        }
    }
}

/// A node of a query's tree. Immutable, so safe to share.
package final class Expr: Sendable, CustomStringConvertible {
    package let kind: Kind
    /// Byte offsets into the query.
    package let range: Range<Int>
    /// Nodes on the longest way down, this one counted; bounded by the parser.
    let depth: Int

    package enum Kind: Sendable {
        case number(Double, isDuration: Bool)
        case string(String)
        case vector(VectorSelector)
        case matrix(VectorSelector, range: Span)
        case subquery(Subquery)
        case call(Function, [Expr])
        case aggregate(Aggregation)
        case binary(Binary)
        case unary(negative: Bool, Expr)
        case paren(Expr)
    }

    package struct Subquery: Sendable {
        package var expr: Expr
        package var range: Span
        /// Nil: the engine's default interval.
        package var step: Span?
        package var time: TimeShift
    }

    package struct Aggregation: Sendable {
        package var op: Aggregator
        package var expr: Expr
        package var parameter: Expr?
        package var grouping: [String]
        package var without: Bool
    }

    package struct Binary: Sendable {
        package var op: BinaryOperator
        package var lhs: Expr
        package var rhs: Expr
        package var returnBool: Bool
        package var matching: VectorMatching
    }

    init(_ kind: Kind, _ range: Range<Int>) {
        self.kind = kind
        self.range = range
        var deepest = 0
        for child in Self.children(kind) { deepest = Swift.max(deepest, child.depth) }
        depth = deepest + 1
    }

    package var children: [Expr] { Self.children(kind) }

    private static func children(_ kind: Kind) -> [Expr] {
        switch kind {
        case .number, .string, .vector, .matrix: []
        case .subquery(let subquery): [subquery.expr]
        case .call(_, let arguments): arguments
        case .aggregate(let aggregation):
            if let parameter = aggregation.parameter { [parameter, aggregation.expr] } else { [aggregation.expr] }
        case .binary(let binary): [binary.lhs, binary.rhs]
        case .unary(_, let inner), .paren(let inner): [inner]
        }
    }

    package var valueType: ValueType {
        switch kind {
        case .number: .scalar
        case .string: .string
        case .vector: .vector
        case .matrix, .subquery: .matrix
        case .call(let function, _): function.returnType
        case .aggregate: .vector
        case .binary(let binary):
            binary.lhs.valueType == .scalar && binary.rhs.valueType == .scalar ? .scalar : .vector
        case .unary(_, let inner), .paren(let inner): inner.valueType
        }
    }

    /// Every selector below, in order of the text.
    package var selectors: [VectorSelector] {
        var out: [VectorSelector] = []
        visit {
            if case .vector(let selector) = $0.kind {
                out.append(selector)
            } else if case .matrix(let selector, _) = $0.kind {
                out.append(selector)
            }
        }
        return out
    }

    /// Calls `body` with this node and all below it, parents first.
    package func visit(_ body: (Expr) -> Void) {
        body(self)
        for child in children { child.visit(body) }
    }

    /// Without parentheses around it.
    var unwrapped: Expr {
        var expr = self
        while case .paren(let inner) = expr.kind { expr = inner }
        return expr
    }
}

/// How vectors are matched in a binary operation.
package struct VectorMatching: Sendable {
    package enum Cardinality: String, Sendable {
        case oneToOne = "one-to-one"
        case manyToOne = "many-to-one"
        case oneToMany = "one-to-many"
        case manyToMany = "many-to-many"
    }

    package var cardinality = Cardinality.oneToOne
    package var labels: [String] = []
    package var on = false
    package var include: [String] = []
    package var fillLeft: Double?
    package var fillRight: Double?
}

/// Where a selector or subquery looks instead of at the evaluation time.
package struct TimeShift: Sendable {
    package enum At: Sendable, Equatable {
        case none, start, end
        /// Milliseconds since 1970 UTC.
        case time(Int64)
    }

    package var at = At.none
    package var offset = Span.literal(0)

    package init() {}

    var isSet: Bool { at != .none || !offset.isZero }
}

/// A duration as written: figures, or arithmetic that the query's step and range take part in.
package indirect enum Span: Sendable {
    /// Milliseconds.
    case literal(Int64)
    case computed(DurationExpr)

    var isZero: Bool { if case .literal(0) = self { true } else { false } }
}

/// Arithmetic over durations, in seconds.
package final class DurationExpr: Sendable {
    package enum Kind: Sendable {
        case number(Double, isDuration: Bool)
        case step
        case range
        case minOf(DurationExpr, DurationExpr)
        case maxOf(DurationExpr, DurationExpr)
        case unary(negative: Bool, DurationExpr)
        case binary(BinaryOperator, DurationExpr, DurationExpr)
        case paren(DurationExpr)
    }

    package let kind: Kind
    package let range: Range<Int>
    let depth: Int

    init(_ kind: Kind, _ range: Range<Int>) {
        self.kind = kind
        self.range = range
        switch kind {
        case .number, .step, .range: depth = 1
        case .unary(_, let inner), .paren(let inner): depth = inner.depth + 1
        case .minOf(let a, let b), .maxOf(let a, let b), .binary(_, let a, let b): depth = max(a.depth, b.depth) + 1
        }
    }
}

/// An instant selector.
package struct VectorSelector: Sendable {
    /// The metric name where it was written before the braces, or as a quoted name in them.
    package var name: String
    /// All matchers, the one for the name among them.
    package var matchers: [LabelMatcher]
    package var time = TimeShift()
    package var anchored = false
    package var smoothed = false
    /// Whether it was written with braces only, as `info` wants its second argument.
    var bracesOnly = false
}
