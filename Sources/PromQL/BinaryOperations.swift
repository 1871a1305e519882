import Glibc
import MetricModel

/// Arithmetic and comparison of two floats; comparisons give 1 or 0.
func scalarArithmetic(_ op: BinaryOperator, _ a: Double, _ b: Double) -> Double {
    switch op {
    case .add: a + b
    case .subtract: a - b
    case .multiply: a * b
    case .divide: a / b
    case .modulo: fmod(a, b)
    case .power: pow(a, b)
    case .atan2: atan2(a, b)
    case .equal: a == b ? 1 : 0
    case .notEqual: a != b ? 1 : 0
    case .less: a < b ? 1 : 0
    case .greater: a > b ? 1 : 0
    case .lessOrEqual: a <= b ? 1 : 0
    case .greaterOrEqual: a >= b ? 1 : 0
    case .and, .or, .unless, .trimUpper, .trimLower: .nan
    }
}

/// What becomes of one pair of samples.
enum PairResult {
    case float(Double, keep: Bool)
    case histogram(NativeHistogram, keep: Bool)
    /// No result; the reason is annotated.
    case none
}

extension Evaluator {
    func binaryOperation(_ binary: Expr.Binary, _ expr: Expr, _ grid: Grid) throws -> Evaluated {
        let left = try evaluate(binary.lhs, grid)
        let right = try evaluate(binary.rhs, grid)
        switch (left, right) {
        case (.scalar(let a), .scalar(let b)):
            return .scalar(zip(a, b).map { scalarArithmetic(binary.op, $0, $1) })
        case (.vector(let columns), .scalar(let values)):
            return .vector(try withScalar(binary, columns, values, scalarIsLeft: false, expr, grid))
        case (.scalar(let values), .vector(let columns)):
            return .vector(try withScalar(binary, columns, values, scalarIsLeft: true, expr, grid))
        case (.vector(let a), .vector(let b)):
            let result =
                binary.op.isSet
                ? try setOperation(binary, a, b, grid) : try matched(binary, a, b, expr, grid)
            try hold(result.count * grid.count)
            release((a.count + b.count) * grid.count)
            return .vector(result)
        default: throw QueryError(.internalError, "an operator got a string")
        }
    }

    // MARK: - Vector and scalar

    private func withScalar(
        _ binary: Expr.Binary, _ columns: [Column], _ scalars: [Double], scalarIsLeft: Bool, _ expr: Expr,
        _ grid: Grid
    ) throws -> [Column] {
        let op = binary.op
        var out: [Column] = []
        out.reserveCapacity(columns.count)
        for var column in columns {
            if column.histograms != nil {
                histogramsWithScalar(binary, &column, scalars, scalarIsLeft, expr)
            } else if op.isComparison {
                compare(op, &column.values, scalars, scalarIsLeft, binary.returnBool)
            } else if op == .trimUpper || op == .trimLower {
                if column.values.contains(where: { !$0.isAbsent }) { noteTypes("float", op, "float", expr) }
                column.values = [Double](repeating: absent, count: grid.count)
            } else {
                compute(op, &column.values, scalars, scalarIsLeft)
            }
            if op.changesMetric || binary.returnBool { unnamed(&column) }
            out.append(column)
        }
        return op.changesMetric || binary.returnBool ? try joined(out) : out
    }

    private func compute(
        _ op: BinaryOperator, _ values: inout [Double], _ scalars: [Double], _ scalarIsLeft: Bool
    ) {
        @inline(__always)
        func run(_ body: (Double, Double) -> Double) {
            values.withUnsafeMutableBufferPointer { values in
                scalars.withUnsafeBufferPointer { scalars in
                    for i in values.indices {
                        let value = values[i]
                        let result = scalarIsLeft ? body(scalars[i], value) : body(value, scalars[i])
                        values[i] = value.isAbsent ? value : result
                    }
                }
            }
        }
        switch op {
        case .add: run { $0 + $1 }
        case .subtract: run { $0 - $1 }
        case .multiply: run { $0 * $1 }
        case .divide: run { $0 / $1 }
        default: run { scalarArithmetic(op, $0, $1) }
        }
    }

    private func compare(
        _ op: BinaryOperator, _ values: inout [Double], _ scalars: [Double], _ scalarIsLeft: Bool, _ returnBool: Bool
    ) {
        @inline(__always)
        func run(_ body: (Double, Double) -> Bool) {
            values.withUnsafeMutableBufferPointer { values in
                scalars.withUnsafeBufferPointer { scalars in
                    for i in values.indices {
                        let value = values[i]
                        if value.isAbsent { continue }
                        let keep = scalarIsLeft ? body(scalars[i], value) : body(value, scalars[i])
                        if returnBool { values[i] = keep ? 1 : 0 } else if !keep { values[i] = absent }
                    }
                }
            }
        }
        switch op {
        case .equal: run { $0 == $1 }
        case .notEqual: run { $0 != $1 }
        case .less: run { $0 < $1 }
        case .greater: run { $0 > $1 }
        case .lessOrEqual: run { $0 <= $1 }
        default: run { $0 >= $1 }
        }
    }

    private func histogramsWithScalar(
        _ binary: Expr.Binary, _ column: inout Column, _ scalars: [Double], _ scalarIsLeft: Bool, _ expr: Expr
    ) {
        for i in column.values.indices where column.isPresent(i) {
            let value = column.values[i]
            let histogram = column.histograms?[i]
            let result =
                scalarIsLeft
                ? pair(binary.op, scalars[i], nil, value, histogram, expr)
                : pair(binary.op, value, histogram, scalars[i], nil, expr)
            column.clear(i)
            switch result {
            case .none: break
            case .float(let computed, let keep):
                if binary.returnBool {
                    column.values[i] = keep ? 1 : 0
                } else if keep {
                    column.values[i] = binary.op.isComparison ? value : computed
                }
            case .histogram(let computed, let keep):
                if binary.returnBool {
                    column.values[i] = keep ? 1 : 0
                } else if keep {
                    column.set(i, computed)
                }
            }
        }
        if column.histograms?.allSatisfy({ $0 == nil }) == true { column.histograms = nil }
    }

    // MARK: - Pairs

    func noteTypes(_ left: String, _ op: BinaryOperator, _ right: String, _ expr: Expr) {
        notes.info(
            "incompatible sample types encountered for binary operator \(quoteGo(op.rawValue)): \(left) \(op.rawValue) \(right)",
            expr)
    }

    /// One operation on two samples; where a histogram is not nil, the sample is that.
    func pair(
        _ op: BinaryOperator, _ a: Double, _ ha: NativeHistogram?, _ b: Double, _ hb: NativeHistogram?, _ expr: Expr
    ) -> PairResult {
        switch (ha, hb) {
        case (nil, nil):
            if op == .trimUpper || op == .trimLower {
                noteTypes("float", op, "float", expr)
                return .none
            }
            let result = scalarArithmetic(op, a, b)
            return op.isComparison ? .float(a, keep: result == 1) : .float(result, keep: true)
        case (nil, let hb?):
            guard op == .multiply else {
                noteTypes("float", op, "histogram", expr)
                return .none
            }
            var result = hb
            result.scale(by: a)
            result.compact()
            return .histogram(result, keep: true)
        case (let ha?, nil):
            var result = ha
            switch op {
            case .multiply: result.scale(by: b)
            case .divide: result.divide(by: b)
            case .trimUpper, .trimLower:
                result.trim(at: b, upper: op == .trimUpper)
                return .histogram(result, keep: true)
            default:
                noteTypes("histogram", op, "float", expr)
                return .none
            }
            result.compact()
            return .histogram(result, keep: true)
        case (let ha?, let hb?):
            switch op {
            case .equal: return .histogram(ha, keep: ha.equals(hb))
            case .notEqual: return .histogram(ha, keep: !ha.equals(hb))
            case .add, .subtract:
                var result = ha
                let outcome: NativeHistogram.Combination
                do {
                    outcome = op == .add ? try result.add(hb) : try result.subtract(hb)
                } catch {
                    notes.warn("incompatible bucket layout encountered for binary operator \(op.rawValue)", expr)
                    return .none
                }
                let word = op == .add ? "addition" : "subtraction"
                if outcome.resetCollision {
                    notes.warn("conflicting counter resets during histogram \(word)", expr)
                }
                if outcome.reconciledBounds {
                    notes.info("mismatched custom buckets were reconciled during \(word)", expr)
                }
                if op == .subtract { result.counterResetHint = .gauge }
                result.compact()
                return .histogram(result, keep: true)
            default:
                noteTypes("histogram", op, "histogram", expr)
                return .none
            }
        }
    }
}
