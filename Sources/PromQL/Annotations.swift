import MetricModel

/// Warnings and infos of one query: each text once, in order of appearance, with the place it is about.
struct Annotations: Sendable {
    enum Level: Sendable { case warning, info }

    private struct Note: Sendable {
        var level: Level
        var text: String
        var offset: Int
    }

    private var notes: [Note] = []
    private var known: [String: Int] = [:]
    private var monotonicity: [Int: Monotonicity] = [:]

    /// What was mended in the input of histogram_quantile, over all steps.
    private struct Monotonicity: Sendable {
        var minBucket: Double
        var maxBucket: Double
        var maxDiff: Double
        var from: Int64
        var through: Int64
        var count: Int
    }

    mutating func warn(_ text: String, _ expr: Expr) { add(.warning, text, expr.range.lowerBound) }
    mutating func info(_ text: String, _ expr: Expr) { add(.info, text, expr.range.lowerBound) }

    @discardableResult
    private mutating func add(_ level: Level, _ text: String, _ offset: Int) -> Int {
        let key = (level == .warning ? "W" : "I") + text
        if let index = known[key] {
            // The last place stands, as in Prometheus.
            notes[index].offset = offset
            return index
        }
        known[key] = notes.count
        notes.append(Note(level: level, text: text, offset: offset))
        return notes.count - 1
    }

    mutating func forcedMonotonicity(
        _ metric: String, _ expr: Expr, at time: Int64, minBucket: Double, maxBucket: Double, maxDiff: Double
    ) {
        let text =
            "input to histogram_quantile needed to be fixed for monotonicity (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)"
            + (metric.isEmpty ? "" : " for metric name \(quoteGo(metric))")
        let index = add(.info, text, expr.range.lowerBound)
        var merged =
            monotonicity[index]
            ?? Monotonicity(
                minBucket: minBucket, maxBucket: maxBucket, maxDiff: maxDiff, from: time, through: time, count: 0)
        merged.minBucket = min(merged.minBucket, minBucket)
        merged.maxBucket = max(merged.maxBucket, maxBucket)
        merged.maxDiff = max(merged.maxDiff, maxDiff)
        merged.from = min(merged.from, time)
        merged.through = max(merged.through, time)
        merged.count += 1
        monotonicity[index] = merged
    }

    mutating func merge(_ other: Annotations) {
        for (i, note) in other.notes.enumerated() {
            let index = add(note.level, note.text, note.offset)
            if let theirs = other.monotonicity[i] {
                if var ours = monotonicity[index] {
                    ours.minBucket = min(ours.minBucket, theirs.minBucket)
                    ours.maxBucket = max(ours.maxBucket, theirs.maxBucket)
                    ours.maxDiff = max(ours.maxDiff, theirs.maxDiff)
                    ours.from = min(ours.from, theirs.from)
                    ours.through = max(ours.through, theirs.through)
                    ours.count += theirs.count
                    monotonicity[index] = ours
                } else {
                    monotonicity[index] = theirs
                }
            }
        }
    }

    /// As the API renders them: `PromQL warning: … (1:7)`; `text` is the query, empty where its places are unknown.
    func rendered(in text: [UInt8]) -> (warnings: [String], infos: [String]) {
        var warnings: [String] = []
        var infos: [String] = []
        for (i, note) in notes.enumerated() {
            var line = (note.level == .warning ? "PromQL warning: " : "PromQL info: ") + note.text
            if let m = monotonicity[i] {
                line += ", from buckets \(formatFloat(m.minBucket, .general)) to \(formatFloat(m.maxBucket, .general))"
                line += ", with a max diff of \(twoDigits(m.maxDiff)), over \(m.count) samples"
                line += " from \(rfc3339(m.from)) to \(rfc3339(m.through))"
            }
            let (row, column) = place(of: note.offset, in: text)
            line += " (\(row):\(column))"
            if note.level == .warning { warnings.append(line) } else { infos.append(line) }
        }
        return (warnings, infos)
    }
}

/// `%.2g`
private func twoDigits(_ value: Double) -> String {
    guard value.isFinite, value != 0 else { return formatFloat(value) }
    var exponent = 0
    var mantissa = abs(value)
    while mantissa >= 10 {
        mantissa /= 10
        exponent += 1
    }
    while mantissa < 1 {
        mantissa *= 10
        exponent -= 1
    }
    var tenths = Int((mantissa * 10).rounded())
    if tenths >= 100 {
        tenths = 10
        exponent += 1
    }
    var text = "\(tenths)"
    text = exponent >= 0 ? text + "e\(exponent - 1)" : text + "e\(exponent - 1)"
    return formatFloat((value < 0 ? -1 : 1) * (Double(text) ?? value), .general)
}

/// A time as Go's RFC 3339 layout in UTC, with milliseconds where there are some.
func rfc3339(_ milliseconds: Int64) -> String {
    let civil = CivilTime(milliseconds: milliseconds)
    func two(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }
    let year = String(civil.year)
    let padded = String(repeating: "0", count: max(0, 4 - year.utf8.count)) + year
    return
        "\(padded)-\(two(civil.month))-\(two(civil.day))T\(two(civil.hour)):\(two(civil.minute)):\(two(civil.second))Z"
}
