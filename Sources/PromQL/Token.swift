import MetricModel

/// The kinds of token of the query language. Keywords and aggregators are words that the parser may also read as names.
enum TokenKind: Equatable, Sendable {
    case end, error
    case identifier, metricIdentifier, string, number, duration
    case leftParen, rightParen, leftBrace, rightBrace, leftBracket, rightBracket
    case comma, equal, regexEqual, regexNotEqual, colon, at
    case op(BinaryOperator)
    case aggregator(Aggregator)
    case keyword(Keyword)
}

/// Words with a meaning of their own that are neither operators nor aggregators.
enum Keyword: String, Sendable {
    case offset, anchored, smoothed, by, without, on, ignoring, fill, bool
    case groupLeft = "group_left"
    case groupRight = "group_right"
    case fillLeft = "fill_left"
    case fillRight = "fill_right"
    case start, end, step, range
    case maxOf = "max_of"
    case minOf = "min_of"

    /// Words that name query-wide figures: Prometheus calls them preprocessors and prints them as plain words.
    var isPreprocessor: Bool {
        switch self {
        case .start, .end, .step, .range, .maxOf, .minOf: true
        default: false
        }
    }
}

struct Token: Sendable {
    var kind: TokenKind
    /// Byte offsets into the query.
    var range: Range<Int>
    /// The token's text; for `.error` the message.
    var text: String

    /// How Prometheus' messages name the token.
    var shown: String {
        switch kind {
        case .end: return "end of input"
        case .error: return text
        case .identifier: return "identifier \(quoteGo(text))"
        case .metricIdentifier: return "metric identifier \(quoteGo(text))"
        case .string: return "string \(quotedShort)"
        case .number: return "number \(quotedShort)"
        case .duration: return "duration \(quotedShort)"
        case .op, .regexEqual, .regexNotEqual, .at: return "<op:\(text)>"
        case .aggregator: return "<aggr:\(text)>"
        case .keyword(let word): return word.isPreprocessor ? quotedShort : "<\(text)>"
        default: return quotedShort
        }
    }

    private var quotedShort: String {
        text.utf8.count > 10 ? quoteGo(String(text.unicodeScalars.prefix(10))) + "..." : quoteGo(text)
    }
}

/// Binary operators.
package enum BinaryOperator: String, Sendable, Hashable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case modulo = "%"
    case power = "^"
    case atan2
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case greater = ">"
    case lessOrEqual = "<="
    case greaterOrEqual = ">="
    case trimUpper = "</"
    case trimLower = ">/"
    case and, or, unless

    /// Higher binds tighter.
    var precedence: Int {
        switch self {
        case .or: 1
        case .and, .unless: 2
        case .equal, .notEqual, .less, .greater, .lessOrEqual, .greaterOrEqual, .trimUpper, .trimLower: 3
        case .add, .subtract: 4
        case .multiply, .divide, .modulo, .atan2: 5
        case .power: 6
        }
    }

    package var isComparison: Bool {
        switch self {
        case .equal, .notEqual, .less, .greater, .lessOrEqual, .greaterOrEqual: true
        default: false
        }
    }

    package var isSet: Bool { self == .and || self == .or || self == .unless }

    var isWord: Bool { isSet || self == .atan2 }

    /// Whether the result is another metric than the operands', so that its name goes.
    var changesMetric: Bool {
        switch self {
        case .add, .subtract, .multiply, .divide, .modulo, .power, .atan2: true
        default: false
        }
    }
}

/// Aggregation operators.
package enum Aggregator: String, Sendable, Hashable {
    case sum, avg, count, min, max, group, stddev, stdvar, topk, bottomk, quantile, limitk
    case countValues = "count_values"
    case limitRatio = "limit_ratio"

    package var takesParameter: Bool {
        switch self {
        case .topk, .bottomk, .quantile, .limitk, .limitRatio, .countValues: true
        default: false
        }
    }

    var isExperimental: Bool { self == .limitk || self == .limitRatio }
}
