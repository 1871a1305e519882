import MetricModel
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
            // As the message within a sound block, and as the block.
            for body in [Snappy.packed(bytes), bytes] {
                guard let request = try? WriteRequest(compressed: body) else { continue }
                for series in request.series {
                    if series.timestamps.count != series.values.count { Issue.record("columns of two lengths") }
                    if series.labels.metricName.isEmpty { Issue.record("a series without a name") }
                }
            }
        }
    }
}

/// Relabelling with any pattern, replacement and label: a step takes effect, drops the labels or is refused as a configuration.
@Suite struct RelabelFuzzTests {
    private static let texts = [
        "(.*)", "(?P<name>[a-z]+)-(\\d+)?", "__meta_kubernetes_(.+)_label_(.+)", "a|b|(c)", "${1}_$name$$", "$2-${10}",
        "",
        "(?i)^x{1,9}$", "([^;]*);(.*)", "lä;ßẞ\u{1F600}", "__address__",
    ]

    @Test func stepsMayBeAnything() {
        var fuzz = Fuzz(corpus: Self.texts.map { Array($0.utf8) })
        var texts = Self.texts
        var random = Fuzz.Generator(state: 3)
        fuzz.run(rounds: 8000) { bytes in
            let text = String(decoding: bytes.prefix(200), as: UTF8.self)
            texts[Int.random(in: 0..<texts.count, using: &random)] = text
            func any() -> String { texts.randomElement(using: &random) ?? "" }
            let labels = Labels((0..<4).map { _ in (any(), any()) }.filter { !$0.0.isEmpty })
            var steps: [RelabelConfig] = []
            for _ in 0..<3 {
                guard var step = try? RelabelConfig(regex: any()) else { continue }
                step.action = RelabelConfig.Action.allCases.randomElement(using: &random) ?? .replace
                step.sourceLabels = [any(), labels.pairs.first?.name ?? ""]
                (step.separator, step.targetLabel, step.replacement) = (any(), any(), any())
                step.modulus = UInt64.random(in: 0...9, using: &random)
                steps.append(step)
            }
            guard let out = relabel(labels, with: steps) else { return }
            let names = out.pairs.map(\.name)
            if names != names.sorted(by: { $0.utf8.lexicographicallyPrecedes($1.utf8) })
                || Set(names).count != names.count
            {
                Issue.record("names out of order or doubled: \(names)")
            }
            if out.pairs.contains(where: { $0.value.isEmpty }) { Issue.record("an empty value stays: \(out)") }
        }
    }
}
