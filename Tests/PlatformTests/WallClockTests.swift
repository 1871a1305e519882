import Testing

@testable import Platform

@Suite struct WallClockTests {
    @Test func daysAndDatesAreInverse() {
        for day in stride(from: Int64(-800_000), through: 800_000, by: 97) {
            let date = civilDate(daysSinceEpoch: day)
            #expect(daysSinceEpoch(year: date.year, month: date.month, day: date.day) == day)
        }
    }

    @Test func rfc3339() {
        #expect(formatRFC3339(0) == "1970-01-01T00:00:00Z")
        #expect(formatRFC3339(951_827_696_007) == "2000-02-29T12:34:56.007Z")
        #expect(formatRFC3339(-1) == "1969-12-31T23:59:59.999Z")
    }
}
