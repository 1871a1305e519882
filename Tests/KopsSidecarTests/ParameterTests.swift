import KopsSidecar
import Testing

@Suite struct ParameterTests {
    @Test(
        arguments: [
            ("1435781451.781", 1_435_781_451_781), ("0", 0), ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51+02:00", 1_435_781_451_000), ("1e3", 1_000_000), ("-1", -1000),
        ] as [(String, Int64)])
    func parsesTimes(_ text: String, _ milliseconds: Int64) {
        #expect(parseTime(text) == milliseconds)
    }

    @Test(arguments: ["", "yesterday", "2015-07-01", "2015-13-01T00:00:00Z", "2015-07-01T20:10:51", "NaN"])
    func refusesOtherTimes(_ text: String) {
        #expect(parseTime(text) == nil)
    }

    @Test func parsesSteps() {
        #expect(parseStep("15") == 15_000)
        #expect(parseStep("1m30s") == 90_000)
        #expect(parseStep("0.5") == 500)
        #expect(parseStep("often") == nil)
    }

    @Test func parsesForms() throws {
        let pairs = try parseForm("query=a%2Bb+c&match[]=x&match[]=y&empty&u=%C3%BC".utf8)
        #expect(pairs.map(\.name) == ["query", "match[]", "match[]", "empty", "u"])
        #expect(pairs.map(\.value) == ["a+b c", "x", "y", "", "ü"])
        #expect(throws: APIError.self) { try parseForm("a=%zz".utf8) }
    }

    @Test func parsesListenAddresses() {
        #expect(parseListenAddress(":9640")?.host == "0.0.0.0")
        #expect(parseListenAddress("[::1]:80")?.host == "::1")
        #expect(parseListenAddress("localhost") == nil)
        #expect(parseListenAddress("::1:80") == nil)
        #expect(parseListenAddress("a:70000") == nil)
    }
}
