package import MetricModel
import Monitoring

// What is done with any bytes: by libFuzzer for as long as one likes (scripts/fuzz), and by `make test` for a moment. Each says
// what was wrong; nil where nothing was.

package func walkExposition(_ bytes: UnsafeRawBufferPointer, _ format: ExpositionFormat) -> String? {
    var parser = ExpositionParser(bytes, format)
    for _ in 0...bytes.count {
        guard let line = try? parser.next() else { return nil }
        switch line {
        case .end: return nil
        case .sample(let place, _, _): _ = try? parseSeriesText(UnsafeRawBufferPointer(rebasing: bytes[place]))
        case .type(let a, let b), .help(let a, let b), .unit(let a, let b): _ = (bytes[a].count, bytes[b].count)
        }
    }
    return "the parser does not end"
}

/// As the block, and as the message within a sound block.
package func decodeWriteRequest(_ bytes: UnsafeRawBufferPointer) -> String? {
    for body in [Array(bytes), Snappy.packed(Array(bytes))] {
        guard let request = try? WriteRequest(compressed: body) else { continue }
        for series in request.series {
            if series.timestamps.count != series.values.count { return "columns of two lengths" }
            if series.labels.metricName.isEmpty { return "a series without a name" }
        }
        _ = try? ReadRequest(compressed: body)
    }
    return nil
}

/// Steps with any pattern, replacement and label: each takes effect, drops the labels or is refused as a configuration. The first
/// byte chooses the actions; the rest are texts, parted by bytes 0xff: labels' names and values, then a step's pattern, label,
/// separator and replacement.
package func relabelAnything(_ bytes: UnsafeRawBufferPointer) -> String? {
    guard let first = bytes.first else { return nil }
    let texts = bytes.dropFirst().split(separator: 0xff, omittingEmptySubsequences: false).map {
        String(decoding: $0.prefix(200), as: UTF8.self)
    }
    func text(_ index: Int) -> String { texts.isEmpty ? "" : texts[index % texts.count] }
    let labels = Labels((0..<3).map { (text(2 * $0), text(2 * $0 + 1)) }.filter { !$0.0.isEmpty })
    var steps: [RelabelConfig] = []
    for i in 0..<2 {
        guard var step = try? RelabelConfig(regex: text(6 + 4 * i)) else { continue }
        let actions = RelabelConfig.Action.allCases
        step.action = actions[(Int(first) + 5 * i) % actions.count]
        step.sourceLabels = [text(0), text(2)]
        (step.targetLabel, step.separator, step.replacement) = (text(7 + 4 * i), text(8 + 4 * i), text(9 + 4 * i))
        step.modulus = UInt64(first % 10)
        steps.append(step)
    }
    guard let out = relabel(labels, with: steps) else { return nil }
    let names = out.pairs.map { Array($0.name.utf8) }
    for (a, b) in zip(names, names.dropFirst()) where !a.lexicographicallyPrecedes(b) {
        return "names out of order or doubled: \(out)"
    }
    return out.pairs.contains { $0.value.isEmpty } ? "an empty value stays: \(out)" : nil
}
