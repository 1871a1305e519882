package import MetricModel

/// Writes JSON straight into bytes, escaping as Go's encoder does (with `<`, `>` and `&` as \u003c …), so that answers
/// equal Prometheus'. Commas are placed by the writer. Owned by one thread at a time.
package struct JSONWriter {
    package var bytes: [UInt8] = []
    private var needsComma = false

    package init() {}

    /// Writes elements of an array that another writer has begun; `behindElement`: not its first ones.
    init(behindElement: Bool) { needsComma = behindElement }

    @inline(__always)
    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
    }

    @inline(__always)
    private mutating func open(_ byte: UInt8) {
        separate()
        bytes.append(byte)
        needsComma = false
    }

    @inline(__always)
    private mutating func close(_ byte: UInt8) {
        bytes.append(byte)
        needsComma = true
    }

    package mutating func beginObject() { open(UInt8(ascii: "{")) }
    package mutating func endObject() { close(UInt8(ascii: "}")) }
    package mutating func beginArray() { open(UInt8(ascii: "[")) }
    package mutating func endArray() { close(UInt8(ascii: "]")) }

    package mutating func object(_ body: (inout JSONWriter) -> Void) {
        beginObject()
        body(&self)
        endObject()
    }

    package mutating func array<T>(_ elements: some Sequence<T>, _ body: (inout JSONWriter, T) -> Void) {
        beginArray()
        for element in elements { body(&self, element) }
        endArray()
    }

    package mutating func key(_ name: String) {
        string(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    package mutating func string(_ text: String) {
        var text = text
        text.withUTF8 { string(utf8: UnsafeRawBufferPointer($0)) }
    }

    /// Bytes that are not UTF-8 are replaced, as Go does.
    package mutating func string(utf8 text: UnsafeRawBufferPointer) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        var plainFrom = 0
        var index = 0
        while index < text.count {
            let byte = text[index]
            if isPlain(byte) {
                index += 1
                continue
            }
            if byte >= 0x80 {
                let length = utf8SequenceLength(text, at: index)
                if length > 0, !isLineSeparator(text, at: index) {
                    index += length
                    continue
                }
                bytes.append(contentsOf: text[plainFrom..<index])
                if length > 0 {
                    bytes.append(contentsOf: text[index + 2] == 0xa8 ? "\\u2028".utf8 : "\\u2029".utf8)
                    index += 3
                } else {
                    bytes.append(contentsOf: "\\ufffd".utf8)
                    index += 1
                }
                plainFrom = index
                continue
            }
            bytes.append(contentsOf: text[plainFrom..<index])
            switch byte {
            case UInt8(ascii: "\""): bytes.append(contentsOf: "\\\"".utf8)
            case UInt8(ascii: "\\"): bytes.append(contentsOf: "\\\\".utf8)
            case UInt8(ascii: "\n"): bytes.append(contentsOf: "\\n".utf8)
            case UInt8(ascii: "\r"): bytes.append(contentsOf: "\\r".utf8)
            case UInt8(ascii: "\t"): bytes.append(contentsOf: "\\t".utf8)
            default:
                bytes.append(contentsOf: "\\u00".utf8)
                bytes.append(hexDigits[Int(byte >> 4)])
                bytes.append(hexDigits[Int(byte & 15)])
            }
            index += 1
            plainFrom = index
        }
        bytes.append(contentsOf: text[plainFrom..<text.count])
        bytes.append(UInt8(ascii: "\""))
    }

    package mutating func int(_ value: some FixedWidthInteger) {
        separate()
        appendInteger(value)
    }

    private mutating func appendInteger(_ value: some FixedWidthInteger) {
        var digits: (UInt64, UInt64, UInt64) = (0, 0, 0)
        let negative = value < 0
        var rest = UInt64(value.magnitude)
        withUnsafeMutableBytes(of: &digits) { buffer in
            var at = buffer.count
            repeat {
                at -= 1
                buffer[at] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            if negative {
                at -= 1
                buffer[at] = UInt8(ascii: "-")
            }
            bytes.append(contentsOf: buffer[at...])
        }
    }

    /// A number as Go's encoder prints a float64; null where JSON has no number for it.
    package mutating func double(_ value: Double) {
        separate()
        if value.isFinite { appendFloat(value) } else { bytes.append(contentsOf: "null".utf8) }
    }

    package mutating func bool(_ value: Bool) {
        separate()
        bytes.append(contentsOf: value ? "true".utf8 : "false".utf8)
    }

    package mutating func null() {
        separate()
        bytes.append(contentsOf: "null".utf8)
    }

    /// What another writer wrote of the array that is open.
    mutating func elements(_ json: [UInt8]) {
        bytes.append(contentsOf: json)
        needsComma = true
    }

    /// JSON that is already encoded.
    package mutating func raw(_ json: [UInt8]) {
        separate()
        bytes.append(contentsOf: json)
    }

    /// A sample's value: a string with the shortest digits that give the same float, as Prometheus' API does.
    package mutating func sampleValue(_ value: Double) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        if value.isFinite {
            appendFloat(value, exponentDigits: 2)
        } else {
            bytes.append(contentsOf: value.isNaN ? "NaN".utf8 : value > 0 ? "+Inf".utf8 : "-Inf".utf8)
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Seconds with up to three decimals, from milliseconds.
    package mutating func timestamp(_ milliseconds: Int64) {
        separate()
        let magnitude = milliseconds.magnitude
        if milliseconds < 0 { bytes.append(UInt8(ascii: "-")) }
        appendInteger(magnitude / 1000)
        let fraction = Int(magnitude % 1000)
        if fraction != 0 {
            bytes.append(UInt8(ascii: "."))
            bytes.append(UInt8(ascii: "0") + UInt8(fraction / 100))
            bytes.append(UInt8(ascii: "0") + UInt8(fraction / 10 % 10))
            bytes.append(UInt8(ascii: "0") + UInt8(fraction % 10))
        }
    }

    /// An array of `[timestamp, "value"]` for every sample for which `isLeftOut` is not true.
    package mutating func samples(_ timestamps: [Int64], _ values: [Double], isLeftOut: ((Int) -> Bool)? = nil) {
        beginArray()
        bytes.reserveCapacity(bytes.count + 32 * timestamps.count)
        // A sample is put together beside the buffer: appending to it byte by byte costs more than the digits do.
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 64) { text in
            guard let start = text.baseAddress else { return }
            for index in timestamps.indices where isLeftOut?(index) != true {
                let (time, value) = (timestamps[index], values[index])
                // Years 1970 to 5138, and values in plain digits; the others are rare.
                guard time >= 0, time < 100_000_000_000_000, let number = plainNumber(value) else {
                    self.beginArray()
                    self.timestamp(time)
                    self.sampleValue(value)
                    self.endArray()
                    continue
                }
                var at = start
                if needsComma { put(UInt8(ascii: ","), &at) }
                put(UInt8(ascii: "["), &at)
                putDigits(UInt64(time / 1000), &at)
                let fraction = UInt64(time % 1000)
                if fraction != 0 {
                    put(UInt8(ascii: "."), &at)
                    if fraction < 100 { put(UInt8(ascii: "0"), &at) }
                    if fraction < 10 { put(UInt8(ascii: "0"), &at) }
                    putDigits(fraction, &at)
                }
                put(UInt8(ascii: ","), &at)
                put(UInt8(ascii: "\""), &at)
                switch number {
                case .integer(let integer):
                    if integer < 0 { put(UInt8(ascii: "-"), &at) }
                    putDigits(integer.magnitude, &at)
                case .digits(var digits, let count):
                    digits.withUTF8 { utf8 in
                        if let source = utf8.baseAddress { at.update(from: source, count: count) }
                    }
                    at += count
                }
                put(UInt8(ascii: "\""), &at)
                put(UInt8(ascii: "]"), &at)
                bytes.append(contentsOf: UnsafeBufferPointer(start: start, count: at - start))
                needsComma = true
            }
        }
        endArray()
    }

    private enum PlainNumber {
        case integer(Int64)
        /// So many characters of the text.
        case digits(String, Int)
    }

    /// Nil where the value needs more than its shortest digits as they are: no number, a negative zero, an exponent.
    @inline(__always)
    private func plainNumber(_ value: Double) -> PlainNumber? {
        let magnitude = value.magnitude
        if magnitude < 9_007_199_254_740_992, value == value.rounded(.towardZero) {
            return value == 0 && value.sign == .minus ? nil : .integer(Int64(value))
        }
        // Within these bounds a description has no exponent.
        guard magnitude >= 1e-3, magnitude < 1e15 else { return nil }
        let text = value.description
        return .digits(text, text.utf8.count)
    }

    package mutating func labels(_ labels: Labels) {
        beginObject()
        if !appendPlain(labels) { appendEscaped(labels) }
        endObject()
    }

    /// The pairs as they are, put together beside the buffer; false, and nothing written, where a byte wants escaping.
    private mutating func appendPlain(_ labels: Labels) -> Bool {
        // A pair has six characters more here and two lengths there, and a name is never empty.
        let most = labels.bytes.count * 3
        guard most <= 4096 else { return false }
        return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: most + 1) { text in
            guard let start = text.baseAddress else { return false }
            var at = start
            var areAllPlain = true
            labels.forEachPair { name, value in
                if at != start { put(UInt8(ascii: ","), &at) }
                areAllPlain = putPlain(name, &at) && areAllPlain
                put(UInt8(ascii: ":"), &at)
                areAllPlain = putPlain(value, &at) && areAllPlain
            }
            if areAllPlain { bytes.append(contentsOf: UnsafeBufferPointer(start: start, count: at - start)) }
            return areAllPlain
        }
    }

    private mutating func appendEscaped(_ labels: Labels) {
        labels.forEachPair { name, value in
            string(utf8: name)
            bytes.append(UInt8(ascii: ":"))
            needsComma = false
            string(utf8: value)
        }
    }

    package mutating func strings(_ texts: some Sequence<String>) {
        array(texts) { $0.string($1) }
    }

    /// Positional digits between 1e-6 and 1e21, else with an exponent: of at least one digit as Go encodes a float64 in JSON,
    /// of two as Prometheus writes a sample.
    private mutating func appendFloat(_ value: Double, exponentDigits: Int = 1) {
        let magnitude = value.magnitude
        if magnitude < 9_007_199_254_740_992, value == value.rounded(.towardZero) {
            if magnitude == 0 {
                bytes.append(contentsOf: value.sign == .minus ? "-0".utf8 : "0".utf8)
            } else {
                appendInteger(Int64(value))
            }
            return
        }
        var text = value.description
        text.withUTF8 { digits in
            let exponentAt = digits.firstIndex(of: UInt8(ascii: "e"))
            if exponentAt == nil {
                let end = digits.suffix(2).elementsEqual(".0".utf8) ? digits.count - 2 : digits.count
                bytes.append(contentsOf: digits[..<end])
            } else {
                appendExponential(digits, magnitude, exponentDigits)
            }
        }
    }

    private mutating func appendExponential(
        _ text: UnsafeBufferPointer<UInt8>, _ magnitude: Double, _ exponentDigits: Int
    ) {
        var digits: [UInt8] = []
        var exponent = 0
        var negativeExponent = false
        var inExponent = false
        var pointAfter = 1
        var seenPoint = false
        for byte in text {
            switch byte {
            case UInt8(ascii: "e"): inExponent = true
            case UInt8(ascii: "."): seenPoint = true
            case UInt8(ascii: "-") where inExponent: negativeExponent = true
            case UInt8(ascii: "-"): bytes.append(byte)
            case UInt8(ascii: "+"): break
            default:
                if inExponent {
                    exponent = exponent * 10 + Int(byte - UInt8(ascii: "0"))
                } else {
                    digits.append(byte)
                    if !seenPoint { pointAfter = digits.count }
                }
            }
        }
        while digits.count > 1, digits.last == UInt8(ascii: "0") { digits.removeLast() }
        exponent = (negativeExponent ? -exponent : exponent) + pointAfter - 1
        if magnitude >= 1e-6 && magnitude < 1e21 {
            if exponent < 0 {
                bytes.append(contentsOf: "0.".utf8)
                bytes.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: -exponent - 1))
                bytes.append(contentsOf: digits)
            } else {
                for index in 0..<max(digits.count, exponent + 1) {
                    if index == exponent + 1 { bytes.append(UInt8(ascii: ".")) }
                    bytes.append(index < digits.count ? digits[index] : UInt8(ascii: "0"))
                }
            }
            return
        }
        bytes.append(digits[0])
        if digits.count > 1 {
            bytes.append(UInt8(ascii: "."))
            bytes.append(contentsOf: digits[1...])
        }
        bytes.append(UInt8(ascii: "e"))
        bytes.append(exponent < 0 ? UInt8(ascii: "-") : UInt8(ascii: "+"))
        if exponentDigits == 2, exponent.magnitude < 10 { bytes.append(UInt8(ascii: "0")) }
        appendInteger(exponent.magnitude)
    }
}

@inline(__always)
private func put(_ byte: UInt8, _ at: inout UnsafeMutablePointer<UInt8>) {
    at.pointee = byte
    at += 1
}

/// Of a value below 10^19.
@inline(__always)
private func putDigits(_ value: UInt64, _ at: inout UnsafeMutablePointer<UInt8>) {
    var length = 1
    var bound: UInt64 = 10
    while value >= bound {
        length += 1
        bound &*= 10
    }
    var rest = value
    var place = at + length
    at = place
    for _ in 0..<length {
        place -= 1
        place.pointee = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
        rest /= 10
    }
}

private let hexDigits = Array("0123456789abcdef".utf8)

/// Whether a byte stands for itself within a JSON string: printable ASCII but `"`, `&`, `<`, `>` and `\`.
@inline(__always)
private func isPlain(_ byte: UInt8) -> Bool {
    // A bit for each of the bytes 0 to 63, and 64 to 127.
    let bits: UInt64 = byte < 64 ? 0xafff_ffbb_0000_0000 : 0xffff_ffff_efff_ffff
    return byte < 128 && bits >> UInt64(byte & 63) & 1 == 1
}

/// Writes the text in quotes; whether it is plain.
@inline(__always)
private func putPlain(_ text: UnsafeRawBufferPointer, _ at: inout UnsafeMutablePointer<UInt8>) -> Bool {
    put(UInt8(ascii: "\""), &at)
    var areAllPlain = true
    for byte in text {
        areAllPlain = isPlain(byte) && areAllPlain
        put(byte, &at)
    }
    put(UInt8(ascii: "\""), &at)
    return areAllPlain
}

private func isLineSeparator(_ text: UnsafeRawBufferPointer, at index: Int) -> Bool {
    index + 2 < text.count && text[index] == 0xe2 && text[index + 1] == 0x80
        && (text[index + 2] == 0xa8 || text[index + 2] == 0xa9)
}

/// The length of the well-formed UTF-8 sequence of a non-ASCII character at `index`; 0 where there is none.
private func utf8SequenceLength(_ text: UnsafeRawBufferPointer, at index: Int) -> Int {
    func continues(_ offset: Int) -> Bool {
        index + offset < text.count && text[index + offset] & 0xc0 == 0x80
    }
    let first = text[index]
    switch first {
    case 0xc2...0xdf: return continues(1) ? 2 : 0
    case 0xe0...0xef:
        guard continues(1), continues(2) else { return 0 }
        let second = text[index + 1]
        return (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ? 0 : 3
    case 0xf0...0xf4:
        guard continues(1), continues(2), continues(3) else { return 0 }
        let second = text[index + 1]
        return (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f) ? 0 : 4
    default: return 0
    }
}
