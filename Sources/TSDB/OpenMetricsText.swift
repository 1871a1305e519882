package import MetricModel

/// Samples as lines of OpenMetrics: a series, its value, its time in seconds.
package enum OpenMetricsText {
    /// Appends a line for each sample but stale markers, which the format has no word for, and native histograms.
    package static func append(_ series: SeriesData, to out: inout [UInt8]) {
        var start: [UInt8]
        var inner = ""
        for (label, value) in series.labels.pairs where label != Labels.metricNameLabel {
            if !inner.isEmpty { inner += "," }
            inner += (isLegacyLabelName(label) ? label : quoteExposition(label)) + "=" + quoteExposition(value)
        }
        let metric = series.labels.metricName
        if isLegacyMetricName(metric) {
            start = Array(metric.utf8)
            if !inner.isEmpty { start += Array("{\(inner)}".utf8) }
        } else {
            start = Array("{\(quoteExposition(metric))\(inner.isEmpty ? "" : "," + inner)}".utf8)
        }
        start.append(UInt8(ascii: " "))
        for index in series.timestamps.indices {
            let value = series.values[index]
            if value.isStaleMarker || series.histograms?[index] != nil { continue }
            out += start
            appendFloat(value, .general, to: &out)
            out.append(UInt8(ascii: " "))
            appendSeconds(series.timestamps[index], &out)
            out.append(UInt8(ascii: "\n"))
        }
    }

    private static func appendSeconds(_ milliseconds: Int64, _ out: inout [UInt8]) {
        if milliseconds < 0 { out.append(UInt8(ascii: "-")) }
        let magnitude = milliseconds.magnitude
        out += String(magnitude / 1000).utf8
        let rest = magnitude % 1000
        if rest == 0 { return }
        out.append(UInt8(ascii: "."))
        for digit in [rest / 100, rest / 10 % 10, rest % 10] { out.append(UInt8(ascii: "0") + UInt8(digit)) }
        while out.last == UInt8(ascii: "0") { out.removeLast() }
    }
}

/// Reads OpenMetrics of any length piece by piece. Used by one thread.
package struct OpenMetricsReader {
    private var rest: [UInt8] = []
    private var line = 0
    private var sawEnd = false
    private var known: [[UInt8]: Labels] = [:]
    private var lastText: [UInt8] = []
    private var lastLabels = Labels.empty
    private static let maxLine = 16 << 20
    private static let end = Array("# EOF\n".utf8)

    package init() {}

    /// Takes the next piece of the text and hands out the samples of its whole lines.
    package mutating func read(_ piece: [UInt8], _ body: (Labels, Int64, Double) throws -> Void) throws {
        rest += piece
        guard let newline = rest.lastIndex(of: 0x0a) else {
            if rest.count > Self.maxLine {
                throw StoreError(.badInput, "line \(line + 1): is longer than \(Self.maxLine) bytes")
            }
            return
        }
        var block = Array(rest[...newline])
        rest.removeFirst(newline + 1)
        if sawEnd { throw StoreError(.badInput, "line \(line + 1): there is text after # EOF") }
        let lines = block.reduce(0) { $0 + ($1 == 0x0a ? 1 : 0) }
        sawEnd = block.suffix(Self.end.count).elementsEqual(Self.end)
        // The parser wants its text to end as a whole one does.
        if !sawEnd { block += Self.end }
        try block.withUnsafeBytes { try parse($0, body) }
        line += lines
    }

    /// After the last piece. Throws where the text was cut off.
    package func finish() throws {
        guard sawEnd, rest.isEmpty else {
            throw StoreError(.badInput, "line \(line + 1): the text does not end with # EOF: it may be cut off")
        }
    }

    private mutating func parse(
        _ bytes: UnsafeRawBufferPointer, _ body: (Labels, Int64, Double) throws -> Void
    ) throws {
        var parser = ExpositionParser(bytes, .openMetrics)
        do {
            while true {
                switch try parser.next() {
                case .end: return
                case .sample(let place, let value, let time):
                    guard let time else {
                        throw ExpositionError(line: parser.line, message: "the sample has no timestamp")
                    }
                    let text = UnsafeRawBufferPointer(rebasing: bytes[place])
                    try body(try labels(text, parser.line), time, value)
                default: break
                }
            }
        } catch let error as ExpositionError {
            throw StoreError(.badInput, "line \(line + error.line): \(error.message)")
        }
    }

    private mutating func labels(_ text: UnsafeRawBufferPointer, _ line: Int) throws -> Labels {
        if lastText.elementsEqual(text) { return lastLabels }
        lastText = Array(text)
        if let labels = known[lastText] {
            lastLabels = labels
            return labels
        }
        do {
            lastLabels = Labels(try parseSeriesText(text).map { ($0.name, $0.value) })
        } catch {
            throw ExpositionError(line: line, message: error.description)
        }
        if known.count >= 100_000 { known.removeAll() }
        known[lastText] = lastLabels
        return lastLabels
    }
}
