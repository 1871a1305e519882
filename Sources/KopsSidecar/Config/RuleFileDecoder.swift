import MetricModel
package import Monitoring
package import PromQL

/// Reads one rule file; what is wrong with it goes to `issues`. `defaultInterval` and `defaultOffset` are milliseconds.
package func decodeRuleFile(
    _ file: String, defaultInterval: Int64, defaultOffset: Int64 = 0, features: PromQLFeatures = [],
    issues: ConfigIssues
) -> [RuleGroupDefinition] {
    let node: ConfigNode?
    do {
        node = try ConfigNode.read(file: file)
    } catch {
        issues.add(error)
        return []
    }
    guard let node, let section = ConfigSection(node, issues) else { return [] }
    var names: Set<String> = []
    let groups = section.sections("groups").map { group -> RuleGroupDefinition in
        let name = group.required("name", group.string("name")) ?? ""
        if let at = group.node("name") {
            if name.isEmpty { issues.add(at, "a group's name must not be empty") }
            if !names.insert(name).inserted {
                issues.add(at, "group \"\(name)\" is there twice in this file; give one of them another name")
            }
        }
        var definition = RuleGroupDefinition(
            name: name, file: file, interval: group.duration("interval") ?? defaultInterval)
        if definition.interval <= 0 {
            definition.interval = defaultInterval
        }
        definition.limit = group.int("limit", range: 0...Int.max) ?? 0
        definition.queryOffset = group.duration("query_offset") ?? defaultOffset
        let shared = decodeRuleLabels(group, "labels")
        definition.rules = group.sections("rules").compactMap {
            decodeRule($0, shared: shared, features: features)
        }
        // Thanos' and Mimir's additions to the format.
        _ = group.string("partial_response_strategy")
        _ = group.strings("source_tenants")
        group.finish()
        return definition
    }
    section.finish()
    return groups
}

private func decodeRule(_ section: ConfigSection, shared: Labels, features: PromQLFeatures) -> RuleDefinition? {
    let issues = section.issues
    let record = section.string("record")
    let alert = section.string("alert")
    let text = section.required("expr", section.string("expr"))
    let hold = section.duration("for")
    let keep = section.duration("keep_firing_for")
    let labels = decodeRuleLabels(section, "labels")
    let annotations = decodeRuleLabels(section, "annotations")
    defer { section.finish() }
    let name = alert ?? record ?? ""
    switch (record, alert) {
    case (nil, nil):
        issues.add(section.node, "a rule needs either \"record\" or \"alert\"")
        return nil
    case (.some, .some):
        issues.add(section.node, "a rule has either \"record\" or \"alert\", not both")
        return nil
    default: break
    }
    if record != nil {
        for key in ["for", "keep_firing_for", "annotations"] {
            if let at = section.node(key) {
                issues.add(at, "\"\(key)\" is for alerting rules, not for recording rules")
            }
        }
        if let at = section.node("record"), !isLegacyMetricName(name) {
            issues.add(at, "\"\(name)\" is not a valid name for a recorded metric")
        }
    } else {
        if name.isEmpty, let at = section.node("alert") { issues.add(at, "an alert's name must not be empty") }
        for (key, texts) in [("labels", labels), ("annotations", annotations)] {
            for (label, text) in texts.pairs {
                if let finding = findingInRuleTemplate(text, name: "__alert_\(name)"), let at = section.node(key) {
                    issues.add(at, "\(key).\(label) of alert \"\(name)\": \(finding)")
                }
            }
        }
    }
    guard let text else { return nil }
    do {
        let expr = try parseExpression(text, features: features)
        var builder = LabelsBuilder(shared)
        var removed: [String] = []
        for (label, value) in section.stringMap("labels") ?? [] {
            builder.set(label, value)
            if value.isEmpty {
                builder.remove(label)
                removed.append(label)
            }
        }
        if let at = section.node("expr"), expr.valueType == .matrix || expr.valueType == .string {
            issues.add(
                at, "rule \"\(name)\" must yield a vector or a scalar, its expression is a \(expr.valueType.documented)"
            )
        }
        return RuleDefinition(
            name: name,
            kind: alert == nil
                ? .record : .alert(hold: hold ?? 0, keepFiringFor: keep ?? 0, annotations: annotations),
            expr: expr, labels: builder.labels(), removedLabels: removed.sorted())
    } catch {
        if let at = section.node("expr") { issues.add(at, "rule \"\(name)\": could not parse expression: \(error)") }
        return nil
    }
}

private func decodeRuleLabels(_ section: ConfigSection, _ key: String) -> Labels {
    let pairs = section.stringMap(key) ?? []
    for (name, _) in pairs where name.isEmpty || name == Labels.metricNameLabel {
        if let at = section.node(key) { section.issues.add(at, "\(key): \"\(name)\" is not a valid label name") }
    }
    return Labels(pairs)
}

/// Rules that are there more than once: same name and labels.
package func duplicateRules(_ groups: [RuleGroupDefinition]) -> [DuplicateRule] {
    struct Identity: Hashable {
        let name: String
        let labels: Labels
    }
    var first: [Identity: String] = [:]
    var found: [DuplicateRule] = []
    for group in groups {
        for rule in group.rules {
            let identity = Identity(name: rule.name, labels: rule.labels)
            if let earlier = first[identity] {
                found.append(DuplicateRule(name: rule.name, group: group.name, earlierGroup: earlier))
            } else {
                first[identity] = group.name
            }
        }
    }
    return found
}

/// A rule that a file has again: both would write the same series.
package struct DuplicateRule: Sendable, CustomStringConvertible {
    let name: String
    let group: String
    let earlierGroup: String

    package var description: String {
        group == earlierGroup
            ? "group \"\(group)\" has rule \"\(name)\" twice with the same labels"
            : "group \"\(group)\" has rule \"\(name)\" with the same labels as group \"\(earlierGroup)\""
    }
}
