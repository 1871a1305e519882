import Platform

/// HTTP's `Date` field, made once a second. Thread-safe.
final class DateHeader: Sendable {
    private let last = Lock<(second: Int64, text: String)>((-1, ""))
    private let clock: WallClock

    init(_ clock: WallClock = .system) { self.clock = clock }

    var text: String {
        let now = clock.nowMilliseconds() / 1000
        return last.withLock { last in
            if last.second != now { last = (now, Self.text(now)) }
            return last.text
        }
    }

    /// `Wed, 25 Nov 2026 08:05:09 GMT` of seconds since 1970.
    static func text(_ seconds: Int64) -> String {
        let days = seconds / 86400
        let (year, month, day) = civilDate(daysSinceEpoch: days)
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let weekday = weekdays[Int((days + 4) % 7)]
        let time = seconds % 86400
        return "\(weekday), \(two(day)) \(months[Int(month) - 1]) \(year) "
            + "\(two(time / 3600)):\(two(time / 60 % 60)):\(two(time % 60)) GMT"
    }
}

private let weekdays = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
private let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
