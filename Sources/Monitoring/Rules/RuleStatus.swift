import MetricModel

/// One rule as the API shows it. Times are milliseconds since 1970 UTC, 0 for never; durations are seconds.
package struct RuleStatus: Sendable {
    package var definition: RuleDefinition
    /// "unknown" until the first evaluation, then "ok" or "err".
    package var health = "unknown"
    package var lastError = ""
    package var lastEvaluation: Int64 = 0
    package var evaluationTime: Double = 0
    package var state = AlertState.inactive
    /// Pending and firing alerts, sorted by labels.
    package var alerts: [ActiveAlert] = []

    package init(_ definition: RuleDefinition) { self.definition = definition }
}

package struct RuleGroupStatus: Sendable {
    package var definition: RuleGroupDefinition
    package var lastEvaluation: Int64 = 0
    package var evaluationTime: Double = 0
    package var rules: [RuleStatus]

    package init(_ definition: RuleGroupDefinition) {
        self.definition = definition
        rules = definition.rules.map(RuleStatus.init)
    }
}
