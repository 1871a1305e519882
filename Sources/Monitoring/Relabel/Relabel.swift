package import MetricModel
import Platform

/// One step of relabelling, as Prometheus defines it.
package struct RelabelConfig: Sendable, Hashable {
    package enum Action: String, Sendable, CaseIterable {
        case replace, keep, drop, hashmod, labelmap, labeldrop, labelkeep, lowercase, uppercase, keepequal, dropequal
    }

    package var action = Action.replace
    package var sourceLabels: [String] = []
    package var separator = ";"
    package var targetLabel = ""
    package var replacement = "$1"
    package var modulus: UInt64 = 0
    private var regex: Regex2
    package var pattern: String { regex.pattern }

    /// Throws where the pattern is not RE2.
    package init(regex pattern: String = "(.*)") throws(RegexError) { regex = try Regex2(pattern) }

    package static func == (a: RelabelConfig, b: RelabelConfig) -> Bool {
        a.action == b.action && a.sourceLabels == b.sourceLabels && a.separator == b.separator
            && a.targetLabel == b.targetLabel && a.replacement == b.replacement && a.modulus == b.modulus
            && a.pattern == b.pattern
    }

    package func hash(into hasher: inout Hasher) {
        hasher.combine(action)
        hasher.combine(pattern)
        hasher.combine(targetLabel)
    }

    /// Changes the labels; false drops what they name.
    fileprivate func apply(_ labels: inout LabelsBuilder) -> Bool {
        let text = sourceLabels.map { labels[$0] ?? "" }.joined(separator: separator)
        switch action {
        case .drop: return !regex.matchesWhole(text)
        case .keep: return regex.matchesWhole(text)
        case .dropequal: return labels[targetLabel] ?? "" != text
        case .keepequal: return labels[targetLabel] ?? "" == text
        case .replace:
            let bytes = Array(text.utf8)
            guard let groups = regex.match(bytes, whole: true) else { return true }
            let target = regex.expand(targetLabel, match: groups, in: bytes)
            guard !target.isEmpty else { return true }
            let value = regex.expand(replacement, match: groups, in: bytes)
            if value.isEmpty { labels.remove(target) } else { labels.set(target, value) }
        case .lowercase: labels.set(targetLabel, text.lowercased())
        case .uppercase: labels.set(targetLabel, text.uppercased())
        case .hashmod:
            guard modulus > 0 else { return true }
            let digest = Digest.hash(.md5, Array(text.utf8))
            var word: UInt64 = 0
            for byte in digest.suffix(8) { word = word << 8 | UInt64(byte) }
            labels.set(targetLabel, String(word % modulus))
        case .labelmap:
            for name in labels.names {
                let bytes = Array(name.utf8)
                guard let groups = regex.match(bytes, whole: true), let value = labels[name] else { continue }
                labels.set(regex.expand(replacement, match: groups, in: bytes), value)
            }
        case .labeldrop: labels.keep { !regex.matchesWhole($0) }
        case .labelkeep: labels.keep { regex.matchesWhole($0) }
        }
        return true
    }
}

/// The labels after all steps; nil where a step drops them.
package func relabel(_ labels: Labels, with steps: [RelabelConfig]) -> Labels? {
    if steps.isEmpty { return labels }
    var builder = LabelsBuilder(labels)
    for step in steps where !step.apply(&builder) { return nil }
    return builder.labels()
}
