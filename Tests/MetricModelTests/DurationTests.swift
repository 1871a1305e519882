import MetricModel
import Testing

@Suite struct DurationTests {
    @Test(
        arguments: [
            ("0", 0), ("1ms", 1), ("1s", 1000), ("5m", 300_000), ("1h30m", 5_400_000), ("1d", 86_400_000),
            ("2w", 1_209_600_000), ("1y", 31_536_000_000), ("1y2w3d4h5m6s7ms", 33_019_506_007),
        ] as [(String, Int64)])
    func parses(_ text: String, _ milliseconds: Int64) {
        #expect(parseDuration(text) == milliseconds)
    }

    @Test(arguments: ["", "1", "m", "1m1h", "1m1m", "-1s", "1.5s", "1 s", "99999999999999999999s", "400y", "1ß"])
    func refuses(_ text: String) {
        #expect(parseDuration(text) == nil)
    }

    @Test func formatsWhatItParses() {
        for text in ["1ms", "1s500ms", "15s", "5m", "1h30m", "1d", "15d", "2w", "1y", "30d"] {
            #expect(parseDuration(text).map(formatDuration) == text)
        }
        #expect(formatDuration(0) == "0s")
    }
}
