/// The text in double quotes, escaped as Go's `strconv.Quote` does: printable Unicode stays, control characters, quotes,
/// backslashes and bytes that are no UTF-8 (kept by `unquoteGo` as private marks) are escaped.
package func quoteGo(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\\": out += "\\\\"
        case "\"": out += "\\\""
        case "\n": out += "\\n"
        case "\t": out += "\\t"
        case "\r": out += "\\r"
        case "\u{7}": out += "\\a"
        case "\u{8}": out += "\\b"
        case "\u{c}": out += "\\f"
        case "\u{b}": out += "\\v"
        case " "..."~": out.unicodeScalars.append(scalar)
        default:
            if let byte = rawByte(scalar) {
                out += "\\x" + hex(UInt32(byte), 2)
            } else if scalar.value < 0x20 || scalar.value == 0x7f {
                out += "\\x" + hex(scalar.value, 2)
            } else if scalar.value == 0xad || scalar.properties.generalCategory.isUnprintable {
                out += scalar.value > 0xffff ? "\\U" + hex(scalar.value, 8) : "\\u" + hex(scalar.value, 4)
            } else {
                out.unicodeScalars.append(scalar)
            }
        }
    }
    return out + "\""
}

extension Unicode.GeneralCategory {
    fileprivate var isUnprintable: Bool {
        switch self {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: true
        case .spaceSeparator: false
        default: false
        }
    }
}

/// A byte that is no UTF-8 is kept in a `String` as a code point of the last private plane.
private let rawByteBase: UInt32 = 0x10_FE00

private func rawByte(_ scalar: Unicode.Scalar) -> UInt8? {
    scalar.value >= rawByteBase + 0x80 && scalar.value <= rawByteBase + 0xff
        ? UInt8(truncatingIfNeeded: scalar.value - rawByteBase) : nil
}

/// Whether the text came from bytes that are not UTF-8.
package func hasRawBytes(_ text: String) -> Bool { text.unicodeScalars.contains { rawByte($0) != nil } }

private func hex(_ value: UInt32, _ digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}

/// What a quoted text means: double or single quotes with Go's escapes, or backquotes with none. Nil where the quotes or
/// an escape are wrong. Bytes that are no UTF-8 are kept as marks that `hasRawBytes` finds.
package func unquoteGo(_ quoted: some Collection<UInt8>) -> String? {
    let bytes = Array(quoted)
    guard bytes.count >= 2, let quote = bytes.first, quote == bytes.last else { return nil }
    let body = bytes[1..<bytes.count - 1]
    if quote == UInt8(ascii: "`") {
        if body.contains(quote) { return nil }
        return decodeKeepingBytes(body.filter { $0 != 13 })
    }
    guard quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else { return nil }
    guard body.contains(UInt8(ascii: "\\")) else {
        return body.contains(10) || body.contains(quote) ? nil : decodeKeepingBytes(Array(body))
    }
    var out: [UInt8] = []
    var i = body.startIndex
    while i < body.endIndex {
        let c = body[i]
        i += 1
        if c == quote || c == 10 { return nil }
        guard c == UInt8(ascii: "\\") else {
            out.append(c)
            continue
        }
        guard i < body.endIndex else { return nil }
        let escape = body[i]
        i += 1
        func number(_ digits: Int, _ radix: UInt32) -> UInt32? {
            guard body.endIndex - i >= digits else { return nil }
            var value: UInt32 = 0
            for _ in 0..<digits {
                guard let digit = Character(Unicode.Scalar(body[i])).hexDigitValue, digit < radix else { return nil }
                value = value &* radix &+ UInt32(digit)
                i += 1
            }
            return value
        }
        switch escape {
        case UInt8(ascii: "a"): out.append(7)
        case UInt8(ascii: "b"): out.append(8)
        case UInt8(ascii: "f"): out.append(12)
        case UInt8(ascii: "n"): out.append(10)
        case UInt8(ascii: "r"): out.append(13)
        case UInt8(ascii: "t"): out.append(9)
        case UInt8(ascii: "v"): out.append(11)
        case UInt8(ascii: "\\"): out.append(escape)
        case UInt8(ascii: "'"), UInt8(ascii: "\""):
            guard escape == quote else { return nil }
            out.append(escape)
        case UInt8(ascii: "x"):
            guard let value = number(2, 16) else { return nil }
            out.append(UInt8(truncatingIfNeeded: value))
        case UInt8(ascii: "0")...UInt8(ascii: "7"):
            i -= 1
            guard let value = number(3, 8), value <= 255 else { return nil }
            out.append(UInt8(truncatingIfNeeded: value))
        case UInt8(ascii: "u"), UInt8(ascii: "U"):
            guard let value = number(escape == UInt8(ascii: "u") ? 4 : 8, 16), let scalar = Unicode.Scalar(value)
            else { return nil }
            out.append(contentsOf: String(Character(scalar)).utf8)
        default: return nil
        }
    }
    return decodeKeepingBytes(out)
}

private func decodeKeepingBytes(_ bytes: [UInt8]) -> String {
    if let text = String(validating: bytes, as: UTF8.self) { return text }
    var out = String.UnicodeScalarView()
    var rest = bytes[...]
    while let byte = rest.first {
        let length = byte < 0x80 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
        if rest.count >= length, byte < 0x80 || byte >= 0xc2,
            let text = String(validating: rest.prefix(length), as: UTF8.self), let scalar = text.unicodeScalars.first
        {
            out.append(scalar)
            rest = rest.dropFirst(length)
        } else {
            if let scalar = Unicode.Scalar(rawByteBase + UInt32(byte)) { out.append(scalar) }
            rest = rest.dropFirst()
        }
    }
    return String(out)
}

/// A label value in the text format: backslash, quote and newline escaped.
package func quoteExposition(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\\": out += "\\\\"
        case "\"": out += "\\\""
        case "\n": out += "\\n"
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}
