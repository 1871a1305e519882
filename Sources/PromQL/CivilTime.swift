/// A moment's place in the Gregorian calendar, in UTC.
struct CivilTime {
    let year: Int
    /// 1…12
    let month: Int
    /// 1…31
    let day: Int
    let hour: Int
    let minute: Int
    let second: Int
    /// 0 is Sunday.
    let weekday: Int
    /// 1…366
    let dayOfYear: Int

    init(milliseconds: Int64) { self.init(seconds: floorDivide(milliseconds, 1000)) }

    /// Seconds since 1970 UTC.
    init(seconds: Int64) {
        let days = floorDivide(seconds, 86_400)
        let rest = Int(seconds - days * 86_400)
        hour = rest / 3600
        minute = rest % 3600 / 60
        second = rest % 60
        weekday = Int(((days + 4) % 7 + 7) % 7)
        // Eras of 400 years; years start in March so that the leap day is the last.
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayFromMarch = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayFromMarch + 2) / 153
        day = Int(dayFromMarch - (153 * monthFromMarch + 2) / 5 + 1)
        let calendarMonth = Int(monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9)
        month = calendarMonth
        let calendarYear = Int(yearOfEra + era * 400) + (calendarMonth <= 2 ? 1 : 0)
        year = calendarYear
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][calendarMonth - 1]
        dayOfYear = before + day + (calendarMonth > 2 && CivilTime.isLeap(calendarYear) ? 1 : 0)
    }

    static func isLeap(_ year: Int) -> Bool { year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) }

    var daysInMonth: Int {
        switch month {
        case 2: CivilTime.isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

func floorDivide(_ a: Int64, _ b: Int64) -> Int64 {
    let quotient = a / b
    return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient
}
