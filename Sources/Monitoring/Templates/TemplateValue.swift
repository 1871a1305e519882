import MetricModel
package import Platform

/// A value that templates work with: Go's kinds as far as the documented data and functions need them.
package indirect enum TemplateValue: Sendable {
    case none
    case bool(Bool)
    case int(Int)
    case float(Double)
    case string(String)
    /// Text that is HTML already: not escaped in HTML.
    case html(String)
    /// Milliseconds since 1970 UTC.
    case time(Int64, ZoneInfo)
    case list([TemplateValue])
    case map([String: TemplateValue])
    case object(TemplateObject)

    package static func time(_ milliseconds: Int64) -> TemplateValue { .time(milliseconds, .utc) }

    /// A Go struct: it has the fields of these names, and asking for another one is an error, not an empty text.
    package static func record(_ kind: String, _ fields: [(name: String, value: TemplateValue)]) -> TemplateValue {
        .object(
            TemplateObject(
                kind: kind, text: { "{" + fields.map(\.value.text).joined(separator: " ") + "}" },
                fields: fields, member: { name, _ in fields.first { $0.name == name }?.value }))
    }

    /// What `if` and `with` go by: false, zero, and whatever is empty do not count.
    package var isTrue: Bool {
        switch self {
        case .none: false
        case .bool(let value): value
        case .int(let value): value != 0
        case .float(let value): value != 0
        case .string(let text), .html(let text): !text.isEmpty
        case .time: true
        case .list(let list): !list.isEmpty
        case .map(let map): !map.isEmpty
        case .object(let object): object.elements.map { !$0().isEmpty } ?? true
        }
    }

    /// As Go prints it with %v.
    package var text: String {
        switch self {
        case .none: "<no value>"
        case .bool(let value): value ? "true" : "false"
        case .int(let value): String(value)
        case .float(let value): goFloat(value)
        case .string(let text), .html(let text): text
        case .time(let milliseconds, let zone): goTime(milliseconds, zone)
        case .list(let list): "[" + list.map(\.text).joined(separator: " ") + "]"
        case .map(let map):
            "map[" + map.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value.text)" }.joined(separator: " ") + "]"
        case .object(let object): object.text()
        }
    }

    var kind: String {
        switch self {
        case .none: "nil"
        case .bool: "bool"
        case .int: "int"
        case .float: "float64"
        case .string: "string"
        case .html: "template.HTML"
        case .time: "time.Time"
        case .list: "list"
        case .map: "map"
        case .object(let object): object.kind
        }
    }
}

/// A value with fields and methods of its own.
package struct TemplateObject: Sendable {
    package typealias Member = @Sendable (_ name: String, _ arguments: [TemplateValue]) throws -> TemplateValue?

    package var kind: String
    package var text: @Sendable () -> String
    /// A struct's fields, which `toJson` writes; nil for what is none.
    package var fields: [(name: String, value: TemplateValue)]?
    /// What `range` walks over; nil for what it cannot.
    package var elements: (@Sendable () -> [(key: TemplateValue, value: TemplateValue)])?
    /// Whether `range` gives positions, not names.
    package var isList: Bool
    /// A field's or a method's value; nil where there is none of that name.
    package var member: Member

    package init(
        kind: String, text: @escaping @Sendable () -> String = { "" },
        elements: (@Sendable () -> [(key: TemplateValue, value: TemplateValue)])? = nil,
        fields: [(name: String, value: TemplateValue)]? = nil, isList: Bool = false, member: @escaping Member
    ) {
        self.kind = kind
        self.text = text
        self.elements = elements
        self.fields = fields
        self.isList = isList
        self.member = member
    }
}

/// What is wrong with a template, and where.
package struct TemplateError: Error, Sendable, Equatable, CustomStringConvertible {
    package let template: String
    /// From 1; 0 where it is not known.
    package let line: Int
    package let message: String

    package init(template: String, line: Int, message: String) {
        self.template = template
        self.line = line
        self.message = message
    }

    package var description: String {
        line > 0 ? "template \(template):\(line): \(message)" : "template \(template): \(message)"
    }
}

/// What a function or method refuses; the evaluator adds the place.
struct TemplateProblem: Error {
    let message: String
    init(_ message: String) { self.message = message }
}

/// Go's %v of a float64: shortest digits, an exponent below 1e-4 and from 1e21 on.
func goFloat(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
    let magnitude = value.magnitude
    if magnitude != 0, magnitude < 1e-4 || magnitude >= 1e21 { return exponential(value, nil) }
    return formatFloat(value)
}

/// Digits and an exponent of at least two digits; `precision` nil takes the shortest digits.
func exponential(_ value: Double, _ precision: Int?) -> String {
    if value == 0 {
        return (value.sign == .minus ? "-" : "") + "0"
            + (precision.map { $0 > 0 ? "." + String(repeating: "0", count: $0) : "" } ?? "") + "e+00"
    }
    let text: String
    if let precision {
        text = cFormat(value, precision, "e")
    } else {
        // The fewest digits that give the same float.
        text = (0...17).lazy.map { cFormat(value, $0, "e") }.first { Double($0) == value } ?? cFormat(value, 17, "e")
    }
    return text
}

/// Go's default form of a time.
func goTime(_ milliseconds: Int64, _ zone: ZoneInfo) -> String {
    formatGoTime(milliseconds, "2006-01-02 15:04:05.999999999 -0700 MST", zone)
}
