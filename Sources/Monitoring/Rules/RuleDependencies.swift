import MetricModel
import PromQL

/// Which rules of a group must wait for which: the group's rules as stages that follow each other, those of one stage
/// independent. A rule comes after every earlier rule whose series it may read, and never before an earlier rule that reads
/// what it writes, so that each sees what it would see one after the other.
struct RuleStages {
    let stages: [[Int]]

    init(_ rules: [RuleDefinition]) {
        var places = [Int](repeating: 0, count: rules.count)
        let selectors = rules.map(\.expr.selectors)
        for i in rules.indices {
            for j in 0..<i {
                if selectors[i].contains(where: { mayRead($0, rules[j]) }) {
                    places[i] = max(places[i], places[j] + 1)
                } else if selectors[j].contains(where: { mayRead($0, rules[i]) }) {
                    places[i] = max(places[i], places[j])
                }
            }
        }
        var stages = [[Int]](repeating: [], count: (places.max() ?? -1) + 1)
        for (rule, place) in places.enumerated() { stages[place].append(rule) }
        self.stages = stages
    }
}

/// Whether a selector may match a series that a rule writes.
func mayRead(_ selector: VectorSelector, _ rule: RuleDefinition) -> Bool {
    let names = rule.isAlert ? ["ALERTS", "ALERTS_FOR_STATE"] : [rule.name]
    let byName = selector.matchers.filter { $0.name == Labels.metricNameLabel }
    guard names.contains(where: { name in byName.allSatisfy { $0.matches(name) } }) else { return false }
    // Of the other labels only the alert's name is known beforehand.
    guard rule.isAlert else { return true }
    return selector.matchers.allSatisfy { $0.name != "alertname" || $0.matches(rule.name) }
}
