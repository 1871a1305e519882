/// Why a text is no query: Prometheus' message with its place.
package struct ParseError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What is wrong, without the place.
    package let message: String
    /// Byte offsets into the text.
    package let range: Range<Int>
    /// From 1; columns are bytes, as in Prometheus. 0 where there is no text to have a place in.
    package let line: Int
    package let column: Int

    /// As Prometheus prints it: `1:5: parse error: …`.
    package var description: String {
        "\(line > 0 ? "\(line):\(column)" : "unknown position"): parse error: \(message)"
    }

    init(_ message: String, _ range: Range<Int>, in text: [UInt8]) {
        self.message = message
        self.range = range
        (line, column) = text.isEmpty ? (0, 0) : place(of: range.lowerBound, in: text)
    }
}

/// Line and column, both from 1, of a byte offset.
func place(of offset: Int, in text: [UInt8]) -> (line: Int, column: Int) {
    var line = 1
    var lineStart = 0
    for (i, c) in text.prefix(offset).enumerated() where c == 10 {
        line += 1
        lineStart = i + 1
    }
    return (line, offset - lineStart + 1)
}
