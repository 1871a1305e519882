package import Platform

/// Hours in which work may begin, such as Saturday and Sunday from 02:00 to 05:00 in a time zone.
package struct MaintenanceWindow: Sendable, Hashable {
    /// 0 for Sunday … 6 for Saturday: the day on which it opens.
    package let days: Set<Int64>
    /// Minutes of the day; where `to` is not after `from` it closes on the next day.
    package let from: Int64
    package let to: Int64
    package let zone: ZoneInfo

    /// Nil where a time is none or no day is given.
    package init?(days: Set<Int64>, from: Int64, to: Int64, zone: ZoneInfo) {
        guard !days.isEmpty, days.allSatisfy({ (0...6).contains($0) }), (0..<1440).contains(from),
            (0...1440).contains(to),
            from != to
        else { return nil }
        self.days = days
        self.from = from
        self.to = to
        self.zone = zone
    }

    /// Minutes of a text like `02:30`; nil where it is none. `24:00` is the day's end.
    package static func minutes(_ text: String) -> Int64? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].utf8.count <= 2, parts[1].utf8.count == 2, let hour = Int64(parts[0]),
            let minute = Int64(parts[1]), (0...24).contains(hour), (0...59).contains(minute), hour < 24 || minute == 0
        else { return nil }
        return hour * 60 + minute
    }

    /// `time` in milliseconds since 1970 UTC.
    package func contains(_ time: Int64) -> Bool {
        let seconds = floorDivide(time, 1000)
        let local = floorDivide(seconds + zone.offset(at: seconds), 60)
        let day = floorDivide(local, 1440)
        let minute = local - day * 1440
        if to > from { return days.contains(weekdayOfDay(day)) && minute >= from && minute < to }
        return (days.contains(weekdayOfDay(day)) && minute >= from)
            || (days.contains(weekdayOfDay(day - 1)) && minute < to)
    }

    /// `time` itself where the window is open then, else the minute at which it next opens; nil where it does not within 15 days.
    package func opening(notBefore time: Int64) -> Int64? {
        if contains(time) { return time }
        var minute = floorDivide(time, 60_000) + 1
        let limit = minute + 15 * 1440
        while minute < limit {
            if contains(minute * 60_000) { return minute * 60_000 }
            minute += 1
        }
        return nil
    }
}
