import MetricModel
import PromQL

/// The texts of an alerting rule: `$labels`, `$value`, `$externalLabels`, `$externalURL` and Prometheus' functions.
struct RuleTemplate {
    private let set: TemplateSet
    private let data: TemplateValue

    /// What Prometheus declares before every text.
    private static let preamble =
        "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

    init(sample: Labels, value: Double, at time: Int64, environment: RuleEnvironment) {
        let environment = environment
        set = TemplateSet(
            functions: .prometheus(externalURL: environment.externalURL, now: time) { text in
                let expr = try environment.engine.parse(text)
                return try environment.vector(expr, at: time).samples.map {
                    TemplateSample(labels: $0.labels, value: $0.value)
                }
            })
        data = .map([
            "Labels": labelsValue(sample), "ExternalLabels": labelsValue(environment.externalLabels),
            "ExternalURL": .string(environment.externalURL), "Value": .float(value),
        ])
    }

    /// The text, or what is wrong with it: a bad template must not keep an alert from firing.
    func render(_ text: String, name: String) -> (text: String, problem: String?) {
        guard text.contains("{{") else { return (text, nil) }
        do {
            return (try set.render(Self.preamble + text, data: data, name: name), nil)
        } catch {
            return ("<error expanding template: \(error)>", "\(error)")
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
