import CPlatform
import Glibc

/// What time it is, as something that can be handed in: tests hand in their own.
package struct WallClock: Sendable {
    /// Milliseconds since 1970 UTC.
    package var nowMilliseconds: @Sendable () -> Int64

    package init(nowMilliseconds: @escaping @Sendable () -> Int64) { self.nowMilliseconds = nowMilliseconds }

    package static let system = WallClock {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}

/// Nanoseconds of a clock that never jumps; for durations only.
package func monotonicNanoseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}

extension Duration {
    /// Whole milliseconds, rounded down.
    package var milliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }

    package var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}

/// RFC 3339 in UTC, as `2026-11-24T08:00:00.123Z`; milliseconds are left out where they are zero and `always` is false.
package func formatRFC3339(_ milliseconds: Int64, fraction: Bool = true) -> String {
    let (days, inDay) = milliseconds.quotientAndRemainder(dividingBy: 86_400_000)
    let day = inDay < 0 ? days - 1 : days
    let rest = inDay < 0 ? inDay + 86_400_000 : inDay
    let (year, month, dayOfMonth) = civilDate(daysSinceEpoch: day)
    func two(_ n: Int64) -> String { n < 10 ? "0\(n)" : "\(n)" }
    var text = String(year)
    while text.utf8.count < 4 { text = "0" + text }
    text +=
        "-\(two(month))-\(two(dayOfMonth))T\(two(rest / 3_600_000)):\(two(rest / 60_000 % 60)):\(two(rest / 1000 % 60))"
    if fraction, rest % 1000 != 0 {
        let ms = String(rest % 1000)
        text += "." + String(repeating: "0", count: 3 - ms.utf8.count) + ms
    }
    return text + "Z"
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar. The algorithm is the
/// era-based one of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
package func civilDate(daysSinceEpoch: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let z = daysSinceEpoch + 719_468
    let era = (z >= 0 ? z : z - 146_096) / 146_097
    let dayOfEra = z - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shifted = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * shifted + 2) / 5 + 1
    let month = shifted < 10 ? shifted + 3 : shifted - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
}

/// The inverse of `civilDate`.
package func daysSinceEpoch(year: Int64, month: Int64, day: Int64) -> Int64 {
    let y = month <= 2 ? year - 1 : year
    let era = (y >= 0 ? y : y - 399) / 400
    let yearOfEra = y - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
}

/// 0 for Sunday … 6 for Saturday.
package func weekdayOfDay(_ daysSinceEpoch: Int64) -> Int64 { ((daysSinceEpoch + 4) % 7 + 7) % 7 }

/// Whether something keeps the machine's clock in time, and by how many milliseconds the kernel thinks it may be off. Nil
/// where the kernel does not tell.
package func clockSynchronisation() -> (isKept: Bool, errorMilliseconds: Int64)? {
    var error = 0
    switch kops_clock_is_synchronised(&error) {
    case 1: return (true, Int64(error) / 1000)
    case 0: return (false, 0)
    default: return nil
    }
}
