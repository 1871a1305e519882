import MetricModel
import Testing

@Suite struct TextTests {
    @Test(arguments: [
        (0.0, "0", "0", "0"), (-0.0, "-0", "-0", "-0"), (1.5, "1.5", "1.5", "1.5"),
        (1e6, "1000000", "1e+06", "1000000"),
        (123456789.0, "123456789", "1.23456789e+08", "123456789"), (1e21, "1000000000000000000000", "1e+21", "1e+21"),
        (0.0001, "0.0001", "0.0001", "0.0001"), (0.00001, "0.00001", "1e-05", "0.00001"),
        (1e-7, "0.0000001", "1e-07", "1e-07"),
        (.leastNonzeroMagnitude, "0." + String(repeating: "0", count: 323) + "5", "5e-324", "5e-324"),
        (-2.5e-10, "-0.00000000025", "-2.5e-10", "-2.5e-10"), (100, "100", "100", "100"),
        (.infinity, "+Inf", "+Inf", "+Inf"), (-.infinity, "-Inf", "-Inf", "-Inf"), (.nan, "NaN", "NaN", "NaN"),
        (0.1 + 0.2, "0.30000000000000004", "0.30000000000000004", "0.30000000000000004"),
    ])
    func floatsAsGoPrintsThem(value: Double, plain: String, general: String, api: String) {
        #expect(formatFloat(value) == plain)
        #expect(formatFloat(value, .general) == general)
        #expect(formatFloat(value, .api) == api)
    }

    @Test func everyFloatReadsBack() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            let value = Double(bitPattern: random.next())
            if value.isNaN { continue }
            for style in [FloatStyle.plain, .general, .api] {
                #expect(parseFloat(formatFloat(value, style))?.bitPattern == value.bitPattern)
            }
        }
    }

    @Test(arguments: [
        ("1", 1.0), ("+1.5e3", 1500), ("-.5", -0.5), ("5.", 5), ("inf", .infinity), ("-Infinity", -.infinity),
        ("0x1p-2", 0.25), ("1_000", 1000), ("1e400", .infinity), ("0x1F", 31),
    ])
    func floatsAsGoReadsThem(text: String, value: Double) { #expect(parseFloat(text) == value) }

    @Test(arguments: ["", "-", ".", "e5", "1e", "0x", "1 ", "--1", "nane", "1__0", "_1", "1_", "١"])
    func whatIsNoFloat(text: String) { #expect(parseFloat(text) == nil) }

    @Test(arguments: [
        ("\"a\\n\\t\\x41\\u00e9\\101\"", "a\n\tA\u{e9}A"), ("'it\\'s'", "it's"), ("`raw \\n`", "raw \\n"), ("\"\"", ""),
    ])
    func unquotes(text: String, value: String) { #expect(unquoteGo(text.utf8) == value) }

    @Test(arguments: ["", "\"", "\"a", "\"\\q\"", "\"\\x4\"", "'a\"", "\"\\ud800\"", "a", "\"a\"b\""])
    func refusesBadQuotes(text: String) { #expect(unquoteGo(text.utf8) == nil) }

    @Test func quotingIsUndone() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<2000 {
            let bytes = (0..<Int.random(in: 0..<20, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            let text = String(decoding: bytes, as: UTF8.self)
            #expect(unquoteGo(quoteGo(text).utf8) == text)
        }
    }

    @Test func seriesNotation() throws {
        let (labels, values) = try parseSeriesDescription(
            "m{a=\"b\", \"c.d\"='e'} 1 2+3x2 _ _x2 stale -1-1x1 {{schema:1 sum:3 count:22 buckets:[5 10 7]}}x1 0x2 Inf nan"
        )
        #expect(labels == Labels([("__name__", "m"), ("a", "b"), ("c.d", "e")]))
        #expect(
            values.map { $0.omitted ? "_" : $0.histogram != nil ? "h" : formatFloat($0.value) } == [
                "1", "2", "5", "8", "_", "_", "_", "NaN", "-1", "-2", "h", "h", "0", "0", "0", "+Inf", "NaN",
            ])
        #expect(values[7].value.isStaleMarker)
        #expect(values[10].histogram?.count == 22 && values[10].histogram?.positiveBuckets == [5, 10, 7])
    }

    @Test(arguments: [
        "m{", "m{a}", "m 1x", "m 1+x5", "m {{", "m {{sum:1", "m {{nothing:1}}", "m foo", "{", "m 1x99999999999", "m 1y",
        "m{a=\"b} 1", "m {{buckets:[1}}",
    ])
    func refusesBadNotation(text: String) {
        #expect(throws: SeriesNotationError.self) { try parseSeriesDescription(text) }
    }
}
