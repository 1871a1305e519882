/// Prometheus' durations: `1y2w3d4h5m6s7ms`, each unit at most once and in this order; years of 365 days, weeks of 7.
private let durationUnits: [(name: String, milliseconds: Int64)] = [
    ("y", 365 * 86_400_000), ("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000),
    ("ms", 1),
]

/// Milliseconds of a Prometheus duration; nil where the text is none, or too long for Int64 nanoseconds as in Prometheus.
package func parseDuration(_ text: String) -> Int64? {
    if text == "0" { return 0 }
    let bytes = Array(text.utf8)
    var total: Int64 = 0
    var at = 0
    var nextUnit = 0
    while at < bytes.count {
        var number: Int64 = 0
        let start = at
        while at < bytes.count, bytes[at] >= 0x30, bytes[at] <= 0x39 {
            let (shifted, overflow) = number.multipliedReportingOverflow(by: 10)
            let (sum, overflow2) = shifted.addingReportingOverflow(Int64(bytes[at] - 0x30))
            if overflow || overflow2 { return nil }
            number = sum
            at += 1
        }
        guard at > start else { return nil }
        let unitStart = at
        while at < bytes.count, bytes[at] < 0x30 || bytes[at] > 0x39 { at += 1 }
        let unit = String(decoding: bytes[unitStart..<at], as: UTF8.self)
        guard let index = durationUnits.firstIndex(where: { $0.name == unit }), index >= nextUnit else { return nil }
        nextUnit = index + 1
        let (scaled, overflow) = number.multipliedReportingOverflow(by: durationUnits[index].milliseconds)
        let (sum, overflow2) = total.addingReportingOverflow(scaled)
        if overflow || overflow2 || sum > Int64.max / 1_000_000 { return nil }
        total = sum
    }
    return bytes.isEmpty ? nil : total
}

/// The shortest text of a duration in Prometheus' form: years, weeks and days only where they divide it.
/// Negative durations get a leading `-`.
package func formatDuration(_ milliseconds: Int64) -> String {
    if milliseconds == 0 { return "0s" }
    var rest = milliseconds.magnitude
    var text = milliseconds < 0 ? "-" : ""
    for (name, unit) in durationUnits {
        let size = UInt64(unit)
        let exactOnly = size >= 86_400_000 && name != "d"
        if exactOnly && rest % size != 0 { continue }
        let count = rest / size
        if count > 0 {
            text += "\(count)\(name)"
            rest -= count * size
        }
    }
    return text
}
