import MetricModel

/// What `check metrics` finds: a body that cannot be read, or names and types against Prometheus' documented conventions.
package struct MetricFindings: Sendable {
    package var problem: String?
    package var lint: [String] = []
}

package func lintMetrics(_ body: [UInt8]) -> MetricFindings {
    var findings = MetricFindings()
    var helps: Set<String> = []
    var types: [String: String] = [:]
    var families: [String] = []
    var seen: Set<String> = []
    body.withUnsafeBytes { bytes in
        func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
        var parser = ExpositionParser(bytes, .text)
        do {
            while true {
                switch try parser.next() {
                case .end: return
                case .help(let metric, let help): if !help.isEmpty { helps.insert(text(metric)) }
                case .type(let metric, let type): types[text(metric)] = text(type)
                case .unit: break
                case .sample(let series, _, _):
                    let name = String(text(series).prefix { $0 != "{" && $0 != " " })
                    let family = familyName(name, types)
                    if seen.insert(family).inserted { families.append(family) }
                }
            }
        } catch {
            findings.problem = "error while linting: \(error)"
        }
    }
    for name in families.sorted() {
        let type = types[name] ?? ""
        func found(_ text: String) { findings.lint.append("\(name) \(text)") }
        if !helps.contains(name) { found("no help text") }
        if type == "counter", !name.hasSuffix("_total") { found("counter metrics should have \"_total\" suffix") }
        if type != "counter", !type.isEmpty, name.hasSuffix("_total") {
            found("non-counter metrics should not have \"_total\" suffix")
        }
        if type != "histogram", type != "summary", name.hasSuffix("_count") || name.hasSuffix("_sum") {
            found("only histograms and summaries should end in \"_count\" or \"_sum\"")
        }
        if name.contains(where: \.isUppercase) {
            found("metric names should be written in 'snake_case' not 'camelCase'")
        }
        for (unit, base) in nonBaseUnits where name.split(separator: "_").contains(Substring(unit)) {
            found("use base unit \"\(base)\" instead of \"\(unit)\"")
        }
        if !type.isEmpty, type != "untyped", name.split(separator: "_").contains(Substring(type)) {
            found("metric name should not include type '\(type)'")
        }
    }
    return findings
}

private let nonBaseUnits = [
    ("milliseconds", "seconds"), ("microseconds", "seconds"), ("nanoseconds", "seconds"), ("minutes", "seconds"),
    ("hours", "seconds"), ("days", "seconds"), ("kilobytes", "bytes"), ("megabytes", "bytes"), ("gigabytes", "bytes"),
    ("kibibytes", "bytes"), ("mebibytes", "bytes"), ("gibibytes", "bytes"), ("bits", "bytes"),
]

private func familyName(_ name: String, _ types: [String: String]) -> String {
    for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) {
        let base = String(name.dropLast(suffix.count))
        if let type = types[base], type == "histogram" || type == "summary" { return base }
    }
    return name
}
