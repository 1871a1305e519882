import Glibc
import MetricModel

/// Functions over instant vectors and scalars.
extension Evaluator {
    func call(_ function: Function, _ arguments: [Expr], _ expr: Expr, _ grid: Grid) throws -> Evaluated {
        if let range = RangeFunction(rawValue: function.name) {
            return .vector(try rangeCall(range, arguments, expr, grid))
        }
        if let map = elementwise(function.name) { return .vector(try mapped(arguments[0], grid, map)) }
        switch function.name {
        case "time": return .scalar((0..<grid.count).map { Double(grid.time($0)) / 1000 })
        case "pi": return constant(Double.pi, grid)
        case "start": return constant(Double(queryStart) / 1000, grid)
        case "end": return constant(Double(queryEnd) / 1000, grid)
        case "range": return constant(Double(queryEnd - queryStart) / 1000, grid)
        case "step": return constant(Double(queryStep) / 1000, grid)
        case "min_of": return .scalar(zip(try scalar(arguments[0], grid), try scalar(arguments[1], grid)).map(goMin))
        case "max_of": return .scalar(zip(try scalar(arguments[0], grid), try scalar(arguments[1], grid)).map(goMax))
        case "vector": return .vector([Column(labels: .empty, values: try scalar(arguments[0], grid))])
        case "scalar": return .scalar(toScalar(try vector(arguments[0], grid), grid))
        case "absent": return .vector(try absentVector(arguments[0], grid))
        case "round", "clamp", "clamp_min", "clamp_max": return .vector(try limited(function.name, arguments, grid))
        case "timestamp": return .vector(try timestamps(arguments[0], grid))
        case "start_timestamp": return .vector([])
        case "label_replace": return .vector(try labelReplace(arguments, grid))
        case "label_join": return .vector(try labelJoin(arguments, grid))
        case "sort", "sort_desc", "sort_by_label", "sort_by_label_desc":
            return .vector(try sorted(function.name, arguments, expr, grid))
        case "info": return .vector(try info(arguments, grid))
        default:
            if let part = CalendarPart(rawValue: function.name) { return .vector(try calendar(part, arguments, grid)) }
            return .vector(try histogramCall(function.name, arguments, expr, grid))
        }
    }

    private func constant(_ value: Double, _ grid: Grid) -> Evaluated {
        .scalar([Double](repeating: value, count: grid.count))
    }

    private func elementwise(_ name: String) -> ((Double) -> Double)? {
        switch name {
        case "abs": { abs($0) }
        case "ceil": { $0.rounded(.up) }
        case "floor": { $0.rounded(.down) }
        case "sqrt": { $0.squareRoot() }
        case "exp": { exp($0) }
        case "ln": { log($0) }
        case "log2": { log2($0) }
        case "log10": { log10($0) }
        case "sin": { sin($0) }
        case "cos": { cos($0) }
        case "tan": { tan($0) }
        case "asin": { asin($0) }
        case "acos": { acos($0) }
        case "atan": { atan($0) }
        case "sinh": { sinh($0) }
        case "cosh": { cosh($0) }
        case "tanh": { tanh($0) }
        case "asinh": { asinh($0) }
        case "acosh": { acosh($0) }
        case "atanh": { atanh($0) }
        case "rad": { $0 * Double.pi / 180 }
        case "deg": { $0 * 180 / Double.pi }
        case "sgn": { $0 < 0 ? -1 : $0 > 0 ? 1 : $0 }
        default: nil
        }
    }

    /// The floats of a vector without its histograms and names.
    func floatsOnly(_ columns: [Column]) -> [Column] {
        var columns = columns
        for i in columns.indices {
            columns[i].histograms = nil
            unnamed(&columns[i])
        }
        return columns
    }

    private func mapped(_ argument: Expr, _ grid: Grid, _ body: (Double) -> Double) throws -> [Column] {
        var columns = floatsOnly(try vector(argument, grid))
        for i in columns.indices { columns[i].map(body) }
        return try joined(columns)
    }

    private func limited(_ name: String, _ arguments: [Expr], _ grid: Grid) throws -> [Column] {
        var columns = floatsOnly(try vector(arguments[0], grid))
        let first = arguments.count > 1 ? try scalar(arguments[1], grid) : [Double](repeating: 1, count: grid.count)
        let second = arguments.count > 2 ? try scalar(arguments[2], grid) : first
        for c in columns.indices {
            for i in 0..<grid.count {
                let value = columns[c].values[i]
                if value.isAbsent { continue }
                switch name {
                case "round":
                    // Prometheus divides by the inverse, which keeps more decimal steps exact.
                    let inverse = 1.0 / first[i]
                    columns[c].values[i] = (value * inverse + 0.5).rounded(.down) / inverse
                case "clamp":
                    columns[c].values[i] =
                        second[i] < first[i] ? absent : goMax(first[i], goMin(second[i], value))
                case "clamp_min": columns[c].values[i] = goMax(first[i], value)
                default: columns[c].values[i] = goMin(first[i], value)
                }
            }
        }
        return try joined(columns)
    }

    private func toScalar(_ columns: [Column], _ grid: Grid) -> [Double] {
        var out = [Double](repeating: absent, count: grid.count)
        var counts = [Int](repeating: 0, count: grid.count)
        for column in columns {
            for i in 0..<grid.count where !column.values[i].isAbsent {
                counts[i] += 1
                out[i] = column.values[i]
            }
        }
        for i in 0..<grid.count where counts[i] != 1 { out[i] = .nan }
        return out
    }

    private func absentVector(_ argument: Expr, _ grid: Grid) throws -> [Column] {
        var values = [Double](repeating: 1, count: grid.count)
        for column in try vector(argument, grid) {
            for i in 0..<grid.count where column.isPresent(i) { values[i] = absent }
        }
        let column = Column(labels: absentLabels(argument), values: values)
        return column.isEmpty ? [] : [column]
    }

    private func timestamps(_ argument: Expr, _ grid: Grid) throws -> [Column] {
        if case .vector(let selector) = argument.unwrapped.kind, !selector.smoothed {
            return try sampleTimes(selector, grid)
        }
        var columns = try vector(argument, grid)
        for c in columns.indices {
            for i in 0..<grid.count where columns[c].isPresent(i) {
                columns[c].values[i] = Double(grid.time(i)) / 1000
            }
            columns[c].histograms = nil
            unnamed(&columns[c])
        }
        return try joined(columns)
    }

    // MARK: - Calendar

    private enum CalendarPart: String {
        case daysInMonth = "days_in_month"
        case dayOfMonth = "day_of_month"
        case dayOfWeek = "day_of_week"
        case dayOfYear = "day_of_year"
        case hour, minute, month, year

        private static let last: [CalendarPart: Double] = [
            .daysInMonth: 31, .dayOfMonth: 4, .dayOfWeek: 0, .dayOfYear: 339, .hour: 15, .minute: 30, .month: 12,
            .year: 292_277_026_596,
        ]

        func value(_ seconds: Double) -> Double {
            // What does not fit an Int64 becomes its least value on Prometheus' usual machine, and Go's calendar wraps that
            // around to its last year.
            guard seconds.isFinite, abs(seconds) < 9.2e18 else { return CalendarPart.last[self] ?? .nan }
            let time = CivilTime(seconds: Int64(seconds))
            switch self {
            case .daysInMonth: return Double(time.daysInMonth)
            case .dayOfMonth: return Double(time.day)
            case .dayOfWeek: return Double(time.weekday)
            case .dayOfYear: return Double(time.dayOfYear)
            case .hour: return Double(time.hour)
            case .minute: return Double(time.minute)
            case .month: return Double(time.month)
            case .year: return Double(time.year)
            }
        }
    }

    private func calendar(_ part: CalendarPart, _ arguments: [Expr], _ grid: Grid) throws -> [Column] {
        guard let argument = arguments.first else {
            return [
                Column(labels: .empty, values: (0..<grid.count).map { part.value(Double(grid.time($0)) / 1000) })
            ]
        }
        return try mapped(argument, grid, part.value)
    }
}

/// Go's `math.Min`: NaN wins, and -0 is below 0.
func goMin(_ a: Double, _ b: Double) -> Double {
    if a == -.infinity || b == -.infinity { return -.infinity }
    if a.isNaN || b.isNaN { return .nan }
    if a == 0, b == 0 { return a.sign == .minus ? a : b }
    return a < b ? a : b
}

/// Go's `math.Max`.
func goMax(_ a: Double, _ b: Double) -> Double {
    if a == .infinity || b == .infinity { return .infinity }
    if a.isNaN || b.isNaN { return .nan }
    if a == 0, b == 0 { return a.sign == .minus ? b : a }
    return a > b ? a : b
}
