import MetricModel

/// Prometheus' query test language: `load`, `clear`, `eval` with expectations.
package enum PromQLScript {
    /// A command that did not turn out as the script says.
    package struct Failure: Sendable, CustomStringConvertible {
        package let file: String
        /// From 1.
        package let line: Int
        package let message: String
        package var description: String { "\(file):\(line): \(message)" }
    }

    package struct Outcome: Sendable {
        /// `eval` commands that turned out as expected.
        package var passed = 0
        package var failures: [Failure] = []
    }

    /// Runs a script on a fresh store. `features` are those the script's queries may use. With `thorough`, instant queries
    /// are asked again with `@` on every selector, and as the middle of a range, and must answer the same.
    package static func run(
        file: String, text: String, features: PromQLFeatures = .all, thorough: Bool = true
    ) -> Outcome {
        var features = features
        // As Prometheus runs its own: that one file is about a feature which would change all others.
        if file.contains("type_and_unit") { features.insert(.typeAndUnitLabels) }
        var runner = ScriptRunner(file: file, text: text, features: features, thorough: thorough)
        runner.run()
        return runner.outcome
    }
}

struct ScriptRunner {
    let file: String
    let lines: [String]
    let engine: Engine
    let thorough: Bool
    var outcome = PromQLScript.Outcome()
    let store = MemorySeries()
    /// Index of the current line.
    var at = 0

    init(file: String, text: String, features: PromQLFeatures, thorough: Bool) {
        self.file = file
        self.thorough = thorough
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            let trimmed = trim(line)
            return trimmed.hasPrefix("#") ? "" : trimmed
        }
        var options = EngineOptions()
        options.features = features
        engine = Engine(options)
    }

    mutating func fail(_ line: Int, _ message: String) {
        outcome.failures.append(.init(file: file, line: line + 1, message: message))
    }

    mutating func run() {
        while at < lines.count {
            let line = lines[at]
            if line.isEmpty {
                at += 1
            } else if line == "clear" {
                store.clear()
                at += 1
            } else if line.hasPrefix("load") {
                load()
            } else if line.hasPrefix("eval") {
                evaluate()
            } else {
                fail(at, "invalid command \(quoteGo(line)); expected load, clear or eval")
                at += 1
            }
        }
    }

    /// The lines up to the next empty one.
    mutating func block() -> [(line: Int, text: String)] {
        var out: [(Int, String)] = []
        at += 1
        while at < lines.count, !lines[at].isEmpty {
            out.append((at, lines[at]))
            at += 1
        }
        return out
    }

    // MARK: - load

    private mutating func load() {
        let start = at
        let words = lines[at].split(whereSeparator: { $0 == " " || $0 == "\t" })
        let body = block()
        let withNHCB = words[0] == "load_with_nhcb"
        guard words.count == 2, words[0] == "load" || withNHCB, let interval = parseDuration(String(words[1])) else {
            fail(start, "invalid load command. (load[_with_nhcb] <step:duration>)")
            return
        }
        // Of several lines for one series the last counts.
        var definitions: [Labels: [SequenceValue]] = [:]
        var order: [Labels] = []
        for (line, text) in body {
            do {
                let (labels, values) = try parseSeriesDescription(text)
                if definitions.updateValue(values, forKey: labels) == nil { order.append(labels) }
            } catch {
                fail(line, "\(error)")
            }
        }
        for labels in order {
            for (i, value) in (definitions[labels] ?? []).enumerated() where !value.omitted {
                store.append(
                    labels, timestamp: Int64(i) * interval, value: value.value, histogram: value.histogram)
            }
        }
        if withNHCB {
            for (labels, samples) in CustomBucketConversion(order, definitions).series {
                for (i, histogram) in samples {
                    store.append(labels, timestamp: Int64(i) * interval, value: 0, histogram: histogram)
                }
            }
        }
    }
}

func trim(_ text: some StringProtocol) -> String {
    var out = Substring(text)
    while let first = out.first, first == " " || first == "\t" || first == "\r" { out.removeFirst() }
    while let last = out.last, last == " " || last == "\t" || last == "\r" { out.removeLast() }
    return String(out)
}
