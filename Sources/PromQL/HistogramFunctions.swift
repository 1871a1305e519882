import Glibc
import MetricModel

/// Functions over histograms, native and classic.
extension Evaluator {
    func histogramCall(_ name: String, _ arguments: [Expr], _ expr: Expr, _ grid: Grid) throws -> [Column] {
        switch name {
        case "histogram_count": return try simple(arguments[0], grid) { $0.count }
        case "histogram_sum": return try simple(arguments[0], grid) { $0.sum }
        case "histogram_avg": return try simple(arguments[0], grid) { $0.sum / $0.count }
        case "histogram_stdvar": return try simple(arguments[0], grid) { variance($0) }
        case "histogram_stddev": return try simple(arguments[0], grid) { variance($0).squareRoot() }
        case "histogram_quantile":
            let q = try scalar(arguments[0], grid)
            warnOfQuantiles(q, arguments[0])
            return try quantiles(arguments[1], [q], label: nil, grid)
        case "histogram_quantiles":
            let label = try string(arguments[1])
            var all: [[Double]] = []
            for argument in arguments.dropFirst(2) {
                all.append(try scalar(argument, grid))
                warnOfQuantiles(all[all.count - 1], argument)
            }
            return try quantiles(arguments[0], all, label: label, grid)
        case "histogram_fraction":
            let lower = try scalar(arguments[0], grid)
            let upper = try scalar(arguments[1], grid)
            return try overHistograms(arguments[2], grid) { i, sample, metric, notes in
                switch sample {
                case .native(let histogram): fraction(lower[i], upper[i], histogram, metric, arguments[2], &notes)
                case .classic(let buckets): classicFraction(lower[i], upper[i], buckets)
                }
            }
        default: throw QueryError(.internalError, "the function \(name) is not implemented")
        }
    }

    private func warnOfQuantiles(_ values: [Double], _ argument: Expr) {
        for q in values where q.isNaN || q < 0 || q > 1 {
            notes.warn("quantile value should be between 0 and 1, got \(formatFloat(q, .general))", argument)
        }
    }

    private func simple(
        _ argument: Expr, _ grid: Grid, _ body: (NativeHistogram) -> Double
    ) throws -> [Column] {
        var out: [Column] = []
        for var column in try vector(argument, grid) {
            guard let histograms = column.histograms else { continue }
            column.histograms = nil
            column.values = histograms.map { $0.map(body) ?? absent }
            column.dropName = true
            if !delayedNames { column.labels = column.labels.dropping(.metricName) }
            if !column.isEmpty { out.append(column) }
        }
        return try joined(out)
    }

    private func variance(_ histogram: NativeHistogram) -> Double {
        let mean = histogram.sum / histogram.count
        var sum = KahanSum()
        for bucket in histogram.allBuckets where bucket.count != 0 {
            let value: Double
            if histogram.usesCustomBuckets {
                value = (bucket.upper + bucket.lower) / 2
            } else if bucket.lower <= 0, bucket.upper >= 0 {
                value = 0
            } else {
                let middle = (bucket.upper * bucket.lower).squareRoot()
                value = bucket.upper < 0 ? -middle : middle
            }
            let delta = value - mean
            sum.add(bucket.count * delta * delta)
        }
        return sum.total / histogram.count
    }

    // MARK: - Walking over both kinds

    private enum HistogramSample {
        case native(NativeHistogram)
        /// Ascending by upper bound.
        case classic([ClassicBucket])
    }

    /// A classic histogram: the columns of its buckets with their bounds, ascending.
    private struct ClassicHistogram {
        var labels: Labels
        var dropName: Bool
        var buckets: [(upper: Double, column: Int)] = []
    }

    private func quantiles(
        _ argument: Expr, _ qs: [[Double]], label: String?, _ grid: Grid
    ) throws -> [Column] {
        var out: [Column] = []
        for q in qs {
            var columns = try overHistograms(argument, grid) { i, sample, metric, notes in
                switch sample {
                case .native(let histogram): return nativeQuantile(q[i], histogram, metric, argument, &notes)
                case .classic(let buckets):
                    var buckets = buckets
                    let (value, mended) = classicQuantile(q[i], &buckets)
                    if let mended {
                        notes.forcedMonotonicity(
                            delayedNames ? metric : "", argument, at: grid.time(i), minBucket: mended.minBucket,
                            maxBucket: mended.maxBucket, maxDiff: mended.maxDiff)
                    }
                    return value
                }
            }
            if let label {
                // A name for each quantile: they are constant in all but the strangest queries.
                var split: [Column] = []
                var texts: [String: [Int]] = [:]
                for i in 0..<grid.count { texts[openMetricsFloat(q[i]), default: []].append(i) }
                for column in columns {
                    for (text, steps) in texts {
                        var part = column
                        var builder = LabelsBuilder(column.labels)
                        builder.set(label, text)
                        part.labels = builder.labels()
                        if texts.count > 1 {
                            part.values = [Double](repeating: absent, count: grid.count)
                            for i in steps { part.values[i] = column.values[i] }
                        }
                        split.append(part)
                    }
                }
                columns = split
            }
            out += columns
        }
        return try joined(out)
    }

    private func overHistograms(
        _ argument: Expr, _ grid: Grid,
        _ body: (_ step: Int, _ sample: HistogramSample, _ metric: String, _ notes: inout Annotations) -> Double
    ) throws -> [Column] {
        let columns = try vector(argument, grid)
        var out: [Column] = []
        var classics: [ClassicHistogram] = []
        var places: [Labels: Int] = [:]
        let le = LabelNames(["le"])
        var found = Annotations()
        for (index, column) in columns.enumerated() {
            guard column.values.contains(where: { !$0.isAbsent }) else { continue }
            let text = column.labels["le"] ?? ""
            guard let upper = parseFloat(text) else {
                var warning = "bucket label \"le\" is missing or has a malformed value of \(quoteGo(text))"
                if delayedNames { warning += " for metric name \(quoteGo(column.labels.metricName))" }
                found.warn(warning, argument)
                continue
            }
            let key = column.labels.dropping(le)
            if let place = places[key] {
                classics[place].buckets.append((upper, index))
            } else {
                places[key] = classics.count
                classics.append(
                    ClassicHistogram(labels: key, dropName: column.dropName, buckets: [(upper, index)]))
            }
        }
        // Steps at which a native histogram stands beside a classic one of the same labels: neither counts.
        var spoilt: [Int: Set<Int>] = [:]
        for column in columns where column.histograms != nil {
            var result = column
            result.histograms = nil
            let rival = places[column.labels]
            let metric = column.labels.metricName
            for i in 0..<grid.count {
                guard let histogram = column.histograms?[i] else {
                    result.values[i] = absent
                    continue
                }
                if let rival, classics[rival].buckets.contains(where: { !columns[$0.column].values[i].isAbsent }) {
                    spoilt[rival, default: []].insert(i)
                    result.values[i] = absent
                    var warning = "vector contains a mix of classic and native histograms"
                    if delayedNames { warning += " for metric name \(quoteGo(metric))" }
                    found.warn(warning, argument)
                    continue
                }
                result.values[i] = body(i, .native(histogram), delayedNames ? metric : "", &found)
            }
            unnamed(&result)
            if !result.isEmpty { out.append(result) }
        }
        for (place, classic) in classics.enumerated() {
            var buckets = classic.buckets
            // Not a number sorts nowhere: such bounds stay where they were.
            buckets.sort { $0.upper < $1.upper }
            var result = Column(labels: classic.labels, dropName: classic.dropName, values: [])
            result.values.reserveCapacity(grid.count)
            let metric = classic.labels.metricName
            var scratch: [ClassicBucket] = []
            for i in 0..<grid.count {
                scratch.removeAll(keepingCapacity: true)
                if spoilt[place]?.contains(i) != true {
                    for bucket in buckets {
                        let count = columns[bucket.column].values[i]
                        if count.isAbsent { continue }
                        if let last = scratch.indices.last, scratch[last].upper == bucket.upper {
                            scratch[last].count += count
                        } else {
                            scratch.append(ClassicBucket(upper: bucket.upper, count: count))
                        }
                    }
                }
                result.values.append(scratch.isEmpty ? absent : body(i, .classic(scratch), metric, &found))
            }
            unnamed(&result)
            if !result.isEmpty { out.append(result) }
        }
        notes.merge(found)
        return try joined(out)
    }
}

/// A float as OpenMetrics writes it: always with a point or an exponent.
private func openMetricsFloat(_ value: Double) -> String {
    if value == 1 { return "1.0" }
    if value == 0 { return "0.0" }
    if value == -1 { return "-1.0" }
    let text = formatFloat(value, .general)
    return value.isFinite && !text.contains("e") && !text.contains(".") ? text + ".0" : text
}
