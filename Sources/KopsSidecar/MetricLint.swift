import MetricModel

/// What `check metrics` finds: a body that cannot be read, or names and types against Prometheus' documented conventions.
package struct MetricFindings: Sendable {
    package var problem: String?
    package var lint: [String] = []
}

/// Reads a body in the text format and holds it against the conventions, in promtool's words.
package func lintMetrics(_ body: [UInt8]) -> MetricFindings {
    var findings = MetricFindings()
    do {
        let families = try readFamilies(body)
        findings.lint = families.values.flatMap { family in problems(of: family).map { "\(family.name) \($0)" } }
            .sorted()
    } catch {
        findings.problem = "error while linting: \(error)"
    }
    return findings
}

private struct Family {
    let name: String
    var type = ""
    var hasTypeLine = false
    var hasHelpLine = false
    var hasHelp = false
    var hasSamples = false
    /// Names of all labels that its samples have.
    var labels: Set<String> = []
}

private func readFamilies(_ body: [UInt8]) throws(ExpositionError) -> [String: Family] {
    var families: [String: Family] = [:]
    if let last = body.last, last != UInt8(ascii: "\n") {
        let lines = body.reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
        throw ExpositionError(line: lines, message: "unexpected end of input stream: the last line has no end")
    }
    let result = body.withUnsafeBytes { bytes -> Result<Void, ExpositionError> in
        func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
        var parser = ExpositionParser(bytes, .text)
        func fail(_ message: String) -> Result<Void, ExpositionError> {
            .failure(ExpositionError(line: parser.line, message: message))
        }
        do throws(ExpositionError) {
            while true {
                switch try parser.next() {
                case .end: return .success(())
                case .unit: break
                case .help(let metric, let help):
                    let name = text(metric)
                    if families[name]?.hasHelpLine == true {
                        return fail("second HELP line for metric name \"\(name)\"")
                    }
                    families[name, default: Family(name: name)].hasHelpLine = true
                    families[name]?.hasHelp = !help.isEmpty
                case .type(let metric, let type):
                    let name = text(metric)
                    if let family = families[name], family.hasTypeLine || family.hasSamples {
                        return fail("second TYPE line for metric name \"\(name)\", or TYPE reported after samples")
                    }
                    families[name, default: Family(name: name)].hasTypeLine = true
                    families[name]?.type = text(type)
                case .sample(let series, _, _):
                    guard let pairs = try? parseSeriesText(UnsafeRawBufferPointer(rebasing: bytes[series])) else {
                        return fail("\"\(text(series))\" is no series")
                    }
                    let metric = pairs.first { $0.name == Labels.metricNameLabel }?.value ?? ""
                    let name = familyName(metric, families)
                    families[name, default: Family(name: name)].hasSamples = true
                    for (label, _) in pairs where label != Labels.metricNameLabel {
                        families[name]?.labels.insert(label)
                    }
                }
            }
        } catch {
            return .failure(error)
        }
    }
    try result.get()
    return families.filter(\.value.hasSamples)
}

private func familyName(_ name: String, _ families: [String: Family]) -> String {
    for suffix in ["_bucket", "_sum", "_count"] where name.hasSuffix(suffix) {
        let base = String(name.dropLast(suffix.count))
        switch families[base]?.type {
        case "histogram": return base
        case "summary" where suffix != "_bucket": return base
        default: break
        }
    }
    return name
}

private func problems(of family: Family) -> [String] {
    let (name, type) = (family.name, family.type)
    let lower = name.lowercased()
    let parts = lower.split(separator: "_").map(String.init)
    // A name's first part says whose it is.
    let meanings = parts.dropFirst(lower.hasPrefix("_") ? 0 : 1)
    var found: [String] = []
    if !family.hasHelp { found.append("no help text") }
    for (unit, base) in nonBaseUnits where parts.contains(unit) {
        found.append("use base unit \"\(base)\" instead of \"\(unit)\"")
    }
    let isTyped = !type.isEmpty && type != "untyped"
    if type == "counter", !name.hasSuffix("_total") { found.append("counter metrics should have \"_total\" suffix") }
    if isTyped, type != "counter", name.hasSuffix("_total") {
        found.append("non-counter metrics should not have \"_total\" suffix")
    }
    if isTyped {
        if type != "histogram" {
            if name.hasSuffix("_bucket") { found.append("non-histogram metrics should not have \"_bucket\" suffix") }
            if family.labels.contains("le") { found.append("non-histogram metrics should not have \"le\" label") }
            for suffix in ["_count", "_sum"] where type != "summary" && name.hasSuffix(suffix) {
                found.append("non-histogram and non-summary metrics should not have \"\(suffix)\" suffix")
            }
        }
        if type != "summary", family.labels.contains("quantile") {
            found.append("non-summary metrics should not have \"quantile\" label")
        }
    }
    for kind in ["counter", "gauge", "summary", "histogram"] where meanings.contains(kind) {
        found.append("metric name should not include type '\(kind)'")
    }
    if name.contains(":") { found.append("metric names should not contain ':'") }
    if isCamelCase(name) { found.append("metric names should be written in 'snake_case' not 'camelCase'") }
    if family.labels.contains(where: isCamelCase) {
        found.append("label names should be written in 'snake_case' not 'camelCase'")
    }
    if meanings.contains(where: abbreviatedUnits.contains) {
        found.append("metric names should not contain abbreviated units")
    }
    return found
}

private func isCamelCase(_ name: String) -> Bool {
    zip(name.unicodeScalars, name.unicodeScalars.dropFirst()).contains {
        ("a"..."z").contains($0) && ("A"..."Z").contains($1)
    }
}

private let nonBaseUnits = [
    ("milliseconds", "seconds"), ("microseconds", "seconds"), ("nanoseconds", "seconds"), ("minutes", "seconds"),
    ("hours", "seconds"), ("days", "seconds"), ("weeks", "seconds"), ("kilobytes", "bytes"), ("megabytes", "bytes"),
    ("gigabytes", "bytes"), ("kibibytes", "bytes"), ("mebibytes", "bytes"), ("gibibytes", "bytes"), ("bits", "bytes"),
]

private let abbreviatedUnits: Set<String> = [
    "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d",
]
