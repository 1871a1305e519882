import MetricModel
import Platform

/// Decodes `a=b&c=d` with percent escapes and `+` for blanks. Pairs that are not UTF-8 or badly escaped throw.
package func parseForm(_ text: some Sequence<UInt8>) throws(APIError) -> [(name: String, value: String)] {
    var pairs: [(name: String, value: String)] = []
    for part in Array(text).split(separator: UInt8(ascii: "&")) {
        let halves = part.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
        let name = try percentDecoded(halves[0], plusIsBlank: true)
        let value = halves.count > 1 ? try percentDecoded(halves[1], plusIsBlank: true) : ""
        pairs.append((name, value))
    }
    return pairs
}

package func percentDecoded(_ text: some Sequence<UInt8>, plusIsBlank: Bool) throws(APIError) -> String {
    var out: [UInt8] = []
    let bytes = Array(text)
    var at = 0
    while at < bytes.count {
        switch bytes[at] {
        case UInt8(ascii: "%"):
            guard at + 2 < bytes.count, let high = hexValue(bytes[at + 1]), let low = hexValue(bytes[at + 2]) else {
                let shown = String(decoding: bytes[at..<min(at + 3, bytes.count)], as: UTF8.self)
                throw APIError(.badData, "error parsing form values: invalid URL escape \"\(shown)\"")
            }
            out.append(high << 4 | low)
            at += 3
        case UInt8(ascii: "+") where plusIsBlank:
            out.append(UInt8(ascii: " "))
            at += 1
        default:
            out.append(bytes[at])
            at += 1
        }
    }
    return String(decoding: out, as: UTF8.self)
}

private func hexValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}

/// The earliest and latest times Prometheus' API names, clamped to what a store can hold.
package let minimumTime: Int64 = -9_223_372_036_854_775
package let maximumTime: Int64 = 9_223_372_036_854_775

/// Milliseconds of a Unix time in seconds (with decimals) or of RFC 3339; nil where the text is neither.
package func parseTime(_ text: String) -> Int64? {
    if let seconds = Double(text), seconds.isFinite {
        let milliseconds = (seconds * 1000).rounded()
        guard milliseconds.magnitude < 9.2e15 else { return milliseconds < 0 ? minimumTime : maximumTime }
        return Int64(milliseconds)
    }
    if text == "-292273086-05-16T16:47:06Z" { return minimumTime }
    if text == "292277025-08-18T07:12:54.999999999Z" { return maximumTime }
    return parseRFC3339(text)
}

/// Milliseconds of `2026-11-24T10:00:00.123Z` or with an offset such as `+01:00`; nil where the text is none.
package func parseRFC3339(_ text: String) -> Int64? {
    let bytes = Array(text.utf8)
    func number(_ from: Int, _ count: Int) -> Int64? {
        guard from + count <= bytes.count else { return nil }
        var value: Int64 = 0
        for byte in bytes[from..<from + count] {
            guard byte >= 0x30, byte <= 0x39 else { return nil }
            value = value * 10 + Int64(byte - 0x30)
        }
        return value
    }
    guard bytes.count >= 20, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
        bytes[10] == UInt8(ascii: "T") || bytes[10] == UInt8(ascii: "t"), bytes[13] == UInt8(ascii: ":"),
        bytes[16] == UInt8(ascii: ":"),
        let year = number(0, 4), let month = number(5, 2), let day = number(8, 2), let hour = number(11, 2),
        let minute = number(14, 2), let second = number(17, 2),
        (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 61
    else { return nil }
    var at = 19
    var milliseconds: Int64 = 0
    if bytes[at] == UInt8(ascii: ".") {
        at += 1
        let start = at
        var scale: Int64 = 100
        while at < bytes.count, bytes[at] >= 0x30, bytes[at] <= 0x39 {
            milliseconds += Int64(bytes[at] - 0x30) * scale
            scale /= 10
            at += 1
        }
        guard at > start else { return nil }
    }
    guard at < bytes.count else { return nil }
    var offset: Int64 = 0
    switch bytes[at] {
    case UInt8(ascii: "Z"), UInt8(ascii: "z"):
        guard at + 1 == bytes.count else { return nil }
    case UInt8(ascii: "+"), UInt8(ascii: "-"):
        guard bytes.count == at + 6, bytes[at + 3] == UInt8(ascii: ":"), let hours = number(at + 1, 2),
            let minutes = number(at + 4, 2), hours < 24, minutes < 60
        else { return nil }
        offset = (hours * 60 + minutes) * (bytes[at] == UInt8(ascii: "-") ? -60 : 60)
    default: return nil
    }
    let days = daysSinceEpoch(year: year, month: month, day: day)
    return (days * 86400 + hour * 3600 + minute * 60 + second - offset) * 1000 + milliseconds
}

/// Milliseconds of a number of seconds or a Prometheus duration; nil where the text is neither.
package func parseStep(_ text: String) -> Int64? {
    if let seconds = Double(text) {
        guard seconds.isFinite, seconds.magnitude < 9.2e12 else { return nil }
        return Int64((seconds * 1000).rounded(.towardZero))
    }
    return parseDuration(text)
}

extension APIRequest {
    /// A time parameter; `fallback` where it is absent or empty.
    package func time(_ name: String, or fallback: Int64) throws(APIError) -> Int64 {
        guard let text = parameter(name), !text.isEmpty else { return fallback }
        guard let time = parseTime(text) else {
            throw .parameter(
                name, "Invalid time value for '\(name)': cannot parse \(quoteGo(text)) to a valid timestamp")
        }
        return time
    }

    /// `limit`: 0 (none) where absent.
    package func limit() throws(APIError) -> Int {
        guard let text = parameter("limit"), !text.isEmpty else { return 0 }
        guard let limit = Int(text) else {
            throw .parameter("limit", "strconv.Atoi: parsing \(quoteGo(text)): invalid syntax")
        }
        guard limit >= 0 else { throw .parameter("limit", "limit must be non-negative") }
        return limit
    }
}
