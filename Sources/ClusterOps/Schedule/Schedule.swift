package import Platform

/// When a job runs: five cron fields, a word such as `@daily`, or `every 15m`.
///
/// Cron fields are minute, hour, day of month, month and day of week, with names, ranges, lists and steps; where both days
/// are given either suffices, as in cron(8). Where clocks are put forward, a time that does not exist is made up for right
/// after; where they are put back, a time that comes twice counts once, unless the schedule runs in every hour.
package struct Schedule: Sendable, Hashable, CustomStringConvertible {
    private enum Kind: Hashable {
        case every(Int64)
        case cron(CronFields)
    }

    package let description: String
    package let zone: ZoneInfo
    private let kind: Kind

    /// Throws what is wrong with the text.
    package init(_ text: String, zone: ZoneInfo = .utc) throws(ScheduleError) {
        description = text
        self.zone = zone
        let words = text.split { $0 == " " || $0 == "\t" }.map(String.init)
        if words.first == "every" || words.first == "@every" {
            guard words.count == 2, let interval = Self.duration(words[1]), interval >= 1000 else {
                throw ScheduleError(
                    "\"\(text)\": after `every` a duration of a second or more is expected, such as 15m")
            }
            kind = .every(interval)
            return
        }
        let macros = [
            "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
            "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
        ]
        if text.hasPrefix("@") {
            guard let fields = macros[text] else {
                throw ScheduleError("\"\(text)\" is not one of \(macros.keys.sorted().joined(separator: ", "))")
            }
            kind = .cron(try CronFields(fields.split(separator: " ").map(String.init)))
            return
        }
        guard words.count == 5 else {
            throw ScheduleError(
                "\"\(text)\" is not a schedule: give five fields (minute hour day month weekday), @daily, or `every 15m`"
            )
        }
        kind = .cron(try CronFields(words))
    }

    /// Milliseconds of texts such as `90s`, `15m`, `1h30m`, `2d`.
    private static func duration(_ text: String) -> Int64? {
        let units: [Character: Int64] = ["s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000]
        var total: Int64 = 0
        var number: Int64?
        for character in text {
            if let digit = character.wholeNumberValue, character.isASCII {
                number = min((number ?? 0) * 10 + Int64(digit), 1_000_000)
            } else {
                guard let unit = units[character], let value = number else { return nil }
                total += value * unit
                number = nil
            }
        }
        return number == nil && total > 0 ? total : nil
    }

    /// The first time after `time` (both milliseconds since 1970 UTC); nil where there is none in five years.
    package func next(after time: Int64) -> Int64? {
        switch kind {
        case .every(let interval): return (time / interval + 1) * interval
        case .cron(let fields):
            guard let minute = next(fields, afterMinute: floorDivide(time, 60_000)) else { return nil }
            return minute * 60_000
        }
    }

    /// About how long from one run to the next, in milliseconds: what `…_interval_seconds` tells.
    package func typicalInterval(at time: Int64) -> Int64 {
        guard let first = next(after: time), let second = next(after: first) else { return 0 }
        return second - first
    }

    private func next(_ fields: CronFields, afterMinute: Int64) -> Int64? {
        var minute = afterMinute + 1
        let limit = minute + 5 * 366 * 1440
        while minute < limit {
            let offset = zone.offset(at: minute * 60) / 60
            let local = minute + offset
            if !fields.everyHour, let made = madeUp(fields, minute) { return made }
            let day = floorDivide(local, 1440)
            let ofDay = local - day * 1440
            if !fields.matchesDay(day) || !fields.matchesHour(ofDay / 60) {
                minute += skip(60 - ofDay % 60, from: minute)
                continue
            }
            if fields.matchesMinute(ofDay % 60), fields.everyHour || !isRepeated(minute) { return minute }
            minute += 1
        }
        return nil
    }

    /// Not over a change of the clock, which may lie within the hour.
    private func skip(_ minutes: Int64, from minute: Int64) -> Int64 {
        guard let change = zone.nextTransition(after: minute * 60) else { return minutes }
        let until = (change.at + 59) / 60 - minute
        return until > 0 ? min(minutes, until) : minutes
    }

    /// Where the clock was put forward at this minute over a time that matches: this minute.
    private func madeUp(_ fields: CronFields, _ minute: Int64) -> Int64? {
        guard let change = zone.previousTransition(notAfter: minute * 60), change.at / 60 == minute,
            change.after > change.before
        else { return nil }
        for local in (minute + change.before / 60)..<(minute + change.after / 60) {
            let day = floorDivide(local, 1440)
            let ofDay = local - day * 1440
            if fields.matchesDay(day), fields.matchesHour(ofDay / 60), fields.matchesMinute(ofDay % 60) {
                return minute
            }
        }
        return nil
    }

    /// Where the clock was put back, so that this local time has been before.
    private func isRepeated(_ minute: Int64) -> Bool {
        guard let change = zone.previousTransition(notAfter: minute * 60), change.after < change.before else {
            return false
        }
        return minute * 60 < change.at + (change.before - change.after)
    }
}

package struct ScheduleError: Error, Sendable, Equatable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a >= 0 ? a / b : -((-a + b - 1) / b) }
