import MetricModel

/// A number token's value: decimal, hexadecimal, octal with a leading zero, or a word.
func parseNumber(_ text: String) -> Double? {
    let bytes = Array(text.utf8)
    if bytes.count > 1, bytes[0] == 48, bytes.allSatisfy({ ($0 >= 48 && $0 <= 55) || $0 == 95 }) {
        return Int64(text.filter { $0 != "_" }, radix: 8).map(Double.init)
    }
    if bytes.count > 2, bytes[0] == 48, bytes[1] | 0x20 == 120 {
        let digits = text.dropFirst(2).filter { $0 != "_" }
        if let value = Int64(digits, radix: 16) { return Double(value) }
    }
    return parseFloat(text)
}

/// `%.nf`
func fixed(_ value: Double, _ digits: Int) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 9e18 else { return formatFloat(value) }
    let whole = Int64(scaled)
    var fraction = String(whole % Int64(scale))
    fraction = String(repeating: "0", count: digits - fraction.utf8.count) + fraction
    return (value < 0 ? "-" : "") + "\(whole / Int64(scale))." + fraction
}
