/// One element of a sequence of samples as tests write it.
package struct SequenceValue: Sendable {
    package var value: Double
    /// `_`: no sample.
    package var omitted: Bool
    package var histogram: NativeHistogram?
    /// Whether the histogram's counter reset hint was written down.
    package var hintIsSet: Bool

    package init(value: Double, omitted: Bool = false, histogram: NativeHistogram? = nil, hintIsSet: Bool = false) {
        self.value = value
        self.omitted = omitted
        self.histogram = histogram
        self.hintIsSet = hintIsSet
    }
}

package struct SeriesNotationError: Error, Sendable, CustomStringConvertible {
    /// Byte offset into the text.
    package let offset: Int
    package let message: String
    package var description: String { message }
}

/// Most elements that a sequence may have once its repetitions are written out.
private let maxSequence = 1_000_000

/// Reads a series with its samples, as in Prometheus' rule unit tests and query test scripts:
/// `metric{label="value"} 1 2+3x4 _ _x2 stale {{schema:1 sum:3 count:22 buckets:[5 10 7]}}x2`.
package func parseSeriesDescription(
    _ text: String
) throws(SeriesNotationError) -> (labels: Labels, values: [SequenceValue]) {
    var scanner = SeriesScanner(text)
    let labels = try scanner.metric()
    return (labels, try scanner.sequence())
}

/// Reads the samples alone.
package func parseSequence(_ text: String) throws(SeriesNotationError) -> [SequenceValue] {
    var scanner = SeriesScanner(text)
    return try scanner.sequence()
}

struct SeriesScanner {
    let bytes: [UInt8]
    var at = 0

    init(_ text: String) { bytes = Array(text.utf8) }

    func fail(_ message: String) -> SeriesNotationError { SeriesNotationError(offset: at, message: message) }

    var byte: UInt8 { at < bytes.count ? bytes[at] : 0 }

    mutating func skipSpaces() { while byte == 32 || byte == 9 { at += 1 } }

    mutating func take(_ c: Character) -> Bool {
        guard at < bytes.count, byte == c.asciiValue else { return false }
        at += 1
        return true
    }

    private func shown() -> String {
        at < bytes.count ? "character \(quoteGo(String(Character(Unicode.Scalar(byte)))))" : "end of input"
    }

    private func isWord(_ c: UInt8) -> Bool {
        (c >= 97 && c <= 122) || (c >= 65 && c <= 90) || (c >= 48 && c <= 57) || c == 95 || c == 58
    }

    mutating func word() -> String {
        let start = at
        while isWord(byte) { at += 1 }
        return String(decoding: bytes[start..<at], as: UTF8.self)
    }

    // MARK: - The metric

    mutating func metric() throws(SeriesNotationError) -> Labels {
        skipSpaces()
        var builder = LabelsBuilder()
        if byte != UInt8(ascii: "{") {
            let name = word()
            if name.isEmpty { throw fail("unexpected \(shown()), expected a metric name or \"{\"") }
            builder.set(Labels.metricNameLabel, name)
        }
        guard take("{") else { return builder.labels() }
        skipSpaces()
        while !take("}") {
            let quoted = byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'")
            let name = quoted ? try string() : word()
            if name.isEmpty { throw fail("unexpected \(shown()) in label set, expected identifier or \"}\"") }
            skipSpaces()
            if take("=") {
                skipSpaces()
                builder.set(name, try string())
            } else if quoted {
                builder.set(Labels.metricNameLabel, name)
            } else {
                throw fail("unexpected \(shown()) in label set, expected \"=\"")
            }
            skipSpaces()
            if !take(","), byte != UInt8(ascii: "}") {
                throw fail("unexpected \(shown()) in label set, expected \",\" or \"}\"")
            }
            skipSpaces()
        }
        return builder.labels()
    }

    private mutating func string() throws(SeriesNotationError) -> String {
        let quote = byte
        guard quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") || quote == UInt8(ascii: "`") else {
            throw fail("unexpected \(shown()) in label set, expected string")
        }
        let start = at
        at += 1
        while at < bytes.count, byte != quote {
            if byte == UInt8(ascii: "\\"), quote != UInt8(ascii: "`") { at += 1 }
            at += 1
        }
        at = min(at + 1, bytes.count)
        guard let text = unquoteGo(bytes[start..<at]) else {
            throw fail("a quoted string does not end or is malformed")
        }
        return text
    }

    // MARK: - Samples

    mutating func sequence() throws(SeriesNotationError) -> [SequenceValue] {
        var out: [SequenceValue] = []
        skipSpaces()
        while at < bytes.count {
            try item(&out)
            if out.count > maxSequence { throw fail("a series has more than \(maxSequence) samples") }
            if at < bytes.count, byte != 32, byte != 9 { throw fail("unexpected \(shown()) in series values") }
            skipSpaces()
        }
        return out
    }

    private mutating func item(_ out: inout [SequenceValue]) throws(SeriesNotationError) {
        if take("_") {
            let count = byte == UInt8(ascii: "x") ? try repetition() : 1
            out += [SequenceValue](repeating: SequenceValue(value: 0, omitted: true), count: count)
            return
        }
        if byte == UInt8(ascii: "{") {
            try histogramItem(&out)
            return
        }
        if byte == UInt8(ascii: "s") {
            guard word() == "stale" else {
                throw fail("unexpected identifier in series values, expected number or \"stale\"")
            }
            out.append(SequenceValue(value: .staleMarker))
            return
        }
        var value = try number(signed: true)
        if byte == UInt8(ascii: "x") {
            for _ in 0...(try repetition()) { out.append(SequenceValue(value: value)) }
            return
        }
        guard byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") else {
            out.append(SequenceValue(value: value))
            return
        }
        let increment = try number(signed: true)
        guard byte == UInt8(ascii: "x") else { throw fail("unexpected \(shown()) in series values, expected \"x\"") }
        for _ in 0...(try repetition()) {
            out.append(SequenceValue(value: value))
            value += increment
        }
    }

    private mutating func repetition() throws(SeriesNotationError) -> Int {
        at += 1
        let start = at
        while byte >= 48, byte <= 57 { at += 1 }
        guard let count = Int(String(decoding: bytes[start..<at], as: UTF8.self)) else {
            throw fail("invalid repetition in series values")
        }
        guard count <= maxSequence else { throw fail("a series has more than \(maxSequence) samples") }
        return count
    }

    /// A number up to where it ends: before a space, a bracket, a sign that is no exponent's, or an `x` that is no
    /// hexadecimal prefix.
    mutating func number(signed: Bool) throws(SeriesNotationError) -> Double {
        let start = at
        if signed, byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { at += 1 }
        let digits = at
        let hex = byte == 48 && at + 1 < bytes.count && bytes[at + 1] | 0x20 == UInt8(ascii: "x") && isHexNumber(at + 2)
        if hex { at += 2 }
        while at < bytes.count {
            let c = byte
            if isWord(c), c != UInt8(ascii: ":"), hex || c != UInt8(ascii: "x") || at == digits {
                at += 1
            } else if c == UInt8(ascii: ".") {
                at += 1
            } else if !hex, (c == UInt8(ascii: "+") || c == UInt8(ascii: "-")), at > digits,
                bytes[at - 1] | 0x20 == UInt8(ascii: "e"), bytes[digits] < 58
            {
                at += 1
            } else {
                break
            }
        }
        guard let value = parseFloat(String(decoding: bytes[start..<at], as: UTF8.self)) else {
            throw fail(
                "unexpected \(quoteGo(String(decoding: bytes[start..<at], as: UTF8.self))) in series values, expected number or \"stale\""
            )
        }
        return value
    }

    /// `0x1F` is a hexadecimal number, `0x30` alone is ten repetitions… of which tests only know the latter.
    private func isHexNumber(_ from: Int) -> Bool {
        var i = from
        var hasLetter = false
        while i < bytes.count, bytes[i] != 32, bytes[i] != 9 {
            let c = bytes[i] | 0x20
            if c >= 97, c <= 102 { hasLetter = true } else if bytes[i] < 48 || bytes[i] > 57 { return false }
            i += 1
        }
        return hasLetter
    }
}
