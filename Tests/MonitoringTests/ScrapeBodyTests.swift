import MetricModel
import Platform
import Testing

@testable import Monitoring

/// Takes everything and remembers it by labels; forgets references now and then, as the store does with idle series.
private final class RecordingAppender: SampleAppender {
    private struct State {
        var labels: [SeriesRef: Labels] = [:]
        var next: SeriesRef = 1
        var taken: [Labels: [Double]] = [:]
        var forgotten: Set<SeriesRef> = []
    }

    private let state = Lock(State())

    func resolve(_ series: [Labels]) throws -> [SeriesRef] {
        state.withLock { state in
            series.map { set in
                let ref = state.next
                state.next += 1
                state.labels[ref] = set
                return ref
            }
        }
    }

    func append(_ batch: SampleBatch) throws -> AppendOutcome {
        state.withLock { state in
            var outcome = AppendOutcome()
            for index in batch.refs.indices {
                guard let set = state.labels[batch.refs[index]], !state.forgotten.contains(batch.refs[index]) else {
                    outcome.unknownRefs.append(index)
                    continue
                }
                state.taken[set, default: []].append(batch.values[index])
                outcome.appended += 1
            }
            return outcome
        }
    }

    /// What came since the last call.
    func drain() -> [Labels: [Double]] {
        state.withLock { state in
            defer { state.taken = [:] }
            return state.taken
        }
    }

    func forgetAll() { state.withLock { $0.forgotten.formUnion($0.labels.keys) } }
}

@Suite struct ScrapeBodyTests {
    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 33
        }
    }

    /// Bodies whose lines come, go, change places and begin alike: each sample must reach its own series, and what has gone must
    /// end, whatever the cache remembers.
    @Test(arguments: 0..<30)
    func everySampleReachesItsSeries(_ seed: Int) throws {
        var random = Generator(state: UInt64(seed) &* 7919 &+ 1)
        let appender = RecordingAppender()
        let target = Labels([("instance", "a:1"), ("job", "j")])
        var body = ScrapeBody(config: ScrapeConfig(jobName: "j"), targetLabels: target)
        let names = (0..<60).map { index in
            index % 3 == 0
                ? "m_\(index / 9)" + String(repeating: "x", count: index % 5)
                : "metric_with_a_long_name{a=\"\(index / 10)\",b=\"\(String(repeating: "y", count: index * 5))\"}"
        }
        var present: Set<Int> = []
        var before: Set<Int> = []
        var order = Array(names.indices)
        for round in 0..<25 {
            if Int.random(in: 0...3, using: &random) == 0 { order.shuffle(using: &random) }
            for index in names.indices where Int.random(in: 0...9, using: &random) == 0 {
                if present.remove(index) == nil { present.insert(index) }
            }
            if Int.random(in: 0...7, using: &random) == 0 { appender.forgetAll() }
            let shown = order.filter { present.contains($0) }
            let text = shown.map { "\(names[$0]) \(round * 100 + $0)\n" }.joined()
            let counts = try Array(text.utf8).withUnsafeBytes {
                try body.ingest($0, .text, at: Int64(round) * 1000, appender: appender)
            }
            #expect(counts.scraped == shown.count)
            var expected: [Labels: [Double]] = [:]
            for index in shown { expected[try stored(names[index], target)] = [Double(round * 100 + index)] }
            let found = appender.drain()
            let values = found.filter { !($0.value.first?.isStaleMarker ?? false) }
            #expect(values == expected)
            let ended = Set(found.keys).subtracting(expected.keys)
            let gone = try Set(before.subtracting(present).map { try stored(names[$0], target) })
            // Series that the store has forgotten need no end.
            #expect(ended.isSubset(of: gone))
            before = present
        }
    }

    private func stored(_ series: String, _ target: Labels) throws -> Labels {
        var builder = LabelsBuilder(target)
        let pairs = try Array(series.utf8).withUnsafeBytes { try parseSeriesText($0) }
        for (name, value) in pairs { builder.set(name, value) }
        return builder.labels()
    }

    private func inflated(_ bytes: [UInt8], limit: Int) -> (bytes: [UInt8]?, isTooLarge: Bool) {
        BodyInflater.lend { inflater in
            do throws(CompressionError) {
                return (Array(try inflater.inflate(bytes, limit: limit)), false)
            } catch {
                return (nil, error.isTooLarge)
            }
        }
    }

    @Test func bodiesAreInflatedWholeAndBounded() throws {
        let plain = (0..<5000).map { "metric{n=\"\($0)\"} \($0)\n" }.joined()
        let first = try Gzip.compress(Array(plain.utf8))
        let last = try Gzip.compress(Array("last 1\n".utf8))
        let nothing = try Gzip.compress([])
        #expect(inflated(first + last, limit: 1 << 20).bytes == Array((plain + "last 1\n").utf8))
        #expect(inflated(nothing, limit: 10).bytes == [])
        #expect(inflated(first, limit: 1000).isTooLarge)
        for cut in [0, 1, 9, 20, first.count / 2, first.count - 1] {
            let answer = inflated(Array(first[..<cut]), limit: 1 << 20)
            #expect(answer.bytes == nil && !answer.isTooLarge)
        }
    }

    /// A zip bomb costs no more than the limit.
    @Test func aBombIsStoppedAtTheLimit() throws {
        let bomb = try Gzip.compress([UInt8](repeating: 0, count: 50 << 20))
        #expect(inflated(bomb, limit: 1 << 20).isTooLarge)
    }
}
