import Logging
import MetricModel
import Monitoring
import Platform
import PromQL

/// Unit tests of rules in promtool's file format: series are written down, rules evaluated over them, alerts and
/// expressions compared.
package enum RuleUnitTest {
    /// What came of a file's tests. Every problem is a text of one or more lines; none means that all passed.
    package struct Outcome: Sendable {
        package var problems: [String] = []
        package var warnings: [String] = []
    }

    /// Runs a file's tests, those groups only whose name one of `groups` matches where any are given.
    package static func run(_ file: String, groups wanted: [String] = []) -> Outcome {
        let issues = ConfigIssues()
        do {
            guard let node = try ConfigNode.read(file: file), let section = ConfigSection(node, issues) else {
                return Outcome(problems: ["\(file) has no tests"])
            }
            let patterns = try wanted.map { try LabelMatcher("name", .regex, $0) }
            let suite = Suite(section, file)
            if !issues.all.isEmpty { return Outcome(problems: issues.all.map(\.description)) }
            var outcome = Outcome(warnings: suite.warnings)
            for test in suite.tests where patterns.isEmpty || patterns.contains(where: { $0.matches(test.name) }) {
                outcome.problems += test.run(suite)
            }
            return outcome
        } catch {
            return Outcome(problems: ["\(error)"])
        }
    }
}

private struct Suite {
    var interval: Int64
    var rules: [RuleGroupDefinition] = []
    var order: [String]
    var fuzzy: Bool
    var tests: [Test] = []
    var warnings: [String] = []

    init(_ section: ConfigSection, _ file: String) {
        interval = section.duration("evaluation_interval") ?? 60_000
        order = section.strings("group_eval_order") ?? []
        fuzzy = section.bool("fuzzy_compare") ?? false
        for pattern in section.strings("rule_files") ?? [] {
            let path = resolvePath(pattern, relativeTo: file)
            let files = FileSystem.glob(path)
            if files.isEmpty { warnings.append("no file matches pattern \(pattern)") }
            for found in files {
                rules += decodeRuleFile(found, defaultInterval: interval, issues: section.issues)
            }
        }
        tests = section.sections("tests").map(Test.init)
        section.finish()
        let places = Dictionary(order.enumerated().map { ($1, $0) }, uniquingKeysWith: { a, _ in a })
        rules = rules.enumerated().sorted {
            (places[$0.element.name] ?? .max, $0.offset) < (places[$1.element.name] ?? .max, $1.offset)
        }.map(\.element)
    }
}

private struct Test {
    struct ExpectedAlert {
        var labels: Labels
        var annotations: Labels
    }

    struct AlertTest {
        var at: Int64
        var name: String
        var group: String
        var expected: [ExpectedAlert]
    }

    struct ExpressionTest {
        var expr: String
        var at: Int64
        var expected: [(labels: Labels, value: Double, histogram: NativeHistogram?)]
    }

    var name: String
    var interval: Int64
    var series: [(labels: Labels, values: [SequenceValue])] = []
    var alertTests: [AlertTest] = []
    var expressionTests: [ExpressionTest] = []
    var externalLabels: Labels
    var externalURL: String
    var start: Int64

    init(_ section: ConfigSection) {
        name = section.string("name") ?? ""
        interval = section.duration("interval") ?? 60_000
        externalLabels = Labels(section.stringMap("external_labels") ?? [])
        externalURL = section.string("external_url") ?? ""
        start = 0
        if let text = section.string("start_timestamp") {
            if let time = parseTime(text) {
                start = time
            } else {
                section.issues.add(section.node("start_timestamp") ?? section.node, "\"\(text)\" is no time")
            }
        }
        for entry in section.sections("input_series") {
            let name = entry.required("series", entry.string("series")) ?? ""
            let values = entry.required("values", entry.string("values"), mayBeEmpty: true) ?? ""
            do {
                series.append((try parseSeriesName(name), try parseSequence(values)))
            } catch {
                entry.issues.add(entry.node, "\(name): \(error)")
            }
            entry.finish()
        }
        for entry in section.sections("alert_rule_test") {
            alertTests.append(
                AlertTest(
                    at: entry.duration("eval_time") ?? 0,
                    name: entry.required("alertname", entry.string("alertname")) ?? "",
                    group: entry.string("groupname") ?? "",
                    expected: entry.sections("exp_alerts").map { expected in
                        defer { expected.finish() }
                        return ExpectedAlert(
                            labels: Labels(expected.stringMap("exp_labels") ?? []),
                            annotations: Labels(expected.stringMap("exp_annotations") ?? []))
                    }))
            entry.finish()
        }
        for entry in section.sections("promql_expr_test") {
            var test = ExpressionTest(
                expr: entry.required("expr", entry.string("expr")) ?? "", at: entry.duration("eval_time") ?? 0,
                expected: [])
            for sample in entry.sections("exp_samples") {
                do {
                    let labels = try sample.string("labels").map(parseSeriesName) ?? .empty
                    if let text = sample.string("histogram"), let value = try parseSequence(text).first {
                        test.expected.append((labels, 0, value.histogram))
                    } else {
                        test.expected.append((labels, sample.double("value") ?? 0, nil))
                    }
                } catch {
                    sample.issues.add(sample.node, "\(error)")
                }
                sample.finish()
            }
            expressionTests.append(test)
            entry.finish()
        }
        section.finish()
    }

    func run(_ suite: Suite) -> [String] {
        let store = MemorySeries()
        for (labels, values) in series {
            for (i, value) in values.enumerated() where !value.omitted {
                store.append(
                    labels, timestamp: start + Int64(i) * interval, value: value.value, histogram: value.histogram)
            }
        }
        let engine = Engine()
        var environment = RuleEnvironment(
            engine: engine, source: store, appender: store, notify: { _ in },
            clock: WallClock { 0 }, metrics: MetricRegistry(),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        environment.externalLabels = externalLabels
        environment.externalURL = externalURL
        let groups = suite.rules.map { RuleGroup($0, environment) }
        let end = start + ((alertTests.map(\.at) + expressionTests.map(\.at)).max() ?? 0)
        var problems: [String] = []
        let title = name.isEmpty ? "" : "name: \(name), "
        var pending = alertTests.sorted { $0.at < $1.at }
        var time = start
        while time <= end {
            for group in groups {
                group.evaluate(at: time)
                for rule in group.status.rules where !rule.lastError.isEmpty {
                    problems.append(
                        "\(title)rule \(rule.definition.name), time: \(formatDuration(time - start)): \(rule.lastError)"
                    )
                }
            }
            while let test = pending.first, start + test.at < time + suite.interval {
                pending.removeFirst()
                if let problem = check(test, groups) { problems.append(title + problem) }
            }
            time += suite.interval
        }
        for test in expressionTests {
            if let problem = check(test, engine, store, fuzzy: suite.fuzzy) { problems.append(title + problem) }
        }
        return problems
    }

    private func check(_ test: AlertTest, _ groups: [RuleGroup]) -> String? {
        var got: [String] = []
        var isKnown = false
        for group in groups where test.group.isEmpty || group.definition.name == test.group {
            for rule in group.status.rules where rule.definition.isAlert && rule.definition.name == test.name {
                isKnown = true
                got += rule.alerts.filter { $0.state == .firing }.map { text($0.labels, $0.annotations) }
            }
        }
        var expected = test.expected.map { alert -> String in
            var builder = LabelsBuilder(alert.labels)
            builder.set("alertname", test.name)
            return text(builder.labels(), alert.annotations)
        }
        got.sort()
        expected.sort()
        if got == expected { return nil }
        let known = isKnown ? "" : " (no rule file has an alert of this name)"
        return
            "alertname: \(test.name), time: \(formatDuration(test.at))\(known), \n        exp:\(list(expected)), \n        got:\(list(got))"
    }

    private func text(_ labels: Labels, _ annotations: Labels) -> String {
        "Labels:\(labels) Annotations:\(annotations)"
    }

    private func list(_ items: [String]) -> String {
        items.isEmpty ? "[]" : "[\n            " + items.joined(separator: "\n            ") + "\n            ]"
    }

    private func check(_ test: ExpressionTest, _ engine: Engine, _ store: MemorySeries, fuzzy: Bool) -> String? {
        let title = "expr: \"\(test.expr)\", time: \(formatDuration(test.at))"
        do {
            let result = try engine.instant(
                try engine.parse(test.expr), at: start + test.at, source: store, control: QueryControl())
            var got: [(labels: Labels, value: Double, histogram: NativeHistogram?)]
            switch result.value {
            case .vector(let samples): got = samples.map { ($0.labels, $0.value, $0.histogram) }
            case .scalar(_, let value): got = [(.empty, value, nil)]
            case .string, .matrix: return "\(title), err: the result is neither a vector nor a scalar"
            }
            var expected = test.expected
            got.sort { $0.labels < $1.labels }
            expected.sort { $0.labels < $1.labels }
            let same =
                got.count == expected.count
                && zip(got, expected).allSatisfy { a, b in
                    guard a.labels == b.labels else { return false }
                    if let x = a.histogram, let y = b.histogram { return "\(x)" == "\(y)" }
                    guard a.histogram == nil, b.histogram == nil else { return false }
                    return equal(a.value, b.value, fuzzy: fuzzy)
                }
            if same { return nil }
            func shown(_ list: [(labels: Labels, value: Double, histogram: NativeHistogram?)]) -> String {
                list.isEmpty
                    ? "nil"
                    : list.map { "\($0.labels) " + ($0.histogram.map { "\($0)" } ?? formatFloat($0.value)) }
                        .joined(separator: "\n              ")
            }
            return "\(title),\n        exp: \(shown(expected))\n        got: \(shown(got))"
        } catch {
            return "\(title), err: \(error)"
        }
    }

    private func equal(_ a: Double, _ b: Double, fuzzy: Bool) -> Bool {
        // As for promtool, NaN equals nothing.
        if a == b { return true }
        return fuzzy && abs(a - b) <= 1e-15 * max(abs(a), abs(b))
    }
}

/// A series' name and labels alone; the notation wants a sample behind them.
private func parseSeriesName(_ text: String) throws -> Labels {
    text.isEmpty ? .empty : try parseSeriesDescription(text + " _").labels
}
