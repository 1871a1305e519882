/// Draws series over a range with braille dots, for a terminal.
struct TerminalPlot {
    var series: [QueryAnswer.Series]
    /// Milliseconds.
    var start: Int64
    var end: Int64
    var width = 72
    var height = 14

    func lines() -> [String] {
        let points = series.flatMap { $0.points }.compactMap { point in
            Double(point.value).flatMap { $0.isFinite ? (time: point.time * 1000, value: $0) : nil }
        }
        guard var low = points.map(\.value).min(), var high = points.map(\.value).max(), end > start else { return [] }
        if low == high { (low, high) = (low - 1, high + 1) }
        var dots = [UInt8](repeating: 0, count: width * height)
        for point in points {
            let x = Int((point.time - Double(start)) / Double(end - start) * Double(width * 2 - 1))
            let y = Int((high - point.value) / (high - low) * Double(height * 4 - 1))
            guard (0..<width * 2).contains(x), (0..<height * 4).contains(y) else { continue }
            dots[y / 4 * width + x / 2] |= Self.bit(column: x % 2, row: y % 4)
        }
        return (0..<height).map { row in
            let label = row == 0 ? text(high) : row == height - 1 ? text(low) : ""
            var line = String(repeating: " ", count: max(0, 12 - label.count)) + label + " │"
            for cell in dots[row * width..<(row + 1) * width] {
                line.unicodeScalars.append(Unicode.Scalar(0x2800 + UInt32(cell)) ?? " ")
            }
            return line
        }
    }

    private func text(_ value: Double) -> String {
        let rounded = value.magnitude < 100 ? (value * 1000).rounded() / 1000 : value.rounded()
        return String("\(rounded)".prefix(12))
    }

    /// Unicode's order of the eight dots of a braille cell.
    private static func bit(column: Int, row: Int) -> UInt8 {
        row == 3 ? (column == 0 ? 0x40 : 0x80) : UInt8(1) << UInt8(row + column * 3)
    }
}
