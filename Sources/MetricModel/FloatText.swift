/// How a float is laid out. All three use the fewest digits that read back as the same number.
package enum FloatStyle: Sendable {
    /// Never an exponent: Go's `'f', -1`. Prometheus prints values and number literals so.
    case plain
    /// An exponent below 1e-4 and from 1e6 on: Go's `%g` and `%v`.
    case general
    /// Plain between 1e-6 and 1e21, else with an exponent: how Prometheus' HTTP API writes sample values.
    case api
}

/// The number as Prometheus prints it: `NaN`, `+Inf`, `-Inf`, else the shortest digits in the given layout.
package func formatFloat(_ value: Double, _ style: FloatStyle = .plain) -> String {
    var out: [UInt8] = []
    appendFloat(value, style, to: &out)
    return String(decoding: out, as: UTF8.self)
}

/// Appends what `formatFloat` returns, as bytes.
package func appendFloat(_ value: Double, _ style: FloatStyle = .plain, to out: inout [UInt8]) {
    if value.isNaN {
        out.append(contentsOf: "NaN".utf8)
        return
    }
    if value.isInfinite {
        out.append(contentsOf: (value < 0 ? "-Inf" : "+Inf").utf8)
        return
    }
    if value == value.rounded(.towardZero), abs(value) < 1e6, !(value == 0 && value.sign == .minus) {
        appendInteger(Int64(value), to: &out)
        return
    }
    if value.sign == .minus { out.append(UInt8(ascii: "-")) }
    if value == 0 {
        out.append(UInt8(ascii: "0"))
        return
    }
    let decimal = DecimalDigits(value)
    let exponent = decimal.point - 1
    let scientific: Bool
    switch style {
    case .plain: scientific = false
    case .general: scientific = exponent < -4 || exponent >= 6
    case .api: scientific = abs(value) < 1e-6 || abs(value) >= 1e21
    }
    if scientific {
        decimal.appendScientific(minimumExponentDigits: 2, to: &out)
    } else {
        decimal.appendPlain(to: &out)
    }
}

private func appendInteger(_ value: Int64, to out: inout [UInt8]) {
    var magnitude = value.magnitude
    if value < 0 { out.append(UInt8(ascii: "-")) }
    if magnitude == 0 {
        out.append(UInt8(ascii: "0"))
        return
    }
    let start = out.count
    while magnitude > 0 {
        out.append(UInt8(ascii: "0") + UInt8(magnitude % 10))
        magnitude /= 10
    }
    out[start...].reverse()
}

/// The shortest decimal digits of a finite number other than zero; the value is 0.d₁d₂d₃… × 10^point.
private struct DecimalDigits {
    var digits: [UInt8] = []
    var point = 0

    init(_ value: Double) {
        // Swift's description has the shortest digits that read back; only its layout differs from Go's.
        var text = value.magnitude.description
        text.withUTF8 { utf8 in
            var exponent = 0
            var afterPoint = 0
            var seenPoint = false
            var i = 0
            while i < utf8.count {
                let c = utf8[i]
                if c == UInt8(ascii: ".") {
                    seenPoint = true
                } else if c == UInt8(ascii: "e") {
                    i += 1
                    var negative = false
                    if i < utf8.count, utf8[i] == UInt8(ascii: "-") || utf8[i] == UInt8(ascii: "+") {
                        negative = utf8[i] == UInt8(ascii: "-")
                        i += 1
                    }
                    while i < utf8.count {
                        exponent = exponent * 10 + Int(utf8[i] &- 48)
                        i += 1
                    }
                    if negative { exponent = -exponent }
                    break
                } else {
                    digits.append(c)
                    if seenPoint { afterPoint += 1 }
                }
                i += 1
            }
            point = digits.count - afterPoint + exponent
        }
        let leading = digits.prefix { $0 == 48 }.count
        digits.removeFirst(leading)
        point -= leading
        while digits.last == 48 { digits.removeLast() }
    }

    func appendPlain(to out: inout [UInt8]) {
        if point <= 0 {
            out.append(contentsOf: [48, 46])
            out.append(contentsOf: repeatElement(48, count: -point))
            out.append(contentsOf: digits)
        } else if point >= digits.count {
            out.append(contentsOf: digits)
            out.append(contentsOf: repeatElement(48, count: point - digits.count))
        } else {
            out.append(contentsOf: digits[..<point])
            out.append(46)
            out.append(contentsOf: digits[point...])
        }
    }

    func appendScientific(minimumExponentDigits: Int, to out: inout [UInt8]) {
        out.append(digits[0])
        if digits.count > 1 {
            out.append(46)
            out.append(contentsOf: digits[1...])
        }
        let exponent = point - 1
        out.append(contentsOf: (exponent < 0 ? "e-" : "e+").utf8)
        let shown = String(exponent.magnitude)
        if shown.utf8.count < minimumExponentDigits { out.append(48) }
        out.append(contentsOf: shown.utf8)
    }
}

/// Reads a float as Go's `strconv.ParseFloat` does: decimal or hexadecimal (`0x1p-2`), `inf`, `infinity` and `nan` in any
/// case and with a sign, underscores where Go's base-prefix rule allows them (between digits). Nil where it is none. A
/// magnitude too large is infinite.
package func parseFloat(_ text: String) -> Double? {
    var text = text
    return text.withUTF8 { parseFloat(utf8: UnsafeRawBufferPointer($0)) }
}

/// See `parseFloat(_:)`.
package func parseFloat(utf8 text: UnsafeRawBufferPointer) -> Double? {
    guard !text.isEmpty, text.count <= 400 else { return nil }
    var at = 0
    var negative = false
    if text[0] == UInt8(ascii: "+") || text[0] == UInt8(ascii: "-") {
        negative = text[0] == UInt8(ascii: "-")
        at = 1
    }
    guard at < text.count else { return nil }
    let lower = text[at] | 0x20
    if lower == UInt8(ascii: "i") || lower == UInt8(ascii: "n") {
        let word = String(decoding: text[at...], as: UTF8.self).lowercased()
        switch word {
        case "inf", "infinity": return negative ? -Double.infinity : .infinity
        case "nan": return Double(bitPattern: normalNaNBits)
        default: return nil
        }
    }
    var clean = ""
    var previous: UInt8 = 0
    for byte in text[at...] {
        if byte == UInt8(ascii: "_") {
            guard isHexDigit(previous) || previous | 0x20 == UInt8(ascii: "x") else { return nil }
        } else {
            if previous == UInt8(ascii: "_"), !isHexDigit(byte) { return nil }
            guard byte < 0x80 else { return nil }
            clean.unicodeScalars.append(Unicode.Scalar(byte))
        }
        previous = byte
    }
    if previous == UInt8(ascii: "_") { return nil }
    guard let start = clean.utf8.first(where: { $0 != UInt8(ascii: ".") }), start >= 48, start <= 57 else { return nil }
    let isHex = clean.hasPrefix("0x") || clean.hasPrefix("0X")
    if isHex, !clean.contains("p"), !clean.contains("P") { clean += "p0" }
    // Swift's own parser: correctly rounded, no locale; it takes no leading or trailing point.
    if clean.hasPrefix(".") { clean = "0" + clean }
    if let point = clean.firstIndex(of: ".") {
        let next = clean.index(after: point)
        if next == clean.endIndex || clean[next] == "e" || clean[next] == "E" || clean[next] == "p" {
            clean.insert("0", at: next)
        }
    }
    guard let first = clean.utf8.first, first >= 48, first <= 57, let value = Double(clean) else { return nil }
    return negative ? -value : value
}

private func isHexDigit(_ c: UInt8) -> Bool {
    (c >= 48 && c <= 57) || (c | 0x20 >= 97 && c | 0x20 <= 102)
}
