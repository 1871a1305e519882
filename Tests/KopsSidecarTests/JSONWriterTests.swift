import KopsSidecar
import MetricModel
import Testing

@Suite struct JSONWriterTests {
    private func text(_ write: (inout JSONWriter) -> Void) -> String {
        var writer = JSONWriter()
        write(&writer)
        return String(decoding: writer.bytes, as: UTF8.self)
    }

    @Test(
        arguments: [
            (0, "0"), (-0.0, "-0"), (1, "1"), (-17, "-17"), (0.1, "0.1"), (1e-5, "0.00001"), (1.5e-6, "0.0000015"),
            (1e-7, "1e-7"), (123456.789, "123456.789"), (1e20, "100000000000000000000"), (1e21, "1e+21"),
            (1.7976931348623157e308, "1.7976931348623157e+308"), (2e-300, "2e-300"),
            (9_007_199_254_740_992, "9007199254740992"), (1.23456789e17, "123456789000000000"), (-2.5e-9, "-2.5e-9"),
        ] as [(Double, String)])
    func printsFloatsAsGoDoes(_ value: Double, _ expected: String) {
        #expect(text { $0.double(value) } == expected)
        // A sample has an exponent of two digits at least.
        let sample = expected.replacing("e-7", with: "e-07").replacing("e-9", with: "e-09")
        #expect(text { $0.sampleValue(value) } == "\"\(sample)\"")
    }

    @Test func printsSpecialSampleValues() {
        #expect(text { $0.sampleValue(.nan) } == "\"NaN\"")
        #expect(text { $0.sampleValue(.infinity) } == "\"+Inf\"")
        #expect(text { $0.sampleValue(-.infinity) } == "\"-Inf\"")
    }

    @Test(
        arguments: [
            (0, "0"), (1000, "1"), (1_435_781_451_781, "1435781451.781"), (100, "0.100"), (-1500, "-1.500"),
            (5, "0.005"),
        ] as [(Int64, String)])
    func printsTimestamps(_ milliseconds: Int64, _ expected: String) {
        #expect(text { $0.timestamp(milliseconds) } == expected)
    }

    /// Many at once are written another way than one: to the same bytes.
    @Test func samplesAreWrittenAsOneByOne() {
        var random = SystemRandomNumberGenerator()
        var values: [Double] = [
            0, -0.0, 1, -1, 0.1, 1e-3, 0.00099, -1e-5, 1e15, 1e16, 123_456_789_012_345.6, 9_007_199_254_740_991,
            9_007_199_254_740_992, 1e21, .nan, .infinity, -.infinity, .leastNonzeroMagnitude, 2.5e-9, 99.5,
        ]
        for _ in 0..<2000 {
            values.append(Double(bitPattern: random.next()))
            values.append(Double(Int64.random(in: -1_000_000...1_000_000)) / 1000)
            values.append(Double.random(in: -1e16...1e16))
        }
        var times = values.indices.map { Int64($0) * 12_345_678_901 }
        for (index, time) in [-1, 0, 5, 10, 100, 1500, 99_999_999_999_999, 100_000_000_000_000].enumerated() {
            times[index] = Int64(time)
        }
        let leftOut: (Int) -> Bool = { $0 % 7 == 3 }
        for isLeftOut in [nil, leftOut] {
            let expected = text { writer in
                writer.array(values.indices.filter { isLeftOut?($0) != true }) { writer, index in
                    writer.beginArray()
                    writer.timestamp(times[index])
                    writer.sampleValue(values[index])
                    writer.endArray()
                }
            }
            #expect(text { $0.samples(times, values, isLeftOut: isLeftOut) } == expected)
        }
        #expect(text { $0.samples([], []) } == "[]")
    }

    @Test func escapesStrings() {
        #expect(text { $0.string("a\"\\\n\u{1}<ü>\u{2028}&") } == #""a\"\\\n\u0001\u003cü\u003e\u2028\u0026""#)
        let broken: [UInt8] = [0x61, 0xff, 0xed, 0xa0, 0x80, 0x62]
        #expect(broken.withUnsafeBytes { bytes in text { $0.string(utf8: bytes) } } == #""a\ufffd\ufffd\ufffd\ufffdb""#)
    }

    /// Labels of plain text are written another way than others: to the same bytes.
    @Test func labelsAreWrittenAsTheirTexts() {
        var random = SystemRandomNumberGenerator()
        var values = (1...255).map { String(UnicodeScalar($0) ?? "?") }
        values += [
            "", "plain text", String(repeating: "long ", count: 400), "\"", "a\\", "<", "ü", "\u{2028}", "\u{7f}",
        ]
        for _ in 0..<500 {
            let count = Int.random(in: 0...6, using: &random)
            let labels = Labels((0..<count).map { ("n\($0)", values.randomElement(using: &random) ?? "") })
            let expected = text { writer in
                writer.object { writer in
                    labels.forEachPair { name, value in
                        writer.key(String(decoding: name, as: UTF8.self))
                        writer.string(utf8: value)
                    }
                }
            }
            #expect(text { $0.labels(labels) } == expected)
        }
        for value in values where !value.isEmpty {
            let expected = text { writer in
                writer.object {
                    $0.key("a"); $0.string(value)
                }
            }
            #expect(text { $0.labels(Labels([("a", value)])) } == expected)
        }
        let broken = Labels(bytes: [1, 0x61, 2, 0xff, 0x62])
        #expect(text { $0.labels(broken) } == #"{"a":"\ufffdb"}"#)
    }

    @Test func placesCommas() {
        let out = text {
            $0.object {
                $0.key("a")
                $0.array([1, 2]) { $0.int($1) }
                $0.key("b")
                $0.object { _ in }
                $0.key("c")
                $0.null()
            }
        }
        #expect(out == #"{"a":[1,2],"b":{},"c":null}"#)
    }
}
