import Platform

/// A `metav1.Time`: RFC 3339, whole seconds. Read tolerantly (fractions and offsets too).
package struct Timestamp: Sendable, Hashable, Codable, Comparable {
    package var milliseconds: Int64

    package init(milliseconds: Int64) { self.milliseconds = milliseconds }

    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let microseconds = parseRFC3339Microseconds(text) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "\"\(text.prefix(60))\" is not a time"))
        }
        milliseconds = microseconds / 1000
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(formatRFC3339(milliseconds - milliseconds % 1000, fraction: false))
    }

    package static func < (a: Timestamp, b: Timestamp) -> Bool { a.milliseconds < b.milliseconds }
}

/// A `metav1.MicroTime`: RFC 3339 with exactly six digits of a second.
package struct MicroTime: Sendable, Hashable, Codable, Comparable {
    package var microseconds: Int64

    package init(microseconds: Int64) { self.microseconds = microseconds }

    package init(milliseconds: Int64) { microseconds = milliseconds * 1000 }

    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let microseconds = parseRFC3339Microseconds(text) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "\"\(text.prefix(60))\" is not a time"))
        }
        self.microseconds = microseconds
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }

    package var text: String {
        let (quotient, remainder) = microseconds.quotientAndRemainder(dividingBy: 1_000_000)
        let seconds = remainder < 0 ? quotient - 1 : quotient
        let fraction = String(remainder < 0 ? remainder + 1_000_000 : remainder)
        let zeros = String(repeating: "0", count: max(0, 6 - fraction.utf8.count))
        return String(formatRFC3339(seconds * 1000, fraction: false).dropLast()) + ".\(zeros)\(fraction)Z"
    }

    package static func < (a: MicroTime, b: MicroTime) -> Bool { a.microseconds < b.microseconds }
}

/// Microseconds since 1970 of an RFC 3339 time; digits past the sixth are cut. Nil where it is none.
package func parseRFC3339Microseconds(_ text: String) -> Int64? {
    let bytes = Array(text.utf8)
    guard bytes.count >= 20, bytes[4] == 45, bytes[7] == 45, bytes[10] == 84 || bytes[10] == 116, bytes[13] == 58,
        bytes[16] == 58
    else { return nil }
    func number(_ range: Range<Int>) -> Int64? {
        var value: Int64 = 0
        for byte in bytes[range] {
            guard byte >= 48, byte <= 57 else { return nil }
            value = value * 10 + Int64(byte - 48)
        }
        return value
    }
    guard let year = number(0..<4), let month = number(5..<7), let day = number(8..<10), let hour = number(11..<13),
        let minute = number(14..<16), let second = number(17..<19), (1...12).contains(month), (1...31).contains(day),
        hour < 24, minute < 60, second <= 60
    else { return nil }
    var at = 19
    var micros: Int64 = 0
    if bytes[at] == 46 {
        at += 1
        var scale: Int64 = 100_000
        let start = at
        while at < bytes.count, bytes[at] >= 48, bytes[at] <= 57 {
            micros += Int64(bytes[at] - 48) * scale
            scale /= 10
            at += 1
        }
        if at == start { return nil }
    }
    guard at < bytes.count else { return nil }
    var offset: Int64 = 0
    switch bytes[at] {
    case 90, 122: guard at + 1 == bytes.count else { return nil }
    case 43, 45:
        guard bytes.count == at + 6, bytes[at + 3] == 58, let hours = number(at + 1..<at + 3),
            let minutes = number(at + 4..<at + 6)
        else { return nil }
        offset = (hours * 60 + minutes) * (bytes[at] == 43 ? 60 : -60)
    default: return nil
    }
    let days = daysSinceEpoch(year: year, month: month, day: day)
    return (days * 86_400 + hour * 3600 + minute * 60 + second - offset) * 1_000_000 + micros
}

/// A `resource.Quantity` as it was written: `250m`, `16Gi`, `1e3`.
package struct Quantity: Sendable, Hashable, Codable {
    package var text: String

    package init(_ text: String) { self.text = text }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let text = try? container.decode(String.self) {
            self.text = text
        } else {
            text = "\(try container.decode(Int64.self))"
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(text)
    }

    /// In the base unit (cores, bytes, pieces); nil where the text is none.
    package var value: Double? {
        let suffixes: [(String, Double)] = [
            ("Ki", 1024), ("Mi", 1_048_576), ("Gi", 1_073_741_824), ("Ti", 1_099_511_627_776),
            ("Pi", 1_125_899_906_842_624), ("Ei", 1_152_921_504_606_846_976), ("n", 1e-9), ("u", 1e-6), ("m", 1e-3),
            ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18),
        ]
        for (suffix, factor) in suffixes where text.hasSuffix(suffix) {
            guard let number = Double(text.dropLast(suffix.utf8.count)), number.isFinite else { return nil }
            // Division keeps 250m at exactly 0.25.
            return factor < 1 ? number / (1 / factor).rounded() : number * factor
        }
        guard let number = Double(text), number.isFinite else { return nil }
        return number
    }
}

/// A number or a text such as `25%` or a port's name.
package enum IntOrString: Sendable, Hashable, Codable, CustomStringConvertible {
    case int(Int)
    case string(String)

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let number = try? container.decode(Int.self) {
            self = .int(number)
        } else {
            self = .string(try container.decode(String.self))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .int(let number): try container.encode(number)
        case .string(let text): try container.encode(text)
        }
    }

    package var description: String {
        switch self {
        case .int(let number): String(number)
        case .string(let text): text
        }
    }
}

/// `metav1.LabelSelector`. An empty one selects everything.
package struct LabelSelector: Sendable, Hashable, Codable {
    package struct Requirement: Sendable, Hashable, Codable {
        package var key: String
        /// In, NotIn, Exists or DoesNotExist.
        package var `operator`: String
        package var values: [String]?
    }

    package var matchLabels: [String: String]?
    package var matchExpressions: [Requirement]?

    package init(matchLabels: [String: String]? = nil) { self.matchLabels = matchLabels }

    package func matches(_ labels: [String: String]) -> Bool {
        for (name, value) in matchLabels ?? [:] where labels[name] != value { return false }
        for requirement in matchExpressions ?? [] {
            let value = labels[requirement.key]
            let holds =
                switch requirement.operator {
                case "In": value.map { requirement.values?.contains($0) ?? false } ?? false
                case "NotIn": value.map { !(requirement.values?.contains($0) ?? false) } ?? true
                case "Exists": value != nil
                case "DoesNotExist": value == nil
                default: false
                }
            if !holds { return false }
        }
        return true
    }
}

/// A condition of any object: `status` is True, False or Unknown.
package struct Condition: Sendable, Hashable, Codable {
    package var type: String
    package var status: String
    package var reason: String?
    package var message: String?
    package var lastTransitionTime: Timestamp?
    package var lastHeartbeatTime: Timestamp?
}
