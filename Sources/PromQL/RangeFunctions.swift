import MetricModel

/// Functions over range vectors.
enum RangeFunction: String, Sendable {
    case absentOverTime = "absent_over_time"
    case avgOverTime = "avg_over_time"
    case changes
    case countOverTime = "count_over_time"
    case delta
    case deriv
    case doubleExponentialSmoothing = "double_exponential_smoothing"
    case firstOverTime = "first_over_time"
    case idelta
    case increase
    case irate
    case lastOverTime = "last_over_time"
    case madOverTime = "mad_over_time"
    case maxOverTime = "max_over_time"
    case minOverTime = "min_over_time"
    case predictLinear = "predict_linear"
    case presentOverTime = "present_over_time"
    case quantileOverTime = "quantile_over_time"
    case rate
    case resets
    case stddevOverTime = "stddev_over_time"
    case stdvarOverTime = "stdvar_over_time"
    case sumOverTime = "sum_over_time"
    case tsOfFirstOverTime = "ts_of_first_over_time"
    case tsOfLastOverTime = "ts_of_last_over_time"
    case tsOfMaxOverTime = "ts_of_max_over_time"
    case tsOfMinOverTime = "ts_of_min_over_time"

    var keepsName: Bool { self == .lastOverTime || self == .firstOverTime }

    /// Whether histograms are left out, with an info where there are floats too.
    var ignoresHistograms: Bool {
        switch self {
        case .deriv, .doubleExponentialSmoothing, .madOverTime, .maxOverTime, .minOverTime, .predictLinear,
            .quantileOverTime, .stddevOverTime, .stdvarOverTime, .tsOfMaxOverTime, .tsOfMinOverTime:
            true
        default: false
        }
    }
}

/// One call of a range function: what it needs besides a series. Free of side effects, so that series can be worked on
/// side by side.
struct RangeCall: Sendable {
    let function: RangeFunction
    let windows: Windows
    /// Scalar arguments, a value for each step.
    let scalars: [[Double]]
    /// What annotations are about.
    let argument: Expr
    let call: Expr
    let typeLabels: Bool
    /// Asked now and then whether to go on.
    let control: QueryControl
    /// Whether the selector names a metric that is a counter by its name, so that no series needs to be asked.
    private let namesCounter: Bool

    init(
        function: RangeFunction, windows: Windows, scalars: [[Double]], argument: Expr, call: Expr, typeLabels: Bool,
        control: QueryControl
    ) {
        (self.function, self.windows, self.scalars) = (function, windows, scalars)
        (self.argument, self.call, self.typeLabels, self.control) = (argument, call, typeLabels, control)
        var name = ""
        if case .matrix(let selector, _) = argument.unwrapped.kind { name = selector.name }
        namesCounter = !typeLabels && counterEndings.contains { name.utf8.suffix($0.count).elementsEqual($0) }
    }

    var grid: Grid { windows.grid }

    /// The function's values for one series; nil where there are none.
    func column(_ series: RangeSeries, _ notes: inout Annotations) -> Column? {
        var column = Column(labels: series.labels, values: [])
        if series.histograms.isEmpty {
            guard !series.times.isEmpty else { return nil }
            column.values = floats(series)
        } else if function.ignoresHistograms {
            guard !series.times.isEmpty else { return nil }
            column.values = floats(series)
            noteIgnoredHistograms(series, column, &notes)
        } else {
            column = mixed(series, &notes)
        }
        if column.isEmpty { return nil }
        if !namesCounter, function == .rate || function == .increase { noteCounterName(series, column, &notes) }
        column.dropName = series.dropName
        return column
    }

    private func noteIgnoredHistograms(_ series: RangeSeries, _ column: Column, _ notes: inout Annotations) {
        var counts = [Int](repeating: 0, count: grid.count)
        series.histogramTimes.withUnsafeBufferPointer { times in
            windows.slide(times) { step, from, to in counts[step] = to - from }
        }
        var floatCounts = [Int](repeating: 0, count: grid.count)
        series.times.withUnsafeBufferPointer { times in
            windows.slide(times) { step, from, to in floatCounts[step] = to - from }
        }
        if (0..<grid.count).contains(where: { counts[$0] > 0 && floatCounts[$0] > 0 }) {
            notes.info(
                "ignored histograms in a range containing both floats and histograms for metric name \(quoteGo(series.labels.metricName))",
                argument)
        }
    }

    private func noteCounterName(_ series: RangeSeries, _ column: Column, _ notes: inout Annotations) {
        guard column.values.contains(where: { !$0.isAbsent }) else { return }
        if !typeLabels, series.labels.metricNameEnds(with: counterEndings) { return }
        let name = series.labels.metricName
        guard !name.isEmpty else { return }
        if typeLabels {
            let type = series.labels["__type__"] ?? ""
            if type != "counter", type != "histogram" {
                notes.info(
                    "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got \(quoteGo(type)): \(quoteGo(name))",
                    argument)
            }
        } else {
            notes.info(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \(quoteGo(name))",
                argument)
        }
    }
}

extension Evaluator {
    func rangeCall(_ function: RangeFunction, _ arguments: [Expr], _ expr: Expr, _ grid: Grid) throws -> [Column] {
        let place = function == .quantileOverTime ? 1 : 0
        var scalars: [[Double]] = []
        for (i, argument) in arguments.enumerated() where i != place { scalars.append(try scalar(argument, grid)) }
        try checkParameters(function, scalars, arguments)
        if case .matrix(let selector, _) = arguments[place].unwrapped.kind, selector.anchored || selector.smoothed {
            return try extendedCall(function, selector, arguments[place], expr, grid)
        }
        let (series, windows) = try rangeInput(arguments[place], grid)
        if function == .absentOverTime { return absentOverTime(series, windows, arguments[place]) }
        let call = RangeCall(
            function: function, windows: windows, scalars: scalars, argument: arguments[place], call: expr,
            typeLabels: options.features.contains(.typeAndUnitLabels), control: control)
        for i in series.indices { countSamples(series[i].sampleCount, windows) }
        var columns = try overSeries(series, grid.count) { call.column($0, &$1) }
        release(series.indices.reduce(0) { $0 + series[$1].sampleCount })
        if !function.keepsName {
            // What histograms of several kinds are warned of names their metric.
            let mayStay = !delayedNames && plan.namesMayStay(expr) && !columns.contains { $0.labels.hasTypeOrUnit }
            for i in columns.indices where !mayStay || columns[i].histograms != nil { unnamed(&columns[i]) }
            if mayStay { return columns }
        } else if !delayedNames {
            for i in columns.indices { columns[i].dropName = false }
        }
        if !delayedNames { try refuseSameLabels(columns) }
        return columns
    }

    /// Works on series one after the other, or side by side where the engine has threads and there is enough to do.
    private func overSeries(
        _ series: [RangeSeries], _ steps: Int, _ body: @escaping @Sendable (RangeSeries, inout Annotations) -> Column?
    ) throws -> [Column] {
        let work = series.indices.reduce(0) { $0 + series[$1].sampleCount } + series.count * steps
        if let parallel = options.parallel, series.count >= 8, work >= 300_000 {
            let parts = min(series.count / 4, 16)
            let results = ParallelResults<Part>(count: parts)
            let control = control
            parallel(parts) { part in
                var out = Part()
                let own = series.count * part / parts..<series.count * (part + 1) / parts
                do {
                    for i in own { try out.take(series[i], steps, control, body) }
                } catch {
                    out.failure = error
                }
                results.set(part, out)
            }
            var columns: [Column] = []
            columns.reserveCapacity(series.count)
            for result in results.all() {
                if let failure = result.failure { throw failure }
                columns += result.columns
                notes.merge(result.notes)
            }
            return columns
        }
        var out = Part()
        out.columns.reserveCapacity(series.count)
        for one in series { try out.take(one, steps, control, body) }
        notes.merge(out.notes)
        return out.columns
    }

    /// What one thread makes of its series.
    private struct Part: Sendable {
        var columns: [Column] = []
        var notes = Annotations()
        var failure: (any Error)?

        mutating func take(
            _ series: RangeSeries, _ steps: Int, _ control: QueryControl,
            _ body: (RangeSeries, inout Annotations) -> Column?
        ) throws {
            try control.charge(steps)
            if let column = body(series, &notes) {
                columns.append(column)
            } else {
                try control.charge(-steps)
            }
            // Time may have run out in the middle, and then the column means nothing.
            try control.check()
        }
    }

    private func countSamples(_ count: Int, _ windows: Windows) {
        // What every step looks at: a figure for the statistics only, so the mean window is enough.
        let span = max(1, windows.last - windows.first + 1)
        let perWindow = Double(count) * min(1, Double(windows.range) / Double(span))
        stats.totalQueryableSamples += Int(min(1e15, perWindow * Double(windows.grid.count)))
    }

    private func refuseSameLabels(_ columns: [Column]) throws {
        if ascend(columns) { return }
        var seen = Set<Labels>(minimumCapacity: columns.count)
        for column in columns where !seen.insert(column.labels).inserted { throw duplicateLabels }
    }

    private func checkParameters(_ function: RangeFunction, _ scalars: [[Double]], _ arguments: [Expr]) throws {
        switch function {
        case .doubleExponentialSmoothing:
            for (values, what) in zip(
                scalars, ["smoothing factor. Expected: 0 < sf", "trend factor. Expected: 0 < tf"])
            {
                for value in values where value <= 0 || value >= 1 {
                    throw QueryError(.execution, "invalid \(what) < 1, got: \(fixed(value, 6))")
                }
            }
        case .quantileOverTime:
            for q in scalars[0] where q.isNaN || q < 0 || q > 1 {
                notes.warn(
                    "quantile value should be between 0 and 1, got \(formatFloat(q, .general))", arguments[0])
            }
        default: break
        }
    }

    /// 1 at every step at which no series has a sample.
    private func absentOverTime(_ series: [RangeSeries], _ windows: Windows, _ argument: Expr) -> [Column] {
        var values = [Double](repeating: 1, count: windows.grid.count)
        for one in series {
            for times in [one.times, one.histogramTimes] where !times.isEmpty {
                times.withUnsafeBufferPointer { buffer in
                    windows.slide(buffer) { step, from, to in if from < to { values[step] = absent } }
                }
            }
        }
        let column = Column(labels: absentLabels(argument), dropName: false, values: values)
        return column.isEmpty ? [] : [column]
    }

    /// The labels that the absent series would have: from equality matchers that stand alone for their label.
    func absentLabels(_ argument: Expr) -> Labels {
        let selector: VectorSelector
        switch argument.kind {
        case .vector(let found): selector = found
        case .matrix(let found, _): selector = found
        default: return .empty
        }
        var pairs: [String: String] = [:]
        var seen: Set<String> = []
        for matcher in selector.matchers where matcher.name != Labels.metricNameLabel {
            if matcher.op == .equal, seen.insert(matcher.name).inserted {
                pairs[matcher.name] = matcher.value
            } else {
                pairs[matcher.name] = nil
            }
        }
        return Labels(pairs.map { ($0.key, $0.value) })
    }
}

private let counterEndings = ["_total", "_sum", "_count", "_bucket"].map { Array($0.utf8) }

extension Labels {
    /// Whether the metric's name ends in one of these; without making a string of it.
    fileprivate func metricNameEnds(with endings: [[UInt8]]) -> Bool {
        var found = false
        forEachPair { name, value in
            if !found, name.elementsEqual(Labels.metricNameLabel.utf8) {
                found = endings.contains { value.count >= $0.count && value.suffix($0.count).elementsEqual($0) }
            }
        }
        return found
    }
}
