import MetricModel
import Testing

@testable import Monitoring

@Suite struct WriteRequestTests {
    /// A snappy block that only holds literals: what any encoder may send.
    private func block(_ plain: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        var length = plain.count
        while length >= 0x80 {
            out.append(UInt8(length & 0x7f) | 0x80)
            length >>= 7
        }
        out.append(UInt8(length))
        for start in stride(from: 0, to: plain.count, by: 60) {
            let piece = plain[start..<min(start + 60, plain.count)]
            out.append(UInt8(piece.count - 1) << 2)
            out += piece
        }
        return out
    }

    private func field(_ number: UInt8, _ bytes: [UInt8]) -> [UInt8] { [number << 3 | 2, UInt8(bytes.count)] + bytes }

    private func series(_ labels: [(String, String)], value: Double, time: UInt8) -> [UInt8] {
        var out: [UInt8] = []
        for (name, text) in labels { out += field(1, field(1, Array(name.utf8)) + field(2, Array(text.utf8))) }
        var sample: [UInt8] = [1 << 3 | 1]
        withUnsafeBytes(of: value.bitPattern.littleEndian) { sample += $0 }
        sample += [2 << 3, time]
        return field(1, out + field(2, sample))
    }

    @Test func aMessageBecomesSeriesWithSortedLabels() throws {
        let message = series([("job", "a"), ("__name__", "up"), ("empty", "")], value: 1.5, time: 42)
        let request = try WriteRequest(compressed: block(message))
        #expect(request.series.map(\.labels) == [Labels([("__name__", "up"), ("job", "a")])])
        #expect(request.series.first?.values == [1.5] && request.series.first?.timestamps == [42])
        let store = MemorySeries()
        #expect(try request.append(to: store).appended == 1)
    }

    @Test func seriesThatCannotBeNamedAreRefused() {
        for labels in [[("job", "a")], [("__name__", "up"), ("a", "1"), ("a", "2")], [("__name__", "up"), ("", "x")]] {
            #expect(throws: WriteRequestError.self) {
                try WriteRequest(compressed: block(series(labels, value: 1, time: 1)))
            }
        }
    }

    /// Nothing that is sent may trap or cost more than it is long.
    @Test func damagedBodiesAreRefusedOrReadButNeverTrap() {
        let good = block(series([("__name__", "up"), ("job", "a")], value: 1, time: 1))
        for length in 0..<good.count { _ = try? WriteRequest(compressed: Array(good.prefix(length))) }
        var seed: UInt64 = 7
        for _ in 0..<20_000 {
            var bytes = good
            for _ in 0..<3 {
                seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                bytes[Int(seed >> 33) % bytes.count] = UInt8(truncatingIfNeeded: seed >> 20)
            }
            _ = try? WriteRequest(compressed: bytes)
        }
        #expect(throws: WriteRequestError.self) { try WriteRequest(compressed: [0xff, 0xff, 0xff, 0xff, 0x07, 0]) }
    }
}
