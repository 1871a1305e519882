import Platform
import Testing

@testable import ClusterOps

/// Goes through every minute there is: slow, and too simple to be wrong in an interesting way.
private struct SlowCron {
    let sets: [Set<Int64>]
    let isAnyDay: Bool
    let isAnyWeekday: Bool

    init(_ text: String) {
        let fields = text.split(separator: " ").map(String.init)
        let ranges: [ClosedRange<Int64>] = [0...59, 0...23, 1...31, 1...12, 0...7]
        sets = zip(fields, ranges).map { field, range in
            var out: Set<Int64> = []
            for part in field.split(separator: ",") {
                let pieces = part.split(separator: "/")
                let step = pieces.count == 2 ? Int64(pieces[1]) ?? 1 : 1
                var bounds = (range.lowerBound, range.upperBound)
                if pieces[0] != "*" {
                    let ends = pieces[0].split(separator: "-").compactMap { Int64($0) }
                    bounds = (ends[0], ends.count == 2 ? ends[1] : pieces.count == 2 ? range.upperBound : ends[0])
                }
                for value in bounds.0...bounds.1 where (value - bounds.0) % step == 0 { out.insert(value) }
            }
            return out
        }
        isAnyDay = fields[2].hasPrefix("*")
        isAnyWeekday = fields[4].hasPrefix("*")
    }

    /// `local` counts minutes of local time since 1970.
    func matches(_ local: Int64) -> Bool {
        let day = local >= 0 ? local / 1440 : -((-local + 1439) / 1440)
        let minute = local - day * 1440
        guard sets[0].contains(minute % 60), sets[1].contains(minute / 60) else { return false }
        let date = civilDate(daysSinceEpoch: day)
        guard sets[3].contains(date.month) else { return false }
        let weekday = weekdayOfDay(day)
        let inMonth = sets[2].contains(date.day)
        let inWeek = sets[4].contains(weekday) || (weekday == 0 && sets[4].contains(7))
        return isAnyDay || isAnyWeekday ? inMonth && inWeek : inMonth || inWeek
    }

    /// All times from one minute (UTC) to before another.
    func times(_ zone: ZoneInfo, from: Int64, to: Int64) -> [Int64] {
        let everyHour = sets[1].count == 24
        var out: [Int64] = []
        // The latest local time that there has been; far enough back to know what is a repetition.
        var latest = Int64.min
        for minute in (from - 2880)..<to {
            let local = minute + zone.offset(at: minute * 60) / 60
            var fires = matches(local)
            if !everyHour {
                if local <= latest { fires = false }
                if latest != Int64.min, local > latest + 1, (latest + 1..<local).contains(where: matches) {
                    fires = true
                }
            }
            latest = max(latest, local)
            if fires, minute >= from { out.append(minute) }
        }
        return out
    }
}

private struct Chance: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 29
    }
}

@Suite struct ScheduleTests {
    private static let zones = [
        "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kolkata", "UTC",
        "Africa/Cairo", "Pacific/Apia",
    ]
    /// 2026-11-25 00:00 UTC.
    private static let start: Int64 = 1_795_564_800 / 60

    private func randomCron(_ chance: inout Chance) -> String {
        func field(_ low: Int, _ high: Int) -> String {
            switch Int.random(in: 0..<6, using: &chance) {
            case 0, 1: return "*"
            case 2: return "*/\(Int.random(in: 1...12, using: &chance))"
            case 3:
                let a = Int.random(in: low...high, using: &chance)
                return "\(a)-\(Int.random(in: a...high, using: &chance))/\(Int.random(in: 1...4, using: &chance))"
            case 4:
                return (0..<3).map { _ in String(Int.random(in: low...high, using: &chance)) }.joined(separator: ",")
            default: return String(Int.random(in: low...high, using: &chance))
            }
        }
        return [field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)].joined(separator: " ")
    }

    private func compare(_ text: String, _ zone: ZoneInfo, from: Int64, to: Int64) throws {
        let schedule = try Schedule(text, zone: zone)
        let wanted = SlowCron(text).times(zone, from: from, to: to)
        var found: [Int64] = []
        var time = from * 60_000 - 1
        while let next = schedule.next(after: time), next < to * 60_000, found.count <= wanted.count {
            found.append(next / 60_000)
            time = next
        }
        if found != wanted {
            let at = zip(found, wanted).first { $0 != $1 }
            Issue.record(
                "\"\(text)\" in \(zone.name): \(found.count) times, \(wanted.count) expected; first difference \(String(describing: at))"
            )
        }
    }

    @Test(arguments: ["30 2 * * *", "15 * 1,15 * 1-5", "*/20 1-3 * * 0"])
    func agreesWithTheSlowOneOver400Days(text: String) throws {
        let zone = try #require(ZoneInfo("Europe/Berlin"))
        try compare(text, zone, from: Self.start, to: Self.start + 400 * 1440)
    }

    /// Around every change of the clock within 400 days, where mistakes live.
    @Test(arguments: zones) func agreesWithTheSlowOneAroundChangesOfTheClock(name: String) throws {
        let zone = try #require(ZoneInfo(name))
        var chance = Chance(state: name.utf8.reduce(7) { $0 &* 31 &+ UInt64($1) })
        var changes: [Int64] = []
        var at = Self.start * 60
        while let change = zone.nextTransition(after: at), change.at < (Self.start + 400 * 1440) * 60 {
            changes.append(change.at / 60)
            at = change.at
        }
        if changes.isEmpty { changes = [Self.start] }
        for change in changes {
            for hour in ["0", "1", "2", "3", "1-3", "*", "*/2"] {
                try compare(
                    "\(["0", "30", "*/15", "59"].randomElement(using: &chance) ?? "0") \(hour) * * *", zone,
                    from: change - 1500, to: change + 1500)
            }
            for _ in 0..<6 { try compare(randomCron(&chance), zone, from: change - 2000, to: change + 2000) }
        }
    }

    @Test(arguments: [
        ("@hourly", "0 * * * *"), ("@daily", "0 0 * * *"), ("@weekly", "0 0 * * 0"), ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"), ("0 4 * * mon-fri", "0 4 * * 1-5"), ("0 0 1 jan,JUL *", "0 0 1 1,7 *"),
    ]) func wordsAndNamesMeanTheirFields(word: String, fields: String) throws {
        let (a, b) = (try Schedule(word), try Schedule(fields))
        var time = Self.start * 60_000
        for _ in 0..<20 {
            let next = a.next(after: time)
            #expect(next == b.next(after: time))
            time = try #require(next)
        }
    }

    @Test func everyRunsOnMultiplesOfItsInterval() throws {
        let schedule = try Schedule("every 1h30m")
        #expect(schedule.next(after: 0) == 5_400_000)
        #expect(schedule.next(after: 5_400_000) == 10_800_000)
        #expect(schedule.typicalInterval(at: 0) == 5_400_000)
    }

    @Test func whatNeverComesIsNil() throws {
        #expect(try Schedule("0 0 30 2 *").next(after: Self.start * 60_000) == nil)
        #expect(try Schedule("0 0 29 2 *").next(after: Self.start * 60_000) != nil)
    }

    @Test(arguments: [
        "", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5-1 * * * *",
        "@fortnightly", "every", "every 5", "every 10x", "every 0s", "a * * * *", "1,,2 * * * *", "-1 * * * *",
    ]) func refusesWhatItCannotRead(text: String) {
        #expect(throws: ScheduleError.self) { try Schedule(text) }
    }
}

@Suite struct MaintenanceWindowTests {
    /// 2026-03-29 is a Sunday, on which clocks in Berlin go from 02:00 to 03:00.
    private let sunday: Int64 = 1_774_742_400_000

    @Test func opensAndClosesInItsZone() throws {
        let berlin = try #require(ZoneInfo("Europe/Berlin"))
        let window = try #require(MaintenanceWindow(days: [6, 0], from: 60, to: 300, zone: berlin))
        // Sunday 01:00 local is 00:00 UTC, 05:00 local is 03:00 UTC that day.
        #expect(!window.contains(sunday - 1))
        #expect(window.contains(sunday))
        #expect(window.contains(sunday + 3 * 3_600_000 - 1))
        #expect(!window.contains(sunday + 3 * 3_600_000))
        #expect(window.opening(notBefore: sunday + 4 * 3_600_000) == sunday + 6 * 86_400_000 - 3_600_000)
    }

    @Test func goesOverMidnight() throws {
        let window = try #require(MaintenanceWindow(days: [6], from: 1320, to: 120, zone: .utc))
        #expect(window.contains(sunday - 3_600_000))
        #expect(window.contains(sunday + 3_600_000))
        #expect(!window.contains(sunday + 2 * 3_600_000))
        #expect(!window.contains(sunday + 23 * 3_600_000))
    }

    @Test(arguments: [("00:00", 0), ("2:05", 125), ("24:00", 1440)] as [(String, Int64)])
    func readsTimes(text: String, minutes: Int64) { #expect(MaintenanceWindow.minutes(text) == minutes) }

    @Test(arguments: ["", "2", "24:01", "2:5", "02:60", "a:00", "-1:00", "1:00:00"])
    func refusesOtherTexts(text: String) { #expect(MaintenanceWindow.minutes(text) == nil) }
}

@Suite struct JobTimerTests {
    private let hour: Int64 = 3_600_000

    private func check(
        _ timer: inout JobTimer, _ now: Int64, _ wanted: Bool, _ location: SourceLocation = #_sourceLocation
    ) {
        let isDue = timer.isDue(now: now)
        #expect(isDue == wanted, sourceLocation: location)
    }

    @Test func missedRunsAreMadeUpForOnce() throws {
        let hourly = try Schedule("@hourly")
        let now = 100 * hour + 1000
        var timer = JobTimer(hourly, window: nil, jitter: 0, now: now, lastStart: 90 * hour)
        check(&timer, now, true)
        check(&timer, now + 1, false)
        #expect(timer.due == 101 * hour)
        // Asleep for ten hours.
        check(&timer, 111 * hour + 1, true)
        check(&timer, 111 * hour + 2, false)
        #expect(timer.due == 112 * hour)
    }

    @Test func whatWasNotMissedIsNotMadeUpFor() throws {
        var timer = JobTimer(
            try Schedule("@hourly"), window: nil, jitter: 0, now: 100 * hour + 1000, lastStart: 100 * hour)
        check(&timer, 100 * hour + 1000, false)
        #expect(timer.due == 101 * hour)
        var first = JobTimer(try Schedule("@hourly"), window: nil, jitter: 0, now: 100 * hour + 1000)
        // One that never ran waits for its time.
        check(&first, 100 * hour + 1000, false)
    }

    @Test func aClockPutBackDoesNotStopIt() throws {
        var timer = JobTimer(try Schedule("@hourly"), window: nil, jitter: 0, now: 1000 * hour)
        check(&timer, 10 * hour, false)
        #expect(timer.due == 11 * hour)
        check(&timer, 11 * hour, true)
    }

    @Test func waitsForItsWindowAndJitterStaysWithin() throws {
        let window = try #require(MaintenanceWindow(days: Set(0...6), from: 120, to: 130, zone: .utc))
        let daily = try Schedule("@daily")
        for seed in [0, 1, 2] as [Int64] {
            var timer = JobTimer(daily, window: window, jitter: 20 * 60_000, now: 1, random: { _ in seed * 500_000 })
            let due = try #require(timer.due)
            #expect(window.contains(due), "\(due)")
            check(&timer, due, true)
            #expect(timer.due ?? 0 > 24 * hour)
        }
        // Missed, and made up for when the window opens.
        let late = JobTimer(daily, window: window, jitter: 0, now: 50 * hour + 600_000, lastStart: 1)
        #expect(late.due == 74 * hour)
    }

    @Test func whatWasCutOffBeginsAtOnce() throws {
        let window = try #require(MaintenanceWindow(days: [3], from: 120, to: 130, zone: .utc))
        var timer = JobTimer(nil, window: window, jitter: 0, now: 5, isDue: true)
        check(&timer, 5, true)
        #expect(timer.due == nil)
    }
}
