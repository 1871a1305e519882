import MetricModel
import Testing

@testable import TSDB

/// Round trips of the column codecs over values that have hurt such codecs: extremes, NaNs, runs, jumps.
@Suite struct CodecTests {
    @Test(arguments: 0..<200)
    func integersComeBack(_ seed: Int) {
        var random = SeededGenerator(UInt64(seed))
        let count = Int.random(in: 1...300, using: &random)
        let spread = Int64(1) << Int64.random(in: 0...62, using: &random)
        var value = Int64.random(in: -spread...spread, using: &random)
        let values = (0..<count).map { _ -> Int64 in
            switch Int.random(in: 0...5, using: &random) {
            case 0: value = Int64.random(in: .min ... .max, using: &random)
            case 1, 2: value &+= Int64.random(in: 0...100, using: &random)
            default: break
            }
            return value
        }
        var bytes: [UInt8] = []
        IntegerColumn.encode(values, into: &bytes)
        var out: [Int64] = []
        let left = bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            IntegerColumn.decode(&reader, count: count, into: &out)
            return (reader.failed, raw.count - reader.at)
        }
        #expect(out == values)
        #expect(left.0 == false && left.1 == 0)
    }

    @Test(arguments: 0..<300)
    func chunksComeBack(_ seed: Int) {
        var random = SeededGenerator(UInt64(seed))
        let (timestamps, values) = randomSamples(&random)
        var bytes: [UInt8] = []
        SampleChunk.encode(timestamps, values, shared: false, into: &bytes)
        var times: [Int64] = []
        var floats: [Double] = []
        let whole = bytes.withUnsafeBytes {
            SampleChunk.decode($0, count: timestamps.count, shared: [], timestamps: &times, values: &floats)
        }
        #expect(whole)
        #expect(times == timestamps)
        #expect(floats.map(\.bitPattern) == values.map(\.bitPattern))
        // And a part of it, with timestamps of its own or those of the chunk before.
        var sharing: [UInt8] = []
        SampleChunk.encode(timestamps, values, shared: true, into: &sharing)
        let scratch = DecodeScratch()
        for _ in 0..<8 {
            let bounds = [timestamps.randomElement(using: &random) ?? 0, timestamps.randomElement(using: &random) ?? 0]
            let from = (bounds.min() ?? 0) + Int64.random(in: -1...1, using: &random)
            let through = (bounds.max() ?? 0) + Int64.random(in: -1...1, using: &random)
            let expected = timestamps.indices.filter { timestamps[$0] >= from && timestamps[$0] <= through }
            for (body, shared) in [(bytes, []), (sharing, timestamps)] {
                let found = body.withUnsafeBytes {
                    SampleChunk.decode(
                        $0, count: timestamps.count, shared: shared, from: from, through: through, scratch: scratch)
                }
                #expect(found.map(Array.init) == expected)
                #expect(found?.map { scratch.times[$0] } == expected.map { timestamps[$0] })
                #expect(found?.map { scratch.values[$0].bitPattern } == expected.map { values[$0].bitPattern })
            }
        }
    }

    @Test(arguments: 0..<300)
    func headCodeComesBackAlsoWhenRestarted(_ seed: Int) {
        var random = SeededGenerator(UInt64(seed))
        let (timestamps, values) = randomSamples(&random)
        var state = SeriesState()
        for (index, time) in timestamps.enumerated() {
            let restart = index == 0 || Int.random(in: 0..<40, using: &random) == 0
            let sample = HeadCode.encode(&state, time, values[index].bitPattern, restart: restart)
            HeadCode.append(sample, to: &state, time: time)
        }
        var times: [Int64] = []
        var floats: [Double] = []
        let bytes = UnsafeRawBufferPointer(start: state.buffer, count: Int(state.used))
        HeadCode.decode(bytes, from: .min, through: .max, timestamps: &times, values: &floats)
        state.freeAll()
        #expect(times == timestamps)
        #expect(floats.map(\.bitPattern) == values.map(\.bitPattern))
    }

    /// Any part of a chunk's code, read from any mark that reads before it left, is what lies within the bounds.
    @Test(arguments: 0..<100)
    func headCodeIsReadFromMarks(_ seed: Int) throws {
        var random = SeededGenerator(UInt64(seed))
        let (timestamps, values) = randomSamples(&random, count: Int.random(in: 1...2000, using: &random))
        var state = SeriesState()
        defer { state.freeAll() }
        let scratch = DecodeScratch()
        let marks = HeadMarks()
        for (index, time) in timestamps.enumerated() {
            let sample = HeadCode.encode(&state, time, values[index].bitPattern, restart: index == 0)
            HeadCode.append(sample, to: &state, time: time)
            if index % 150 != 149, index != timestamps.count - 1 { continue }
            for _ in 0..<20 {
                let from =
                    timestamps[Int.random(in: 0...index, using: &random)] + Int64.random(in: -1...1, using: &random)
                let through =
                    Bool.random(using: &random) ? time : from + Int64.random(in: 0...1_000_000, using: &random)
                var start: HeadMark?
                marks.lookUp {
                    start = HeadMarks.mark($0, 1, generation: 1, firstTime: timestamps[0], before: from)
                }
                var (times, floats): ([Int64], [Double]) = ([], [])
                let at = start?.at ?? 0
                let left = UnsafeRawBufferPointer(start: state.buffer, count: Int(state.used))
                // Behind it may stand anything.
                let padding = Bool.random(using: &random) ? HeadCode.longest : 0
                let padded = Array(left[at...]) + (0..<padding).map { _ in UInt8.random(in: 0...255, using: &random) }
                let before = padded.withUnsafeBytes {
                    HeadCode.decode(
                        UnsafeRawBufferPointer(rebasing: $0[..<(left.count - at)]), padding: padding, start: start,
                        from: from, through: through, scratch: scratch, timestamps: &times, values: &floats)
                }
                let expected = (0...index).filter { timestamps[$0] >= from && timestamps[$0] <= through }
                #expect(times == expected.map { timestamps[$0] })
                #expect(floats.map(\.bitPattern) == expected.map { values[$0].bitPattern })
                #expect(before <= left.count - at)
                let places = scratch.marks.map(\.at)
                #expect(places == places.sorted() && places.allSatisfy { $0 > at && $0 <= left.count })
                if !scratch.marks.isEmpty {
                    marks.keep([(1, .init(generation: 1, firstTime: timestamps[0], marks: scratch.marks))])
                }
                marks.lookUp { #expect(($0[1]?.marks.count ?? 0) <= 14) }
            }
        }
    }

    @Test(arguments: 0..<300)
    func damagedBytesNeverTrap(_ seed: Int) {
        var random = SeededGenerator(UInt64(seed))
        var row = ChunkRow()
        for number in 0..<UInt32.random(in: 1...20, using: &random) {
            let (timestamps, values) = randomSamples(&random)
            row.add(number * 3, timestamps, values)
        }
        var bytes = row.encoded()
        for _ in 0..<Int.random(in: 1...8, using: &random) {
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = .random(in: 0...255, using: &random)
        }
        bytes.removeLast(Int.random(in: 0..<bytes.count, using: &random))
        var out = (0..<60).map { _ in SeriesSamples(labels: .empty) }
        var added = 0
        _ = bytes.withUnsafeBytes {
            ChunkRow.decode(
                $0, rowStart: row.start, from: .min, through: .max, wanted: { Int($0) < 60 ? Int($0) : nil },
                into: &out, scratch: DecodeScratch(), added: &added)
        }
        var times: [Int64] = []
        var floats: [Double] = []
        bytes.withUnsafeBytes { HeadCode.decode($0, from: 0, through: 1, timestamps: &times, values: &floats) }
        var decoder = LogDecoder()
        _ = bytes.withUnsafeBytes { decoder.samples($0) { _ in } }
    }

    /// Chunks that libFuzzer found: places of gaps and of exceptions so far behind that their sum is beyond any integer.
    @Test func placesBeyondAnyIntegerAreDamage() {
        let far: [UInt8] = Array(repeating: 0xff, count: 9) + [0x00]
        let gaps: [UInt8] = [3, 2, 0, 2, 10, 1] + far + [2, 0]
        let exceptions: [UInt8] =
            [0, 2, 2, 3, 3, 2, 1] + Array(repeating: 1, count: 8) + far + Array(repeating: 1, count: 8)
        for bytes in [gaps, exceptions] {
            var times: [Int64] = []
            var values: [Double] = []
            let isRead = bytes.withUnsafeBytes {
                SampleChunk.decode($0, count: 1775, shared: [], timestamps: &times, values: &values)
            }
            #expect(!isRead && times.isEmpty && values.isEmpty)
        }
    }

    /// Steps between 1000 and 1255 hold eight bits each, whatever they are above zero.
    @Test func randomStepsTakeWhatTheyVaryBy() {
        var random = SeededGenerator(5)
        var value: Int64 = 0
        let values = (0..<641).map { _ -> Int64 in
            value += Int64.random(in: 1000...1255, using: &random)
            return value
        }
        var bytes: [UInt8] = []
        IntegerColumn.encode(values, into: &bytes)
        #expect(bytes.count <= 640 + 10 * 3 + 4)
    }

    /// A gauge in pages that stands still most of the time: a bit for each sample and nine for each change.
    @Test func sparsePagesTakeABitEachAndTheirChanges() {
        var random = SeededGenerator(6)
        var value = 1e9
        let values = (0..<1280).map { _ -> Double in
            if Int.random(in: 0..<5, using: &random) == 0 {
                value += Double(Int.random(in: -255...255, using: &random)) * 4096
            }
            return value.rounded(.down) - value.rounded(.down).truncatingRemainder(dividingBy: 4096)
        }
        var bytes: [UInt8] = []
        ValueColumn.encode(values, into: &bytes)
        #expect(bytes.count <= 1280 / 8 + 1280 / 5 * 9 / 8 * 5 / 4)
        let scratch = DecodeScratch()
        bytes.withUnsafeBytes {
            var reader = ByteReader($0)
            ValueColumn.decode(&reader, count: values.count, wanted: values.indices, scratch: scratch)
            #expect(!reader.failed && reader.atEnd)
        }
        #expect(Array(UnsafeBufferPointer(start: scratch.values, count: values.count)) == values)
    }

    @Test(arguments: 0..<100)
    func missingScrapesComeBackAndTakeFewBytes(_ seed: Int) {
        var random = SeededGenerator(UInt64(seed))
        var time: Int64 = 1_700_000_000_123
        let times = (0..<Int.random(in: 3...1000, using: &random)).map { _ -> Int64 in
            time += 15_000
            while Int.random(in: 0..<50, using: &random) == 0 { time += 15_000 }
            return time
        }
        let gaps = zip(times.dropFirst(), times).filter { $0 - $1 != 15_000 }.count
        var bytes: [UInt8] = []
        SampleChunk.encode(times, [Double](repeating: 1, count: times.count), shared: false, into: &bytes)
        #expect(bytes.count <= 9 + 20 + gaps * 3)
        var (gotTimes, gotValues): ([Int64], [Double]) = ([], [])
        let whole = bytes.withUnsafeBytes {
            SampleChunk.decode($0, count: times.count, shared: [], timestamps: &gotTimes, values: &gotValues)
        }
        #expect(whole && gotTimes == times)
    }

    @Test func aSteadyCounterTakesLittleRoom() {
        let timestamps = (0..<480).map { 1_700_000_000_000 + Int64($0) * 15_000 }
        let counter = (0..<480).map { Double($0 * 17) }
        let constant = [Double](repeating: 42.5, count: 480)
        let gauge = (0..<480).map { Double(1000 + ($0 * 7919) % 97) / 10 }
        for (values, limit) in [(counter, 40), (constant, 24), (gauge, 480)] {
            var bytes: [UInt8] = []
            SampleChunk.encode(timestamps, values, shared: false, into: &bytes)
            #expect(bytes.count <= limit)
        }
    }
}

/// Small, fast and the same everywhere (SplitMix64, Steele et al. 2014).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1 }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

func randomSamples(_ random: inout SeededGenerator, count: Int? = nil) -> ([Int64], [Double]) {
    let count = count ?? Int.random(in: 1...400, using: &random)
    let kind = Int.random(in: 0...6, using: &random)
    var time = Int64.random(in: 1_600_000_000_000...1_800_000_000_000, using: &random)
    var value = Double.random(in: 0...1000, using: &random).rounded()
    var timestamps: [Int64] = []
    var values: [Double] = []
    for _ in 0..<count {
        timestamps.append(time)
        time += Int.random(in: 0...9, using: &random) == 0 ? Int64.random(in: 1...100_000_000, using: &random) : 15_000
        switch kind {
        case 0: break
        case 1: value += Double(Int.random(in: 0...1000, using: &random))
        case 2: value = Double(Int.random(in: -10000...10000, using: &random)) / 100
        case 3: value = Double.random(in: -1e9...1e9, using: &random)
        case 4: value = Double(bitPattern: .random(in: 0 ... .max, using: &random))
        case 5: value = Bool.random(using: &random) ? 0 : -0.0
        default: value = Int.random(in: 0...20, using: &random) == 0 ? .staleMarker : value.isNaN ? 3 : value + 1
        }
        values.append(value)
    }
    return (timestamps, values)
}
