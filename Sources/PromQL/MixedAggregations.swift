import MetricModel

/// Aggregations of groups that have histograms, step by step.
extension Evaluator {
    func aggregateMixed(
        _ aggregation: Expr.Aggregation, _ members: [Column], _ quantiles: [Double], _ grid: Grid,
        _ out: inout Column
    ) {
        out.values = [Double](repeating: absent, count: grid.count)
        for i in 0..<grid.count {
            switch aggregation.op {
            case .sum, .avg: addUp(aggregation, members, i, &out)
            case .count, .group:
                let present = members.reduce(0) { $0 + ($1.isPresent(i) ? 1 : 0) }
                if present > 0 { out.values[i] = aggregation.op == .group ? 1 : Double(present) }
            default:
                var floats: [Double] = []
                for column in members {
                    if !column.values[i].isAbsent {
                        floats.append(column.values[i])
                    } else if column.isPresent(i) {
                        notes.info("ignored histogram in \(aggregation.op.rawValue) aggregation", aggregation.expr)
                    }
                }
                if !floats.isEmpty { out.values[i] = reduce(aggregation.op, &floats, quantiles, i) }
            }
        }
    }

    private func reduce(_ op: Aggregator, _ floats: inout [Double], _ quantiles: [Double], _ i: Int) -> Double {
        switch op {
        case .min: return floats.dropFirst().reduce(floats[0]) { $0 > $1 || $0.isNaN ? $1 : $0 }
        case .max: return floats.dropFirst().reduce(floats[0]) { $0 < $1 || $0.isNaN ? $1 : $0 }
        case .quantile: return quantile(quantiles[i], &floats)
        default:
            var count = 1.0
            var mean = floats[0]
            var squares = floats[0].isFinite ? 0 : Double.nan
            for value in floats.dropFirst() {
                count += 1
                let delta = value - mean
                mean += delta / count
                squares += delta * (value - mean)
            }
            let variance = squares / count
            return op == .stddev ? variance.squareRoot() : variance
        }
    }

    private func addUp(_ aggregation: Expr.Aggregation, _ members: [Column], _ i: Int, _ out: inout Column) {
        let mean = aggregation.op == .avg
        var floatSum: KahanSum?
        var floatMean: RunningMean?
        var histograms: HistogramMean?
        var hints: Set<NativeHistogram.CounterResetHint> = []
        var incompatible = false
        var hasHistogram = false
        for column in members {
            if let histogram = column.histograms?[i] {
                hasHistogram = true
                if floatSum != nil || floatMean != nil || incompatible { continue }
                hints.insert(histogram.counterResetHint)
                guard histograms != nil else {
                    histograms = HistogramMean(histogram)
                    continue
                }
                do {
                    let outcome =
                        try mean ? histograms?.addToMean(histogram) : histograms?.addToSum(histogram)
                    if outcome?.reconciledBounds == true {
                        notes.info(
                            "mismatched custom buckets were reconciled during aggregation", aggregation.expr)
                    }
                } catch {
                    notes.warn(
                        "vector contains a mix of histograms with exponential and custom buckets schemas for metric name \(quoteGo(column.labels.metricName))",
                        aggregation.expr)
                    incompatible = true
                }
            } else if !column.values[i].isAbsent {
                let value = column.values[i]
                if mean {
                    if floatMean?.add(value) == nil { floatMean = RunningMean(first: value) }
                } else {
                    if floatSum?.add(value) == nil { floatSum = KahanSum(value) }
                }
            }
        }
        if hasHistogram, floatSum != nil || floatMean != nil {
            notes.warn("encountered a mix of histograms and floats for aggregation", aggregation.expr)
            return
        }
        if incompatible { return }
        if hints.contains(.reset), hints.contains(.notReset) {
            notes.warn("conflicting counter resets during histogram aggregation", aggregation.expr)
        }
        if let histograms {
            out.set(i, mean ? histograms.mean : histograms.sum)
        } else if let floatSum {
            out.values[i] = floatSum.total
        } else if let floatMean {
            out.values[i] = floatMean.mean
        }
    }
}
