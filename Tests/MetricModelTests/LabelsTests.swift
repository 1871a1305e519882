import Testing

@testable import MetricModel

@Suite struct LabelsTests {
    @Test func sortsDropsEmptyAndKeepsTheLast() {
        let labels = Labels([("job", "a"), ("__name__", "up"), ("gone", ""), ("job", "b")])
        #expect(labels.pairs.map(\.name) == ["__name__", "job"])
        #expect(labels["job"] == "b")
        #expect(labels["gone"] == nil)
        #expect(labels.description == "up{job=\"b\"}")
    }

    @Test func longValuesSurvive() {
        for length in [254, 255, 256, 70_000] {
            let value = String(repeating: "v", count: length)
            let labels = Labels([("a", value), ("b", "x")])
            #expect(labels["a"] == value)
            #expect(labels["b"] == "x")
        }
    }

    @Test func orderIsByPairsNotByEncoding() {
        // The encoded length byte of "a" is smaller than that of "Z…": the order must not see it.
        let long = Labels([("l", "Zebra")])
        let short = Labels([("l", "a")])
        #expect(long < short)
        #expect(Labels([("a", "1")]) < Labels([("a", "1"), ("b", "1")]))
        #expect(!(Labels.empty < Labels.empty))
    }

    @Test func unusualNamesAreQuoted() {
        let labels = Labels([("__name__", "http.requests"), ("my.label", "a\"b\\c\n")])
        #expect(labels.description == #"{"http.requests", "my.label"="a\"b\\c\n"}"#)
    }
}
