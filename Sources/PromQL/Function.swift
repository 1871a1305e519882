/// A function of the language: its signature. What it does is in `FunctionCalls` and `RangeFunctions`.
package struct Function: Sendable, Hashable {
    package let name: String
    package let arguments: [ValueType]
    /// 0: exactly the arguments; n > 0: the last n may be left out or n-1 more may follow; below 0: any number more.
    package let variadic: Int
    package let returnType: ValueType
    package let experimental: Bool

    package static func == (a: Function, b: Function) -> Bool { a.name == b.name }
    package func hash(into hasher: inout Hasher) { hasher.combine(name) }

    private init(
        _ name: String, _ arguments: [ValueType], variadic: Int = 0, returns: ValueType = .vector,
        experimental: Bool = false
    ) {
        self.name = name
        self.arguments = arguments
        self.variadic = variadic
        returnType = returns
        self.experimental = experimental
    }

    /// Every function by its name.
    package static let all: [String: Function] = {
        var out: [String: Function] = [:]
        func add(_ function: Function) { out[function.name] = function }
        for name in [
            "abs", "absent", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg", "exp",
            "floor", "histogram_avg", "histogram_count", "histogram_sum", "histogram_stddev", "histogram_stdvar", "ln",
            "log10", "log2", "rad", "sgn", "sin", "sinh", "sort", "sort_desc", "sqrt", "tan", "tanh", "timestamp",
        ] { add(Function(name, [.vector])) }
        for name in [
            "absent_over_time", "avg_over_time", "changes", "count_over_time", "delta", "deriv", "first_over_time",
            "idelta", "increase", "irate", "last_over_time", "max_over_time", "min_over_time", "present_over_time",
            "rate", "resets", "stddev_over_time", "stdvar_over_time", "sum_over_time",
        ] { add(Function(name, [.matrix])) }
        for name in [
            "mad_over_time", "ts_of_first_over_time", "ts_of_last_over_time", "ts_of_max_over_time",
            "ts_of_min_over_time",
        ] { add(Function(name, [.matrix], experimental: true)) }
        for name in [
            "days_in_month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute", "month", "year",
        ] { add(Function(name, [.vector], variadic: 1)) }
        for name in ["end", "range", "start", "step"] {
            add(Function(name, [], returns: .scalar, experimental: true))
        }
        for name in ["max_of", "min_of"] {
            add(Function(name, [.scalar, .scalar], returns: .scalar, experimental: true))
        }
        add(Function("clamp", [.vector, .scalar, .scalar]))
        add(Function("clamp_max", [.vector, .scalar]))
        add(Function("clamp_min", [.vector, .scalar]))
        add(Function("histogram_fraction", [.scalar, .scalar, .vector]))
        add(Function("histogram_quantile", [.scalar, .vector]))
        add(
            Function(
                "histogram_quantiles", [.vector, .string, .scalar, .scalar], variadic: 9, experimental: true))
        add(Function("double_exponential_smoothing", [.matrix, .scalar, .scalar], experimental: true))
        add(Function("info", [.vector, .vector], variadic: 1, experimental: true))
        add(Function("label_replace", [.vector, .string, .string, .string, .string]))
        add(Function("label_join", [.vector, .string, .string, .string], variadic: -1))
        add(Function("pi", [], returns: .scalar))
        add(Function("predict_linear", [.matrix, .scalar]))
        add(Function("quantile_over_time", [.scalar, .matrix]))
        add(Function("round", [.vector, .scalar], variadic: 1))
        add(Function("scalar", [.vector], returns: .scalar))
        add(Function("sort_by_label", [.vector, .string], variadic: -1, experimental: true))
        add(Function("sort_by_label_desc", [.vector, .string], variadic: -1, experimental: true))
        add(Function("start_timestamp", [.vector], experimental: true))
        add(Function("time", [], returns: .scalar))
        add(Function("vector", [.scalar]))
        return out
    }()

    /// Functions whose value depends on the evaluation time even where their arguments do not.
    var dependsOnTime: Bool {
        switch name {
        case "days_in_month", "day_of_month", "day_of_week", "day_of_year", "hour", "minute", "month", "year",
            "predict_linear", "time", "timestamp", "start_timestamp":
            true
        default: false
        }
    }
}
