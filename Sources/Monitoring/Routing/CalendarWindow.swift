package import Platform

/// A named set of times, of which a route is muted or in which it is active.
package struct NamedWindows: Sendable, Hashable {
    package var name: String
    package var windows: [CalendarWindow]

    package init(name: String, windows: [CalendarWindow]) {
        self.name = name
        self.windows = windows
    }

    package func contains(_ now: Int64) -> Bool { windows.contains { $0.contains(now) } }
}

/// One of Alertmanager's `<time_interval_spec>`: all given kinds of bounds must hold, one range of each kind is enough.
package struct CalendarWindow: Sendable, Hashable {
    /// Minutes of the day, the end excluded; 1440 is the day's end.
    package var times: [Range<Int>] = []
    /// 0 Sunday … 6 Saturday, inclusive.
    package var weekdays: [ClosedRange<Int>] = []
    /// 1 … 31 or, from the month's end, −1 … −31; begin and end of each range inclusive.
    package var daysOfMonth: [(begin: Int, end: Int)] = []
    package var months: [ClosedRange<Int>] = []
    package var years: [ClosedRange<Int>] = []
    package var location = ZoneInfo.utc

    package init() {}

    /// `now` in milliseconds since 1970 UTC.
    package func contains(_ now: Int64) -> Bool {
        var seconds = now.quotientAndRemainder(dividingBy: 1000).quotient
        seconds += location.offset(at: seconds)
        let day = seconds >= 0 ? seconds / 86400 : (seconds - 86399) / 86400
        let minute = Int((seconds - day * 86400) / 60)
        if !times.isEmpty, !times.contains(where: { $0.contains(minute) }) { return false }
        let date = civilDate(daysSinceEpoch: day)
        if !daysOfMonth.isEmpty {
            let next =
                date.month == 12
                ? daysSinceEpoch(year: date.year + 1, month: 1, day: 1)
                : daysSinceEpoch(year: date.year, month: date.month + 1, day: 1)
            let length = Int(next - daysSinceEpoch(year: date.year, month: date.month, day: 1))
            let inside = daysOfMonth.contains { range in
                var begin = range.begin < 0 ? length + range.begin + 1 : range.begin
                var end = range.end < 0 ? length + range.end + 1 : range.end
                // Begins after this month's end: not in this month at all.
                if begin > length || end < 1 { return false }
                begin = max(begin, 1)
                end = min(end, length)
                return begin <= end && Int(date.day) >= begin && Int(date.day) <= end
            }
            if !inside { return false }
        }
        if !months.isEmpty, !months.contains(where: { $0.contains(Int(date.month)) }) { return false }
        if !weekdays.isEmpty, !weekdays.contains(where: { $0.contains(Int(weekdayOfDay(day))) }) { return false }
        if !years.isEmpty, !years.contains(where: { $0.contains(Int(date.year)) }) { return false }
        return true
    }

    package static func == (a: CalendarWindow, b: CalendarWindow) -> Bool {
        a.times == b.times && a.weekdays == b.weekdays && a.months == b.months && a.years == b.years
            && a.location == b.location && a.daysOfMonth.elementsEqual(b.daysOfMonth, by: ==)
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(times)
        hasher.combine(weekdays)
        hasher.combine(months)
        hasher.combine(years)
    }
}

/// Why a text is no range of a time interval.
package struct WindowError: Error, Hashable, CustomStringConvertible {
    package let description: String

    init(_ description: String) { self.description = description }
}

/// The texts of ranges, as Alertmanager's configuration has them.
extension CalendarWindow {
    private static let weekdayNames = [
        "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
    ]
    private static let monthNames = [
        "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
        "december",
    ]

    /// `HH:MM` to minutes; 24:00 is the day's end.
    package static func minutes(_ text: String) throws(WindowError) -> Int {
        let b = Array(text.utf8)
        if b.count == 5, b[2] == UInt8(ascii: ":"), [0, 1, 3, 4].allSatisfy({ b[$0] >= 48 && b[$0] <= 57 }) {
            let hours = Int(b[0] - 48) * 10 + Int(b[1] - 48)
            let minutes = Int(b[3] - 48) * 10 + Int(b[4] - 48)
            if (hours < 24 && minutes < 60) || (hours == 24 && minutes == 0) { return hours * 60 + minutes }
        }
        throw WindowError("\"\(text)\" is no time of day; write HH:MM from 00:00 to 24:00")
    }

    package static func timeRange(from: String, to: String) throws(WindowError) -> Range<Int> {
        let begin = try minutes(from)
        let end = try minutes(to)
        guard begin < end else { throw WindowError("start time \(from) must be before end time \(to)") }
        return begin..<end
    }

    package static func weekdayRange(_ text: String) throws(WindowError) -> ClosedRange<Int> {
        try range(text, "weekday") { part throws(WindowError) in
            guard let index = weekdayNames.firstIndex(of: part) else {
                throw WindowError("\"\(part)\" is no weekday")
            }
            return index
        }
    }

    package static func monthRange(_ text: String) throws(WindowError) -> ClosedRange<Int> {
        try range(text, "month") { part throws(WindowError) in
            if let index = monthNames.firstIndex(of: part) { return index + 1 }
            // Alertmanager takes any number here; one above 12 is in no year.
            guard let number = Int(part), (1...1000).contains(number) else {
                throw WindowError("\"\(part)\" is no month")
            }
            return number
        }
    }

    package static func yearRange(_ text: String) throws(WindowError) -> ClosedRange<Int> {
        try range(text, "year") { part throws(WindowError) in
            guard let number = Int(part), number >= 0, number < 100_000 else {
                throw WindowError("\"\(part)\" is no year")
            }
            return number
        }
    }

    package static func dayOfMonthRange(_ text: String) throws(WindowError) -> (begin: Int, end: Int) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2, let begin = Int(parts[0]), let end = Int(parts[parts.count - 1]) else {
            throw WindowError("\"\(text)\" is no range of days of the month")
        }
        for day in [begin, end] where day == 0 || day < -31 || day > 31 {
            throw WindowError("\"\(day)\" is no day of the month; use 1 to 31 or -1 to -31")
        }
        if begin < 0 && end > 0 {
            throw WindowError("in \"\(text)\" the end must be negative where the start is")
        }
        // The longest month decides: what is backwards in it is backwards always.
        let first = begin < 0 ? 32 + begin : begin
        let last = end < 0 ? 32 + end : end
        guard first <= last else { throw WindowError("in \"\(text)\" the end is before the start") }
        return (begin, end)
    }

    private static func range(
        _ text: String, _ what: String, _ parse: (String) throws(WindowError) -> Int
    ) throws(WindowError) -> ClosedRange<Int> {
        let parts = text.lowercased().split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2 else { throw WindowError("\"\(text)\" is no range of \(what)s") }
        let begin = try parse(parts[0])
        let end = try parse(parts[parts.count - 1])
        guard begin <= end else { throw WindowError("in \"\(text)\" the end is before the start") }
        return begin...end
    }
}
