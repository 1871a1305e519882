import MetricModel
import Monitoring

/// Reads a list of `relabel_config`s.
func decodeRelabelConfigs(_ sections: [ConfigSection]) -> [RelabelConfig] {
    sections.compactMap { section in
        let pattern = section.string("regex")
        var step: RelabelConfig
        do {
            step = try RelabelConfig(regex: pattern ?? "(.*)")
        } catch {
            if let node = section.node("regex") { section.issues.add(node, "\(node.path): \(error)") }
            return nil
        }
        let actions = RelabelConfig.Action.allCases.map(\.rawValue)
        if let name = section.string("action"), let node = section.node("action") {
            if let action = RelabelConfig.Action(rawValue: name.lowercased()) {
                step.action = action
            } else {
                section.issues.add(
                    node, "\(node.path) must be one of \(actions.joined(separator: ", ")), not \"\(name)\"")
            }
        }
        if section.isNull("action") {
            section.issues.add(section.node, "\(section.node.path): relabel action cannot be empty")
        }
        step.sourceLabels = section.strings("source_labels") ?? []
        if step.sourceLabels.contains(""), let node = section.node("source_labels") {
            section.issues.add(node, "\(node.path): \"\" is not a valid label name")
        }
        step.separator = section.string("separator") ?? (section.isNull("separator") ? "" : ";")
        step.targetLabel = section.string("target_label") ?? ""
        step.replacement = section.string("replacement") ?? (section.isNull("replacement") ? "" : step.replacement)
        step.modulus = UInt64(section.int("modulus", range: 0...Int.max) ?? 0)
        let needsTarget: Set<RelabelConfig.Action> = [
            .replace, .hashmod, .lowercase, .uppercase, .keepequal, .dropequal,
        ]
        if needsTarget.contains(step.action), step.targetLabel.isEmpty {
            section.issues.add(section.node, "\(section.node.path): action \(step.action) needs target_label")
        }
        if step.action == .hashmod, step.modulus == 0 {
            section.issues.add(section.node, "\(section.node.path): action hashmod needs a modulus above zero")
        }
        if let misfit = misfit(step, pattern) { section.issues.add(section.node, "\(section.node.path): \(misfit)") }
        section.finish()
        return step
    }
}

/// A field that the step's action makes nothing of, which Prometheus refuses too; nil where all fit.
private func misfit(_ step: RelabelConfig, _ pattern: String?) -> String? {
    let plainReplacement = step.replacement == "$1"
    let plain = step.modulus == 0 && step.separator == ";" && plainReplacement
    switch step.action {
    case .lowercase, .uppercase:
        return plainReplacement ? nil : "'replacement' can not be set for \(step.action) action"
    case .keepequal, .dropequal:
        return plain && (pattern ?? "(.*)") == "(.*)"
            ? nil : "\(step.action) action requires only 'source_labels' and `target_label`, and no other fields"
    case .labeldrop, .labelkeep:
        return plain && step.sourceLabels.isEmpty && step.targetLabel.isEmpty
            ? nil : "\(step.action) action requires only 'regex', and no other fields"
    default: return nil
    }
}
