import Platform

/// A time in one of Go's layouts, whose parts are those of the reference time Mon Jan 2 15:04:05 MST 2006.
func formatGoTime(_ milliseconds: Int64, _ layout: String, _ zone: ZoneInfo) -> String {
    let seconds = milliseconds >= 0 ? milliseconds / 1000 : -((-milliseconds + 999) / 1000)
    let offset = zone.offset(at: seconds)
    let local = seconds + offset
    let day = local >= 0 ? local / 86400 : -((-local + 86399) / 86400)
    let ofDay = local - day * 86400
    let date = civilDate(daysSinceEpoch: day)
    let (hour, minute, second) = (ofDay / 3600, ofDay / 60 % 60, ofDay % 60)
    let fraction = Int(milliseconds - seconds * 1000)
    let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]
    let weekdays = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"]
    let weekday = weekdays[Int((day % 7 + 7) % 7)]
    let month = months[Int(date.month) - 1]
    func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
    func zoneText(_ separator: String, z: Bool) -> String {
        if z && offset == 0 { return "Z" }
        let sign = offset < 0 ? "-" : "+"
        return sign + two(Int64(offset.magnitude) / 3600) + separator + two(Int64(offset.magnitude) / 60 % 60)
    }
    func fractionText(_ count: Int, trimmed: Bool) -> String {
        var digits = String(fraction)
        digits = String(repeating: "0", count: max(0, 3 - digits.count)) + digits + String(repeating: "0", count: 6)
        digits = String(digits.prefix(count))
        if trimmed { while digits.hasSuffix("0") { digits.removeLast() } }
        return digits
    }
    // Longest first, so that "January" is not taken for "Jan".
    let parts: [(String, () -> String)] = [
        ("January", { month }), ("Monday", { weekday }), ("Z07:00", { zoneText(":", z: true) }),
        ("-07:00", { zoneText(":", z: false) }), ("Z0700", { zoneText("", z: true) }),
        ("-0700", { zoneText("", z: false) }), ("2006", { String(date.year) }), ("Jan", { String(month.prefix(3)) }),
        ("Mon", { String(weekday.prefix(3)) }), ("MST", { zone == .utc ? "UTC" : zoneText("", z: false) }),
        ("002", { String(day - daysSinceEpoch(year: date.year, month: 1, day: 1) + 1) }),
        ("-07", { String(zoneText("", z: false).prefix(3)) }),
        ("01", { two(date.month) }), ("02", { two(date.day) }), ("03", { two((hour + 11) % 12 + 1) }),
        ("04", { two(minute) }), ("05", { two(second) }), ("06", { two(date.year % 100) }), ("15", { two(hour) }),
        ("PM", { hour < 12 ? "AM" : "PM" }), ("pm", { hour < 12 ? "am" : "pm" }),
        ("_2", { date.day < 10 ? " \(date.day)" : "\(date.day)" }), ("1", { String(date.month) }),
        ("2", { String(date.day) }), ("3", { String((hour + 11) % 12 + 1) }), ("4", { String(minute) }),
        ("5", { String(second) }),
    ]
    var out = ""
    var rest = Substring(layout)
    while let first = rest.first {
        if first == "." || first == ",", let digit = rest.dropFirst().first, digit == "0" || digit == "9" {
            let run = rest.dropFirst().prefix { $0 == digit }
            if rest.dropFirst(run.count + 1).first?.isNumber != true {
                let text = fractionText(run.count, trimmed: digit == "9")
                if !text.isEmpty { out += "\(first)\(text)" }
                rest = rest.dropFirst(run.count + 1)
                continue
            }
        }
        if let part = parts.first(where: { rest.hasPrefix($0.0) }) {
            out += part.1()
            rest = rest.dropFirst(part.0.count)
        } else {
            out.append(first)
            rest = rest.dropFirst()
        }
    }
    return out
}
