import MetricModel

@testable import Monitoring
@testable import PromQL

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
