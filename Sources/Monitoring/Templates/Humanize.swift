import Glibc
import MetricModel

/// A float from what templates pass as numbers.
func number(_ value: TemplateValue) throws -> Double {
    switch value {
    case .float(let number): return number
    case .int(let number): return Double(number)
    case .string(let text):
        guard let number = parseFloat(text) else { throw TemplateProblem("can't convert \(quoteGo(text)) to float") }
        return number
    default: throw TemplateProblem("can't convert \(value.kind) to float")
    }
}

/// %.4g and a metric prefix: 1.234k, 12.35m.
func humanize(_ value: Double) -> String {
    if value == 0 || !value.isFinite { return general(value) }
    var rest = value
    var prefix = ""
    if value.magnitude >= 1 {
        for unit in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if rest.magnitude < 1000 { break }
            prefix = unit
            rest /= 1000
        }
    } else {
        for unit in ["m", "u", "n", "p", "f", "a", "z", "y"] {
            if rest.magnitude >= 1 { break }
            prefix = unit
            rest *= 1000
        }
    }
    return general(rest) + prefix
}

/// %.4g and a binary prefix: 1.5Ki.
func humanize1024(_ value: Double) -> String {
    if value.magnitude <= 1 || !value.isFinite { return general(value) }
    var rest = value
    var prefix = ""
    for unit in ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if rest.magnitude < 1024 { break }
        prefix = unit
        rest /= 1024
    }
    return general(rest) + prefix
}

/// Seconds as days, hours, minutes and seconds; below a second with a metric prefix.
func humanizeDuration(_ value: Double) -> String {
    if !value.isFinite { return general(value) }
    if value == 0 { return general(value) + "s" }
    if value.magnitude >= 1 {
        let sign = value < 0 ? "-" : ""
        let total = Int64(min(value.magnitude, 9e18))
        let (seconds, minutes, hours, days) = (total % 60, total / 60 % 60, total / 3600 % 24, total / 86400)
        if days != 0 { return "\(sign)\(days)d \(hours)h \(minutes)m \(seconds)s" }
        if hours != 0 { return "\(sign)\(hours)h \(minutes)m \(seconds)s" }
        if minutes != 0 { return "\(sign)\(minutes)m \(seconds)s" }
        return sign + general(value.magnitude) + "s"
    }
    var rest = value
    var prefix = ""
    for unit in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if rest.magnitude >= 1 { break }
        prefix = unit
        rest *= 1000
    }
    return general(rest) + prefix + "s"
}

/// A ratio as per cent.
func humanizePercentage(_ value: Double) -> String { general(value * 100) + "%" }

/// Go's %.4g.
private func general(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    return cFormat(value, 4, "g")
}

/// The first letter of each word in upper case.
func titled(_ text: String) -> String {
    var out = ""
    var before: Character = " "
    for character in text {
        out +=
            before.isLetter || before.isNumber || before == "'" || before == "_"
            ? "\(character)" : character.uppercased()
        before = character
    }
    return out
}
