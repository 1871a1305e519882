import Platform

/// The five fields as sets of numbers.
struct CronFields: Hashable, Sendable {
    private var minutes: UInt64
    private var hours: UInt64
    private var days: UInt64
    private var months: UInt64
    private var weekdays: UInt64
    private var anyDay: Bool
    private var anyWeekday: Bool

    /// Whether the schedule runs in every hour of a day, so that a change of the clock means nothing to it.
    var everyHour: Bool { hours == 0xff_ffff }

    init(_ fields: [String]) throws(ScheduleError) {
        let monthNames = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
        let dayNames = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
        minutes = try Self.set(fields[0], "minute", 0...59, [])
        hours = try Self.set(fields[1], "hour", 0...23, [])
        days = try Self.set(fields[2], "day of month", 1...31, [])
        months = try Self.set(fields[3], "month", 1...12, [""] + monthNames)
        weekdays = try Self.set(fields[4], "day of week", 0...7, dayNames)
        if weekdays & 1 << 7 != 0 { weekdays |= 1 }
        anyDay = fields[2].hasPrefix("*") || fields[2] == "?"
        anyWeekday = fields[4].hasPrefix("*") || fields[4] == "?"
    }

    private static func set(
        _ text: String, _ name: String, _ range: ClosedRange<Int>, _ names: [String]
    ) throws(ScheduleError) -> UInt64 {
        func number(_ text: Substring) throws(ScheduleError) -> Int {
            if let at = names.firstIndex(of: text.lowercased()), !text.isEmpty { return at }
            guard let value = Int(text), range.contains(value) else {
                throw ScheduleError(
                    "\"\(text)\" is not a \(name): a number from \(range.lowerBound) to \(range.upperBound) is expected"
                )
            }
            return value
        }
        var bits: UInt64 = 0
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
            var step = 1
            if halves.count == 2 {
                guard let value = Int(halves[1]), value > 0 else {
                    throw ScheduleError("\"\(part)\": a step above zero is expected after / in the \(name)")
                }
                step = value
            }
            var low = range.lowerBound
            var high = range.upperBound
            if halves[0] != "*" && halves[0] != "?" {
                let ends = halves[0].split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
                low = try number(ends[0])
                high = ends.count == 2 ? try number(ends[1]) : halves.count == 2 ? range.upperBound : low
                if high < low { throw ScheduleError("\"\(part)\": the \(name)'s range ends before it begins") }
            }
            for value in stride(from: low, through: high, by: step) { bits |= 1 << UInt64(value) }
        }
        return bits
    }

    func matchesMinute(_ minute: Int64) -> Bool { minutes & 1 << UInt64(minute) != 0 }
    func matchesHour(_ hour: Int64) -> Bool { hours & 1 << UInt64(hour) != 0 }

    /// `day` counts from 1970-01-01.
    func matchesDay(_ day: Int64) -> Bool {
        let date = civilDate(daysSinceEpoch: day)
        guard months & 1 << UInt64(date.month) != 0 else { return false }
        let inMonth = days & 1 << UInt64(date.day) != 0
        // 1970-01-01 was a Thursday.
        let weekday = (day % 7 + 11) % 7
        let inWeek = weekdays & 1 << UInt64(weekday) != 0
        if anyDay || anyWeekday { return inMonth && inWeek }
        return inMonth || inWeek
    }
}
