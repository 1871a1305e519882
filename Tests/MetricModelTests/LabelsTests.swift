import TestSupport
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

    /// As Prometheus prints it, which quotes as Go does.
    @Test func valuesAreQuotedAsInGo() {
        let value = "a\u{7}\u{8}\u{c}\u{b}\u{1}\n\t\r\"\\é\u{200b}\u{7f}"
        #expect(Labels([("l", value)]).description == #"{l="a\a\b\f\v\x01\n\t\r\"\\é\u200b\x7f"}"#)
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

    /// Whatever is dropped, at the beginning, in the midst, at the end or all of it.
    @Test func droppingLeavesTheOthersAsTheyWere() {
        let names = ["__name__", "a", "b", "c", "d"]
        let all = names.enumerated().map { ($1, String(repeating: "v", count: [1, 254, 255, 700, 3][$0])) }
        for there in 0..<32 {
            let labels = Labels(all.indices.filter { there >> $0 & 1 == 1 }.map { all[$0] })
            for dropped in 0..<32 {
                func isDropped(_ name: UnsafeRawBufferPointer) -> Bool {
                    names.indices.contains { dropped >> $0 & 1 == 1 && name.elementsEqual(names[$0].utf8) }
                }
                let expected = Labels(all.indices.filter { (there & ~dropped) >> $0 & 1 == 1 }.map { all[$0] })
                #expect(labels.removing(where: isDropped) == expected)
                if dropped < 8 {
                    // Of `c` and `d` nothing is to go.
                    #expect(labels.removing(before: UInt8(ascii: "c"), where: isDropped) == expected)
                    #expect(labels.hasName(before: UInt8(ascii: "c"), where: isDropped) == (there & dropped != 0))
                }
                var bytes: [UInt8] = []
                labels.appendPairs(to: &bytes) { !isDropped($0) }
                #expect(bytes == expected.bytes)
            }
        }
    }

    /// Label sets that share long beginnings and differ in a name, a value, a length of one or three bytes, or their number.
    @Test func orderOfManyIsThatOfTheirPairs() {
        var random = Fuzz.Generator(state: 11)
        let names = ["a", "ab", "b", "namespace", "pod"]
        let values = [
            "", "1", "app", "app-1", "app-12", String(repeating: "x", count: 254), String(repeating: "x", count: 255),
        ]
        let long = String(repeating: "y", count: 300)
        let sets = (0..<400).map { _ in
            Labels(
                names.map {
                    (
                        $0,
                        (values.randomElement(using: &random) ?? "")
                            + (Int.random(in: 0..<9, using: &random) == 0 ? long : "")
                    )
                })
        }
        func obvious(_ a: Labels, _ b: Labels) -> Bool {
            for (left, right) in zip(a.pairs, b.pairs) {
                for (x, y) in [(left.name, right.name), (left.value, right.value)] where x != y {
                    return x.utf8.lexicographicallyPrecedes(y.utf8)
                }
            }
            return a.pairs.count < b.pairs.count
        }
        for a in sets.prefix(100) { for b in sets { #expect((a < b) == obvious(a, b)) } }
        let numbered = sets.enumerated().map { (labels: $1, index: $0) }
        let sorted = numbered.sortedByLabels(\.labels)
        #expect(sorted.map(\.index) == numbered.sorted { obvious($0.labels, $1.labels) }.map(\.index))
        #expect(sorted.sortedByLabels(\.labels).map(\.index) == sorted.map(\.index))
    }

    @Test func storedBytesAreTakenWholeOnly() {
        let whole = Labels([("a", "1"), ("long", String(repeating: "x", count: 300))]).bytes
        #expect(whole.withUnsafeBytes { Labels(stored: $0)?.bytes } == whole)
        for length in 1..<whole.count where length != 4 {
            #expect(whole.prefix(length).withUnsafeBytes { Labels(stored: $0) } == nil)
        }
        #expect(([1, 97, 5, 98] as [UInt8]).withUnsafeBytes { Labels(stored: $0) } == nil)
        #expect(([255, 1] as [UInt8]).withUnsafeBytes { Labels(stored: $0) } == nil)
    }

    @Test func unusualNamesAreQuoted() {
        let labels = Labels([("__name__", "http.requests"), ("my.label", "a\"b\\c\n")])
        #expect(labels.description == #"{"http.requests", "my.label"="a\"b\\c\n"}"#)
    }
}
