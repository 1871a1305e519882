import MetricModel
import Platform
import TestSupport
import Testing

@testable import Monitoring

/// Remote read's answers: what our own endpoint writes is read back, and nothing that is sent may trap.
@Suite struct RemoteReadTests {
    private let everything = ReadQuestion(from: .min, through: .max, matchers: [])

    private func series(_ name: String, _ times: [Int64], _ values: [Double]) -> SeriesData {
        SeriesData(labels: Labels([("__name__", name), ("job", "a")]), timestamps: times, values: values)
    }

    private func response(_ type: String, _ body: [UInt8]) -> HTTPResponse {
        var response = HTTPResponse()
        response.status = 200
        response.headers = [("content-type", type)]
        response.body = body
        return response
    }

    private let samplesType = "application/x-protobuf"
    private let chunksType = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"

    private func read(
        _ type: String, _ body: [UInt8], _ question: ReadQuestion? = nil, control: QueryControl = QueryControl()
    ) throws -> [SeriesData] {
        try ReadAnswer(response(type, body), to: question ?? everything, control: control).series
    }

    private func same(_ a: [SeriesData], _ b: [SeriesData]) -> Bool {
        a.count == b.count
            && zip(a, b).allSatisfy { a, b in
                a.labels == b.labels && a.timestamps == b.timestamps
                    && a.values.map(\.bitPattern) == b.values.map(\.bitPattern)
            }
    }

    @Test func whatIsWrittenIsReadBackToTheLastBit() throws {
        var random = Fuzz.Generator(state: 11)
        for round in 0..<300 {
            let count = Int.random(in: 1...400, using: &random)
            var time = Int64.random(in: -1_000_000_000_000...1_800_000_000_000, using: &random)
            var times: [Int64] = []
            var values: [Double] = []
            var value = 0.0
            for _ in 0..<count {
                time +=
                    [15_000, 15_001, 1, 60_000, 9_999_999, 1 << 40][
                        Int.random(in: 0...5, using: &random) % (round % 6 + 1)]
                switch Int.random(in: 0...4, using: &random) {
                case 0: value += 1
                case 1: value = Double(bitPattern: random.next())
                case 2: value = .staleMarker
                case 3: value = -value
                default: break
                }
                times.append(time)
                values.append(value)
            }
            let one = [series("up", times, values)]
            #expect(same(try read(samplesType, ReadResponse.samples([one])), one))
            #expect(same(merged([[], try read(chunksType, ReadResponse.frame(one[0], query: 0))]), one))
        }
    }

    @Test func whatLiesOutsideAndLabelsThatWereAddedAreTakenOff() throws {
        var question = ReadQuestion(from: 20, through: 40, matchers: [])
        question.added = ["job"]
        let body = ReadResponse.frame(series("up", [10, 20, 30, 40, 50], [1, 2, 3, 4, 5]), query: 0)
        let found = try read(chunksType, body, question)
        #expect(found.map(\.labels) == [Labels([("__name__", "up")])])
        #expect(found.first?.timestamps == [20, 30, 40] && found.first?.values == [2, 3, 4])
    }

    @Test func aQueryHoldsNoMoreSamplesThanItMay() throws {
        let times = Array(1...1000).map { Int64($0) }
        let body = ReadResponse.samples([[series("up", times, times.map { Double($0) })]])
        #expect(throws: QueryStop.tooManySamples(limit: 999)) {
            try read(samplesType, body, control: QueryControl(maxSamples: 999))
        }
    }

    @Test func sourcesAreJoinedByLabelsAndTime() {
        let local = [series("a", [30, 40], [1, 2]), series("c", [30], [9])]
        let remote = [series("b", [5], [7]), series("a", [10, 30], [3, 4]), series("b", [3], [6])]
        let both = merged([local, remote])
        #expect(both.map { $0.labels["__name__"] ?? "" } == ["a", "b", "c"])
        #expect(both[0].timestamps == [10, 30, 40] && both[0].values == [3, 1, 2], "the store's own samples win")
        #expect(both[1].timestamps == [3, 5] && both[1].values == [6, 7])
    }

    @Test func whoIsAskedForWhat() throws {
        let up = LabelMatcher("__name__", equals: "up")
        let job = LabelMatcher("job", equals: "a")
        let external = Labels([("cluster", "x"), ("job", "ext")])
        var config = RemoteReadConfig(url: "http://u:p@h/read?token=t")
        #expect(config.name == "http://u:xxxxx@h/read?token=xxxxx")
        func ask(_ matchers: [LabelMatcher], _ from: Int64, _ through: Int64) -> ReadQuestion? {
            config.question(matchers, from: from, through: through, external: external, localStart: 1000)
        }
        // Only what the local store does not cover, with the external labels that are not asked for anyhow.
        #expect(ask([up], 1001, 2000) == nil)
        let old = try #require(ask([up, job], 500, 2000))
        #expect(old.from == 500 && old.through == 1000 && old.added == ["cluster"])
        #expect(old.matchers.map(\.description) == [#"__name__="up""#, #"job="a""#, #"cluster="x""#])
        config.readsRecent = true
        config.filtersExternalLabels = false
        #expect(ask([up], 1001, 2000) == ReadQuestion(from: 1001, through: 2000, matchers: [up]))
        config.requiredMatchers = ["job": "a"]
        #expect(ask([up], 0, 1) == nil)
        #expect(ask([up, try LabelMatcher("job", .regex, "a")], 0, 1) == nil)
        #expect(ask([up, job], 0, 1) != nil)
    }

    @Test func theQuestionIsWhatOurOwnEndpointReads() throws {
        let matchers = [
            LabelMatcher("__name__", equals: "up"), try LabelMatcher("a", .notEqual, "x"),
            try LabelMatcher("b", .regex, "y|z"), try LabelMatcher("c", .notRegex, ".+"),
        ]
        let asked = try ReadRequest(compressed: ReadQuestion(from: -5, through: 1 << 41, matchers: matchers).body)
        #expect(asked.acceptsChunks && asked.queries.count == 1)
        #expect(asked.queries.first?.from == -5 && asked.queries.first?.through == 1 << 41)
        #expect(asked.queries.first?.matchers == matchers)
    }

    @Test func otherAnswersAreRefused() throws {
        let good = ReadResponse.frame(series("up", [1, 2, 3], [1, 2, 3]), query: 0)
        for length in 1..<good.count {
            #expect(throws: (any Error).self) { try read(chunksType, Array(good.prefix(length))) }
        }
        for bit in 8..<good.count * 8 {
            var bad = good
            bad[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: (any Error).self, "bit \(bit)") { try read(chunksType, bad) }
        }
        #expect(throws: WriteRequestError.self) { try read("text/html", []) }
        #expect(throws: WriteRequestError.self) { try read(samplesType, [0xff, 0xff, 0xff, 0xff, 0x07, 0]) }
    }
}

/// Answers changed at random: they are read or refused, and neither trap nor take long.
@Suite struct RemoteReadFuzzTests {
    private static let data = SeriesData(
        labels: Labels([("__name__", "up"), ("job", "a")]), timestamps: [1000, 16_000, 31_000, 46_003, 99_999_999],
        values: [1, 1, 2.5, .staleMarker, -0.0])

    @Test func answersMayBeAnything() {
        // Messages without the wrapping that would catch each change.
        var chunk = XORChunk()
        for (time, value) in zip(Self.data.timestamps, Self.data.values) { chunk.append(time, value) }
        let message = Array(ReadResponse.frame(Self.data, query: 0).dropFirst(5))
        let samples = (try? Snappy.unpacked(ReadResponse.samples([[Self.data]]), maxBytes: 1 << 20)) ?? []
        var fuzz = Fuzz(corpus: [message, samples, chunk.finish()])
        fuzz.run(rounds: 4000) { bytes in
            var frame = MessageWriter()
            frame.varint(UInt64(bytes.count))
            withUnsafeBytes(of: CRC32C.update(0, bytes).bigEndian) { frame.bytes.append(contentsOf: $0) }
            let bodies: [(String, [UInt8])] = [
                ("application/x-streamed-protobuf", frame.bytes + bytes), ("application/x-streamed-protobuf", bytes),
                ("application/x-protobuf", Snappy.packed(bytes)), ("application/x-protobuf", bytes),
            ]
            for (type, body) in bodies {
                var response = HTTPResponse()
                response.headers = [("content-type", type)]
                response.body = body
                let question = ReadQuestion(from: .min, through: .max, matchers: [])
                if let answer = try? ReadAnswer(response, to: question, control: QueryControl()) {
                    _ = merged([[], answer.series])
                }
            }
            bytes.withUnsafeBytes { raw in
                guard var reader = XORChunkReader(raw) else { return }
                while reader.left > 0, reader.next() != nil {}
            }
            _ = try? ReadRequest(compressed: Snappy.packed(bytes))
        }
    }
}
