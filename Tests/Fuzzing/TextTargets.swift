import MetricModel

@testable import Monitoring
@testable import PromQL

func walkExposition(_ bytes: UnsafeRawBufferPointer, _ format: ExpositionFormat) {
    var parser = ExpositionParser(bytes, format)
    for _ in 0...bytes.count {
        guard let line = try? parser.next() else { return }
        switch line {
        case .end: return
        case .sample(let place, _, _): _ = try? parseSeriesText(UnsafeRawBufferPointer(rebasing: bytes[place]))
        case .type(let a, let b), .help(let a, let b), .unit(let a, let b): _ = (bytes[a].count, bytes[b].count)
        }
    }
    check(false, "the parser does not end")
}

/// What is read is printed, and what is printed is read as the same.
func parsePromQL(_ bytes: UnsafeRawBufferPointer) {
    let text = String(decoding: bytes, as: UTF8.self)
    _ = try? parseMetricSelector(text)
    guard let expression = try? parseExpression(text, features: .all) else { return }
    let printed = "\(expression)"
    guard let again = try? parseExpression(printed, features: .all) else {
        return check(false, "what is printed is not read: \(printed)")
    }
    check("\(again)" == printed, "printed twice it is another: \(printed) and \(again)")
}

func parseNotation(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count < 200 else { return }
    let text = String(decoding: bytes, as: UTF8.self)
    _ = try? parseSeriesDescription(text)
}

func renderTemplate(_ bytes: UnsafeRawBufferPointer) {
    let set = TemplateSet(functions: .alertmanager(now: { 1_700_000_000_000 })).with(
        functions: TemplateFunctions.prometheus(externalURL: "http://a", now: 1_700_000_000_000) { _ in
            [TemplateSample(labels: Labels([("a", "b")]), value: 1)]
        }.all)
    let data = TemplateValue.map([
        "Labels": .map(["job": .string("a"), "instance": .string("<b>")]), "Value": .float(1.5),
        "Items": .list([.int(1), .int(-2)]),
    ])
    let text = String(decoding: bytes, as: UTF8.self)
    for html in [false, true] {
        if let out = try? set.render(text, data: data, html: html) {
            check(out.utf8.count <= max(text.utf8.count, TemplateSet.maxOutput + 1024), "a rendering beyond the limit")
        }
    }
}

/// Texts are parted by bytes 0xff: labels' names and values, then a step's pattern, label, separator, replacement.
func relabelAnything(_ bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.first else { return }
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
    guard let out = relabel(labels, with: steps) else { return }
    let names = out.pairs.map { Array($0.name.utf8) }
    for (a, b) in zip(names, names.dropFirst()) {
        check(a.lexicographicallyPrecedes(b), "names out of order or doubled: \(out)")
    }
    check(!out.pairs.contains { $0.value.isEmpty }, "an empty value stays: \(out)")
}
