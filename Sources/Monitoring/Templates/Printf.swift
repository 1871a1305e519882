import Glibc
import MetricModel

/// The C library's form of a float: `style` is e, f or g.
func cFormat(_ value: Double, _ precision: Int, _ style: String) -> String {
    var buffer = [CChar](repeating: 0, count: 400)
    let count = withVaList([value]) { vsnprintf(&buffer, buffer.count, "%.\(min(precision, 60))\(style)", $0) }
    return String(decoding: buffer.prefix(Int(min(max(count, 0), 399))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Go's fmt.Sprintf for the verbs that templates use.
func goPrintf(_ format: String, _ arguments: [TemplateValue]) -> String {
    var out = ""
    var next = 0
    var rest = Substring(format)
    while let percent = rest.firstIndex(of: "%") {
        out += rest[..<percent]
        rest = rest[rest.index(after: percent)...]
        var flags: Set<Character> = []
        while let flag = rest.first, "+-# 0".contains(flag) {
            flags.insert(flag)
            rest = rest.dropFirst()
        }
        let width = takeNumber(&rest)
        var precision: Int?
        if rest.first == "." {
            rest = rest.dropFirst()
            precision = takeNumber(&rest) ?? 0
        }
        guard let verb = rest.first else {
            out += "%!(NOVERB)"
            break
        }
        rest = rest.dropFirst()
        if verb == "%" {
            out += "%"
            continue
        }
        guard next < arguments.count else {
            out += "%!\(verb)(MISSING)"
            continue
        }
        let text = formatted(arguments[next], verb, flags, precision)
        next += 1
        out += padded(text, width, flags)
    }
    out += rest
    if next < arguments.count {
        let extra = arguments[next...].map { "\($0.kind)=\($0.text)" }.joined(separator: ", ")
        out += "%!(EXTRA \(extra))"
    }
    return out
}

private func takeNumber(_ rest: inout Substring) -> Int? {
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    rest = rest.dropFirst(digits.count)
    return Int(digits).map { min($0, 1000) }
}

private func padded(_ text: String, _ width: Int?, _ flags: Set<Character>) -> String {
    guard let width, text.count < width else { return text }
    let fill = width - text.count
    if flags.contains("-") { return text + String(repeating: " ", count: fill) }
    if flags.contains("0"), let first = text.first {
        let sign = first == "-" || first == "+" ? String(first) : ""
        return sign + String(repeating: "0", count: fill) + text.dropFirst(sign.count)
    }
    return String(repeating: " ", count: fill) + text
}

private func formatted(_ value: TemplateValue, _ verb: Character, _ flags: Set<Character>, _ precision: Int?) -> String
{
    let plus = flags.contains("+")
    switch (verb, value) {
    case ("v", _): return value.text
    case ("s", .string(let text)), ("s", .html(let text)):
        return precision.map { String(text.prefix($0)) } ?? text
    case ("s", .list), ("s", .map), ("s", .object), ("s", .time): return value.text
    case ("q", .string(let text)), ("q", .html(let text)): return quoteGo(text)
    case ("d", .int(let number)): return (plus && number >= 0 ? "+" : "") + String(number)
    case ("x", .int(let number)): return String(number, radix: 16)
    case ("X", .int(let number)): return String(number, radix: 16, uppercase: true)
    case ("o", .int(let number)): return String(number, radix: 8)
    case ("b", .int(let number)): return String(number, radix: 2)
    case ("c", .int(let number)): return Unicode.Scalar(UInt32(clamping: number)).map { String($0) } ?? "\u{fffd}"
    case ("x", .string(let text)): return text.utf8.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    case ("t", .bool(let flag)): return flag ? "true" : "false"
    case ("T", _): return value.kind
    case ("f", .float(let number)), ("F", .float(let number)):
        return signed(number, plus) { cFormat($0, precision ?? 6, "f") }
    case ("e", .float(let number)): return signed(number, plus) { exponential($0, precision ?? 6) }
    case ("g", .float(let number)):
        return signed(number, plus) { precision.map { digits in cFormat(number, digits, "g") } ?? goFloat($0) }
    default: return "%!\(verb)(\(value.kind)=\(value.text))"
    }
}

private func signed(_ value: Double, _ plus: Bool, _ body: (Double) -> String) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    return (plus && value.sign == .plus ? "+" : "") + body(value)
}
