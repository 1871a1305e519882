import MetricModel
import Platform

/// Methods of a time.
func timeMember(_ name: String, _ arguments: [TemplateValue], _ milliseconds: Int64, _ zone: ZoneInfo) -> TemplateValue?
{
    switch name {
    case "Format":
        guard case .string(let layout)? = arguments.first else { return nil }
        return .string(formatGoTime(milliseconds, layout, zone))
    case "Unix": return .int(Int(milliseconds / 1000))
    case "UnixMilli": return .int(Int(milliseconds))
    case "UTC": return .time(milliseconds, .utc)
    case "Local": return .time(milliseconds, ZoneInfo("Local") ?? .utc)
    case "IsZero": return .bool(milliseconds <= 0)
    case "String": return .string(goTime(milliseconds, zone))
    case "Year": return .string(formatGoTime(milliseconds, "2006", zone))
    case "Month": return .string(formatGoTime(milliseconds, "January", zone))
    case "Day": return .int(Int(formatGoTime(milliseconds, "2", zone)) ?? 0)
    case "Hour": return .int(Int(formatGoTime(milliseconds, "15", zone)) ?? 0)
    case "Minute": return .int(Int(formatGoTime(milliseconds, "4", zone)) ?? 0)
    case "Second": return .int(Int(formatGoTime(milliseconds, "5", zone)) ?? 0)
    case "Weekday": return .string(formatGoTime(milliseconds, "Monday", zone))
    default: return nil
    }
}

/// What text/template has by itself; `and` and `or` are the evaluator's.
let builtins: [String: TemplateFunctions.Function] = [
    "not": { .bool(!(try argument($0, 0)).isTrue) },
    "print": { .string(goPrint($0)) },
    "println": { .string($0.map(\.text).joined(separator: " ") + "\n") },
    "printf": { arguments in
        guard case .string(let format) = try argument(arguments, 0) else {
            throw TemplateProblem("a format is expected")
        }
        return .string(goPrintf(format, Array(arguments.dropFirst())))
    },
    "len": { arguments in
        switch try argument(arguments, 0) {
        case .string(let text), .html(let text): return .int(text.utf8.count)
        case .list(let list): return .int(list.count)
        case .map(let map): return .int(map.count)
        case .object(let object):
            guard let elements = object.elements else { throw TemplateProblem("len of type \(object.kind)") }
            return .int(elements().count)
        case let other: throw TemplateProblem("len of type \(other.kind)")
        }
    },
    "index": { arguments in
        var value = try argument(arguments, 0)
        for key in arguments.dropFirst() { value = try element(value, key) }
        return value
    },
    "slice": { arguments in
        let from = arguments.count > 1 ? try integer(arguments[1]) : 0
        switch try argument(arguments, 0) {
        case .string(let text):
            let bytes = Array(text.utf8)
            let to = arguments.count > 2 ? try integer(arguments[2]) : bytes.count
            guard from >= 0, from <= to, to <= bytes.count else { throw TemplateProblem("index out of range: \(to)") }
            return .string(String(decoding: bytes[from..<to], as: UTF8.self))
        case .list(let list):
            let to = arguments.count > 2 ? try integer(arguments[2]) : list.count
            guard from >= 0, from <= to, to <= list.count else { throw TemplateProblem("index out of range: \(to)") }
            return .list(Array(list[from..<to]))
        case let other: throw TemplateProblem("can't slice item of type \(other.kind)")
        }
    },
    "html": { .string(htmlEscaped(goPrint($0))) },
    "js": { .string(scriptEscaped(goPrint($0))) },
    "urlquery": { .string(percentEncoded(goPrint($0), spaceAsPlus: true)) },
    "eq": { arguments in
        let first = try argument(arguments, 0)
        guard arguments.count > 1 else { throw TemplateProblem("missing argument for comparison") }
        return .bool(try arguments.dropFirst().contains { try compare(first, $0) == 0 })
    },
    "ne": { .bool(try compare(try argument($0, 0), try argument($0, 1)) != 0) },
    "lt": { .bool(try compare(try argument($0, 0), try argument($0, 1), ordered: true) < 0) },
    "le": { .bool(try compare(try argument($0, 0), try argument($0, 1), ordered: true) <= 0) },
    "gt": { .bool(try compare(try argument($0, 0), try argument($0, 1), ordered: true) > 0) },
    "ge": { .bool(try compare(try argument($0, 0), try argument($0, 1), ordered: true) >= 0) },
]

func argument(_ arguments: [TemplateValue], _ index: Int) throws -> TemplateValue {
    guard index < arguments.count else {
        throw TemplateProblem("wrong number of args: want at least \(index + 1) got \(arguments.count)")
    }
    return arguments[index]
}

func integer(_ value: TemplateValue) throws -> Int {
    switch value {
    case .int(let number): return number
    case .float(let number) where number.isFinite && number.magnitude < 9e15: return Int(number)
    default: throw TemplateProblem("a whole number is expected, not \(value.kind)")
    }
}

func text(_ value: TemplateValue) throws -> String {
    switch value {
    case .string(let text), .html(let text): return text
    default: throw TemplateProblem("a string is expected, not \(value.kind)")
    }
}

/// Go's fmt.Sprint: a blank between operands that are both no strings.
private func goPrint(_ arguments: [TemplateValue]) -> String {
    var out = ""
    for (index, value) in arguments.enumerated() {
        if index > 0 {
            var strings = false
            for side in [arguments[index - 1], value] {
                if case .string = side { strings = true }
            }
            if !strings { out += " " }
        }
        out += value.text
    }
    return out
}

private func element(_ value: TemplateValue, _ key: TemplateValue) throws -> TemplateValue {
    switch value {
    case .list(let list):
        let index = try integer(key)
        guard index >= 0, index < list.count else { throw TemplateProblem("index out of range: \(index)") }
        return list[index]
    case .map(let map): return map[try text(key)] ?? .string("")
    case .object(let object):
        if let elements = object.elements?() {
            if case .int(let index) = key {
                guard index >= 0, index < elements.count else { throw TemplateProblem("index out of range: \(index)") }
                return elements[index].value
            }
            return elements.first { $0.key.text == key.text }?.value ?? .string("")
        }
        throw TemplateProblem("can't index item of type \(object.kind)")
    case .string(let text):
        let bytes = Array(text.utf8)
        let index = try integer(key)
        guard index >= 0, index < bytes.count else { throw TemplateProblem("index out of range: \(index)") }
        return .int(Int(bytes[index]))
    default: throw TemplateProblem("can't index item of type \(value.kind)")
    }
}

/// Below, at or above zero as a is to b; unequal kinds are an error as in Go.
private func compare(_ a: TemplateValue, _ b: TemplateValue, ordered: Bool = false) throws -> Int {
    switch (a, b) {
    case (.int(let x), .int(let y)): return x < y ? -1 : x > y ? 1 : 0
    case (.float(let x), .float(let y)): return x < y ? -1 : x > y ? 1 : x == y ? 0 : 1
    case (.string(let x), .string(let y)), (.html(let x), .string(let y)), (.string(let x), .html(let y)),
        (.html(let x), .html(let y)):
        return x == y ? 0 : x.utf8.lexicographicallyPrecedes(y.utf8) ? -1 : 1
    case (.bool(let x), .bool(let y)) where !ordered: return x == y ? 0 : 1
    case (.none, .none) where !ordered: return 0
    case (.none, _) where !ordered, (_, .none) where !ordered: return 1
    case (.time(let x, _), .time(let y, _)): return x < y ? -1 : x > y ? 1 : 0
    default: throw TemplateProblem("incompatible types for comparison")
    }
}

/// For a text within a script's quotes: quotes and backslashes escaped, and what could end or open markup as `\u003C`.
private func scriptEscaped(_ text: String) -> String {
    var out = ""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\\", "'", "\"": out += "\\" + String(Character(scalar))
        case "<", ">", "&", "=", "\u{0}"..."\u{1f}", "\u{2028}", "\u{2029}":
            let digits = String(scalar.value, radix: 16, uppercase: true)
            out += "\\u" + String(repeating: "0", count: 4 - digits.utf8.count) + digits
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out
}
