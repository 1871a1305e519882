import Glibc

/// Which text format a body is in.
package enum ExpositionFormat: Sendable {
    /// Prometheus' text format 0.0.4.
    case text
    /// OpenMetrics 1.0.
    case openMetrics

    /// The format a Content-Type names; nil where it names another.
    package init?(contentType: String) {
        let type = contentType.split(separator: ";").first.map { $0.filter { $0 != " " }.lowercased() } ?? ""
        switch type {
        case "application/openmetrics-text": self = .openMetrics
        case "text/plain": self = .text
        default: return nil
        }
    }
}

/// What is wrong in a body, and in which line (from 1).
package struct ExpositionError: Error, Equatable, CustomStringConvertible {
    package let line: Int
    package let message: String

    package init(line: Int, message: String) {
        self.line = line
        self.message = message
    }

    package var description: String { "line \(line): \(message)" }
}

/// Walks over the lines of an exposition without making objects of them: the series' text, value and timestamp of each
/// sample are handed out as places in the body. Bounds are checked; input can be anything.
package struct ExpositionParser {
    package enum Line {
        /// The series as it stands in the body, its value, and its timestamp in milliseconds where it has one.
        case sample(series: Range<Int>, value: Double, timestamp: Int64?)
        case type(metric: Range<Int>, type: Range<Int>)
        case help(metric: Range<Int>, help: Range<Int>)
        case unit(metric: Range<Int>, unit: Range<Int>)
        case end
    }

    private let bytes: UnsafeRawBufferPointer
    private let format: ExpositionFormat
    private(set) package var at = 0
    private(set) package var line = 0
    private var sawEnd = false
    /// Passes over HELP, TYPE and UNIT without looking at them: they rarely change from one scrape to the next.
    package var skipsMetadata = false

    package init(_ bytes: UnsafeRawBufferPointer, _ format: ExpositionFormat) {
        self.bytes = bytes
        self.format = format
    }

    private func fail(_ message: String) -> ExpositionError { ExpositionError(line: line, message: message) }

    /// Where the next line begins, after blank lines: there a caller may recognise a series by its bytes.
    @inline(__always)
    package mutating func startOfSample() -> Int? {
        while at < bytes.count {
            let byte = bytes[at]
            if byte == 0x0a {
                at += 1
                line += 1
            } else if format == .text, byte == 0x20 || byte == 0x09 {
                at += 1
            } else {
                return byte == UInt8(ascii: "#") ? nil : at
            }
        }
        return nil
    }

    /// Reads value and timestamp after a series that the caller recognised and that ends at `end`.
    @inline(__always)
    package mutating func sample(endingAt end: Int) throws(ExpositionError) -> (value: Double, timestamp: Int64?) {
        line += 1
        at = end
        return try valueAndTimestamp()
    }

    package mutating func next() throws(ExpositionError) -> Line {
        while true {
            if sawEnd {
                if at < bytes.count { throw fail("there is text after # EOF") }
                return .end
            }
            guard at < bytes.count else {
                if format == .openMetrics {
                    throw ExpositionError(line: line, message: "data does not end with # EOF")
                }
                return .end
            }
            if let start = startOfSample() {
                line += 1
                let end = try seriesEnd(from: start)
                at = end
                let (value, timestamp) = try valueAndTimestamp()
                return .sample(series: start..<end, value: value, timestamp: timestamp)
            }
            if at >= bytes.count { continue }
            line += 1
            if let found = try comment() { return found }
        }
    }

    /// The end of a series' text: its name and, where it has them, its labels in braces.
    private func seriesEnd(from start: Int) throws(ExpositionError) -> Int {
        var index = start
        while index < bytes.count {
            switch bytes[index] {
            case UInt8(ascii: "{"):
                index += 1
                var quoted = false
                while index < bytes.count {
                    let byte = bytes[index]
                    if quoted {
                        if byte == UInt8(ascii: "\\") { index += 1 }
                        if byte == UInt8(ascii: "\"") { quoted = false }
                    } else if byte == UInt8(ascii: "\"") {
                        quoted = true
                    } else if byte == UInt8(ascii: "}") {
                        return index + 1
                    } else if byte == 0x0a {
                        break
                    }
                    index += 1
                }
                throw fail("the labels have no closing brace")
            case 0x20, 0x09, 0x0a:
                // The text format allows blanks between name and braces.
                var ahead = index
                while ahead < bytes.count, bytes[ahead] == 0x20 || bytes[ahead] == 0x09 { ahead += 1 }
                if format == .text, ahead < bytes.count, bytes[ahead] == UInt8(ascii: "{") {
                    index = ahead
                    continue
                }
                return index
            default: index += 1
            }
        }
        throw fail("a sample has no value")
    }

    private mutating func skipBlanks() {
        while at < bytes.count, bytes[at] == 0x20 || bytes[at] == 0x09 { at += 1 }
    }

    private mutating func token() -> Range<Int> {
        let start = at
        while at < bytes.count, bytes[at] > 0x20 { at += 1 }
        return start..<at
    }

    @inline(__always)
    private mutating func valueAndTimestamp() throws(ExpositionError) -> (Double, Int64?) {
        skipBlanks()
        let text = token()
        guard !text.isEmpty, let value = expositionValue(UnsafeRawBufferPointer(rebasing: bytes[text])) else {
            throw fail("\"\(string(text))\" is not a value")
        }
        if at < bytes.count, bytes[at] == 0x0a {
            at += 1
            return (value, nil)
        }
        skipBlanks()
        var timestamp: Int64?
        if at < bytes.count, bytes[at] != 0x0a, bytes[at] != UInt8(ascii: "#"), bytes[at] != 0x0d {
            let stamp = token()
            timestamp = parseTimestamp(stamp)
            if timestamp == nil { throw fail("\"\(string(stamp))\" is not a timestamp") }
            skipBlanks()
        }
        if at < bytes.count, bytes[at] == 0x0d, format == .text { at += 1 }
        if at < bytes.count, bytes[at] == UInt8(ascii: "#"), format == .openMetrics {
            // An exemplar: passed over.
            while at < bytes.count, bytes[at] != 0x0a { at += 1 }
        }
        guard at < bytes.count else {
            if format == .openMetrics { throw fail("the last line does not end") }
            return (value, timestamp)
        }
        guard bytes[at] == 0x0a else { throw fail("there is more than a value and a timestamp") }
        at += 1
        return (value, timestamp)
    }

    /// Milliseconds: the text format writes them, OpenMetrics writes seconds.
    private func parseTimestamp(_ range: Range<Int>) -> Int64? {
        let text = UnsafeRawBufferPointer(rebasing: bytes[range])
        if format == .openMetrics {
            guard let seconds = expositionValue(text), seconds.isFinite, seconds.magnitude < 9e15 else { return nil }
            return Int64((seconds * 1000).rounded(.towardZero))
        }
        return Int64(String(decoding: text, as: UTF8.self))
    }

    private mutating func comment() throws(ExpositionError) -> Line? {
        at += 1
        defer {
            if let base = bytes.baseAddress, let newline = memchr(base + at, 0x0a, bytes.count - at) {
                at = UnsafeRawPointer(newline) - base + 1
            } else {
                at = bytes.count
            }
        }
        if skipsMetadata, at + 1 < bytes.count, bytes[at] == 0x20, "HTU".utf8.contains(bytes[at + 1]) { return nil }
        skipBlanks()
        let keyword = token()
        let word = string(keyword)
        if format == .openMetrics, word == "EOF" {
            sawEnd = true
            return nil
        }
        guard word == "TYPE" || word == "HELP" || (word == "UNIT" && format == .openMetrics) else {
            if format == .openMetrics { throw fail("\"# \(word)\" is not HELP, TYPE, UNIT or EOF") }
            return nil
        }
        skipBlanks()
        let metric = metricName()
        skipBlanks()
        let start = at
        var end = at
        while end < bytes.count, bytes[end] != 0x0a { end += 1 }
        at = end
        var last = end
        if word == "TYPE" {
            while last > start, bytes[last - 1] <= 0x20 { last -= 1 }
            guard knownTypes.contains(string(start..<last)) else {
                throw fail("\"\(string(start..<last))\" is not a type of metrics")
            }
            return .type(metric: metric, type: start..<last)
        }
        return word == "HELP" ? .help(metric: metric, help: start..<last) : .unit(metric: metric, unit: start..<last)
    }

    /// A name after HELP or TYPE; one in quotes comes without them.
    private mutating func metricName() -> Range<Int> {
        guard at < bytes.count, bytes[at] == UInt8(ascii: "\"") else { return token() }
        at += 1
        let start = at
        while at < bytes.count, bytes[at] != UInt8(ascii: "\""), bytes[at] != 0x0a { at += 1 }
        let end = at
        if at < bytes.count, bytes[at] == UInt8(ascii: "\"") { at += 1 }
        return start..<end
    }

    private func string(_ range: Range<Int>) -> String {
        String(decoding: UnsafeRawBufferPointer(rebasing: bytes[range]).prefix(200), as: UTF8.self)
    }
}

private let knownTypes: Set<String> = [
    "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset", "untyped", "unknown",
]

/// A value of the exposition formats. Short decimal numbers are exact in two integer steps (Clinger 1990); all others go
/// through the C library.
@inline(__always)
package func expositionValue(_ text: UnsafeRawBufferPointer) -> Double? {
    var index = 0
    var negative = false
    if let first = text.first, first == UInt8(ascii: "-") || first == UInt8(ascii: "+") {
        negative = first == UInt8(ascii: "-")
        index = 1
    }
    var mantissa: UInt64 = 0
    var digits = 0
    var fraction = 0
    var sawPoint = false
    while index < text.count {
        let byte = text[index]
        if byte >= 0x30, byte <= 0x39 {
            if digits == 15 { return slowValue(text) }
            mantissa = mantissa * 10 + UInt64(byte - 0x30)
            if mantissa > 0 { digits += 1 }
            if sawPoint { fraction += 1 }
        } else if byte == UInt8(ascii: "."), !sawPoint {
            sawPoint = true
        } else {
            return slowValue(text)
        }
        index += 1
    }
    guard index > (text.first == UInt8(ascii: "-") || text.first == UInt8(ascii: "+") ? 1 : 0), fraction <= 22 else {
        return slowValue(text)
    }
    if sawPoint && text.count == (negative ? 2 : 1) { return nil }
    let value = fraction == 0 ? Double(mantissa) : Double(mantissa) / exactPowers[fraction]
    return negative ? -value : value
}

private let exactPowers: [Double] = (0...22).map { pow(10, Double($0)) }

private func slowValue(_ text: UnsafeRawBufferPointer) -> Double? {
    // The expositions know no hexadecimal numbers and no digits apart, which Go's parser otherwise would take.
    if text.contains(where: { $0 | 0x20 == UInt8(ascii: "p") || $0 == UInt8(ascii: "_") }) { return nil }
    guard !text.isEmpty, text.count < 400 else { return nil }
    switch String(decoding: text, as: UTF8.self).lowercased() {
    case "nan": return Double(bitPattern: normalNaNBits)
    case "+inf", "inf", "+infinity", "infinity": return .infinity
    case "-inf", "-infinity": return -.infinity
    default: break
    }
    return parseFloat(utf8: text)
}
