import MetricModel
import PromQL

/// A text of an alerting rule, read once.
enum RuleText: Sendable {
    case plain(String)
    case template(TemplateSet.Parsed)
    /// Cannot be read; what is wrong with it.
    case broken(String)

    init(_ text: String, rule: String) {
        guard text.contains("{{") else {
            self = .plain(text)
            return
        }
        do {
            self = .template(try TemplateSet.Parsed(RuleTemplate.preamble + text, name: "__alert_\(rule)"))
        } catch {
            self = .broken("\(error)")
        }
    }
}

/// The texts of an alerting rule at one evaluation: `$labels`, `$value`, `$externalLabels`, `$externalURL` and Prometheus'
/// functions.
struct RuleTemplate {
    private let set: TemplateSet
    private let externalLabels: TemplateValue
    private let externalURL: TemplateValue

    /// What Prometheus declares before every text.
    static let preamble =
        "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

    init(at time: Int64, of group: RuleGroupDefinition, environment: RuleEnvironment) {
        set = TemplateSet(
            functions: .prometheus(externalURL: environment.externalURL, now: time) { text in
                let expr = try environment.engine.parse(text)
                return try environment.vector(expr, at: time, of: group).map {
                    TemplateSample(labels: $0.labels, value: $0.value)
                }
            })
        externalLabels = labelsValue(environment.externalLabels)
        externalURL = .string(environment.externalURL)
    }

    /// What a sample's texts see.
    func data(_ sample: Labels, _ value: Double) -> TemplateValue {
        .record(
            "the alert's data",
            [
                ("Labels", labelsValue(sample)), ("ExternalLabels", externalLabels), ("ExternalURL", externalURL),
                ("Value", .float(value)),
            ])
    }

    /// The text, or what is wrong with it: a bad template must not keep an alert from firing.
    func render(_ text: RuleText, _ data: TemplateValue) -> (text: String, problem: String?) {
        switch text {
        case .plain(let text): return (text, nil)
        case .broken(let problem): return ("<error expanding template: \(problem)>", problem)
        case .template(let parsed):
            do {
                return (try set.render(parsed, data: data), nil)
            } catch {
                return ("<error expanding template: \(error)>", "\(error)")
            }
        }
    }

    /// Finds what is wrong with a text before it is used.
    static func check(_ text: String, name: String) throws(TemplateError) {
        let functions = TemplateFunctions.prometheus(externalURL: "", now: 0) { _ in [] }
        try TemplateSet(functions: functions).check(preamble + text, name: name)
    }
}

/// Labels as a template sees them: a map whose missing names are empty texts.
func labelsValue(_ labels: Labels) -> TemplateValue {
    .object(
        TemplateObject(
            kind: "map[string]string",
            text: { TemplateValue.map(Dictionary(labels.pairs.map { ($0.name, .string($0.value)) }) { $1 }).text },
            elements: { labels.pairs.map { (.string($0.name), .string($0.value)) } },
            member: { name, _ in .string(labels[name] ?? "") }))
}

/// What `check rules` and the configuration's decoder look for in an alerting rule's text; nil where it is fine.
package func findingInRuleTemplate(_ text: String, name: String) -> String? {
    do {
        try RuleTemplate.check(text, name: name)
        return nil
    } catch {
        return "\(error)"
    }
}
