import FuzzWalks
import TestSupport
import Testing

@testable import Monitoring

/// Remote-write bodies changed at random: they are taken or refused, and neither trap, hang nor take memory without bound.
@Suite struct RemoteWriteFuzzTests {
    private static func message() -> [UInt8] {
        var label = MessageWriter()
        label.field(1, Array("__name__".utf8))
        label.field(2, Array("up".utf8))
        var job = MessageWriter()
        job.field(1, Array("job".utf8))
        job.field(2, Array("lä".utf8))
        var sample = MessageWriter()
        sample.double(1, 1.5)
        sample.varint(2, 1_700_000_000_000)
        var series = MessageWriter()
        for part in [label.bytes, job.bytes] { series.field(1, part) }
        for _ in 0..<3 { series.field(2, sample.bytes) }
        series.field(4, sample.bytes)
        var request = MessageWriter()
        request.field(1, series.bytes)
        request.field(1, series.bytes)
        return request.bytes
    }

    @Test func bodiesMayBeAnything() throws {
        let message = Self.message()
        let whole = try WriteRequest(compressed: Snappy.packed(message))
        #expect(whole.series.count == 2 && whole.series[0].timestamps.count == 3 && whole.histograms == 2)
        var fuzz = Fuzz(corpus: [message, Snappy.packed(message), Snappy.packed([UInt8](repeating: 7, count: 70_000))])
        fuzz.run(rounds: 8000) { bytes in
            if let problem = bytes.withUnsafeBytes({ decodeWriteRequest($0) }) { Issue.record("\(problem)") }
        }
    }
}

@Suite struct RelabelFuzzTests {
    private static let texts = [
        "(.*)", "(?P<name>[a-z]+)-(\\d+)?", "__meta_kubernetes_(.+)_label_(.+)", "a|b|(c)", "${1}_$name$$", "$2-${10}",
        "",
        "(?i)^x{1,9}$", "([^;]*);(.*)", "lä;ßẞ\u{1F600}", "__address__",
    ]

    @Test func stepsMayBeAnything() {
        // The texts in every role, under every action.
        let texts = Self.texts.map { Array($0.utf8) }
        var fuzz = Fuzz(
            corpus: texts.indices.map { i in
                [UInt8(i)] + (texts[i...] + texts[..<i]).joined(separator: [0xff])
            })
        fuzz.run(rounds: 8000) { bytes in
            if let problem = bytes.withUnsafeBytes({ relabelAnything($0) }) { Issue.record("\(problem)") }
        }
    }
}
