import MetricModel

/// A mapping of the configuration while it is decoded. It remembers which keys were asked for, so that `finish()` can name
/// every other one. A null value counts as absent. A wrong type is reported, and nil returned. Used by one thread at a time.
package final class ConfigSection {
    package let node: ConfigNode
    package let issues: ConfigIssues
    private let pairs: [(key: ConfigNode, value: ConfigNode)]
    private var known: Set<String> = []

    /// Nil, and a finding, where `node` is not a mapping.
    package init?(_ node: ConfigNode, _ issues: ConfigIssues) {
        guard let pairs = node.mapping else {
            issues.add(node, "\(named(node.path)) must be a mapping of keys, not \(node.kind)")
            return nil
        }
        self.node = node
        self.issues = issues
        self.pairs = pairs
    }

    /// Every key in the file's order, also those not yet asked for.
    package var keys: [String] { pairs.compactMap(\.key.scalar) }

    package func has(_ key: String) -> Bool { node(key) != nil }

    package func node(_ key: String) -> ConfigNode? {
        known.insert(key)
        guard let value = pairs.first(where: { $0.key.scalar == key })?.value, !value.isNull else { return nil }
        return value
    }

    /// A key that is present but null: `storage:` with nothing under it.
    package func isNull(_ key: String) -> Bool {
        known.insert(key)
        return pairs.first { $0.key.scalar == key }?.value.isNull ?? false
    }

    /// The elements of a list.
    package func nodes(_ key: String) -> [ConfigNode] {
        guard let node = node(key) else { return [] }
        guard let list = node.sequence else {
            issues.add(node, "\(node.path) must be a list, not \(node.kind)")
            return []
        }
        return list
    }

    package func section(_ key: String) -> ConfigSection? {
        node(key).flatMap { ConfigSection($0, issues) }
    }

    package func sections(_ key: String) -> [ConfigSection] {
        nodes(key).compactMap { ConfigSection($0, issues) }
    }

    package func string(_ key: String) -> String? {
        guard let node = node(key) else { return nil }
        guard let text = node.scalar else {
            issues.add(node, "\(node.path) must be a text, not \(node.kind)")
            return nil
        }
        if key.hasSuffix("_file"), !Self.writtenFiles.contains(key), !text.isEmpty {
            issues.willBeRead(resolvePath(text, relativeTo: node.file), node)
        }
        return text
    }

    /// Files that the program writes.
    private static let writtenFiles: Set<String> = ["query_log_file", "scrape_failure_log_file"]

    package func strings(_ key: String) -> [String]? {
        guard has(key) else { return nil }
        return nodes(key).compactMap { node in
            if node.isNull { return "" }
            guard let text = node.scalar else {
                issues.add(node, "\(node.path) must be a text, not \(node.kind)")
                return nil
            }
            return text
        }
    }

    /// A mapping of texts, in the file's order.
    package func stringMap(_ key: String) -> [(String, String)]? {
        guard let node = node(key) else { return nil }
        guard let pairs = node.mapping else {
            issues.add(node, "\(node.path) must be a mapping of texts, not \(node.kind)")
            return nil
        }
        return pairs.compactMap { key, value in
            if value.isNull, let name = key.scalar { return (name, "") }
            guard let name = key.scalar, let text = value.scalar else {
                issues.add(value, "\(value.path) must be a text, not \(value.kind)")
                return nil
            }
            return (name, text)
        }
    }

    package func int(_ key: String, range: ClosedRange<Int> = Int.min...Int.max) -> Int? {
        guard let node = node(key) else { return nil }
        guard let text = node.scalar, let number = Int(text) else {
            issues.add(node, "\(node.path) must be a whole number, not \(node.kind)")
            return nil
        }
        guard range.contains(number) else {
            let bounds =
                range.upperBound == Int.max
                ? "at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
            issues.add(node, "\(node.path) must be \(bounds), not \(number)")
            return nil
        }
        return number
    }

    package func double(_ key: String) -> Double? {
        guard let node = node(key) else { return nil }
        guard let text = node.scalar, let number = yamlNumber(text) else {
            issues.add(node, "\(node.path) must be a number, not \(node.kind)")
            return nil
        }
        return number
    }

    package func bool(_ key: String) -> Bool? {
        guard let node = node(key) else { return nil }
        switch node.scalar?.lowercased() {
        case "true", "yes", "on", "y": return true
        case "false", "no", "off", "n": return false
        default:
            issues.add(node, "\(node.path) must be true or false, not \(node.kind)")
            return nil
        }
    }

    /// Milliseconds of a Prometheus duration such as `15s` or `1h30m`.
    package func duration(_ key: String) -> Int64? {
        guard let node = node(key) else { return nil }
        guard let text = node.scalar, let milliseconds = parseDuration(text) else {
            issues.add(node, "\(node.path) must be a duration such as 15s, 5m or 1d, not \(node.kind)")
            return nil
        }
        return milliseconds
    }

    /// Bytes: a number with an optional unit, where as in Prometheus both `KB` and `KiB` are 1,024 bytes.
    package func byteSize(_ key: String) -> Int64? {
        guard let node = node(key) else { return nil }
        guard let text = node.scalar, let bytes = parseByteSize(text) else {
            issues.add(node, "\(node.path) must be a size such as 512MiB or 10GiB, not \(node.kind)")
            return nil
        }
        return bytes
    }

    /// Reports a text that is no address of the web; an empty one is left to `required`.
    package func checkWebURL(_ key: String, _ url: String) {
        guard !url.isEmpty, !url.hasPrefix("http://"), !url.hasPrefix("https://"), let at = node(key) else { return }
        issues.add(at, "\(at.path) must begin with http:// or https://")
    }

    package func choice(_ key: String, _ allowed: [String]) -> String? {
        guard let text = string(key), let node = node(key) else { return nil }
        guard allowed.contains(text) else {
            issues.add(node, "\(node.path) must be \(oneOf(allowed)), not \"\(text)\"\(didYouMean(text, allowed))")
            return nil
        }
        return text
    }

    /// Reports that `key` is missing where its value is nil though nothing else was wrong with it, or is an empty text.
    package func required<T>(_ key: String, _ value: T?, mayBeEmpty: Bool = false) -> T? {
        if value == nil, !has(key) { issues.add(node, "\(named(node.path)) lacks \(key)") }
        if !mayBeEmpty, let text = value as? String, text.isEmpty, let at = self.node(key) {
            issues.add(at, "\(at.path) is empty")
        }
        return value
    }

    /// Reports a key that is known but not supported, where it is present.
    package func refuse(_ key: String, _ why: String) {
        known.insert(key)
        guard let found = pairs.first(where: { $0.key.scalar == key }) else { return }
        issues.add(found.key, "\(found.value.path) is not supported: \(why)")
    }

    /// Reports every key nobody asked for, with the nearest one that is known.
    package func finish() {
        for (key, value) in pairs {
            guard let name = key.scalar else {
                issues.add(key, "\(named(node.path)) has a key that is not a text")
                continue
            }
            if known.contains(name) { continue }
            issues.add(key, "unknown key \(value.path)\(didYouMean(name, known.sorted()))")
        }
    }
}

/// A number, with YAML's ways to write those that are none.
private func yamlNumber(_ text: String) -> Double? {
    switch text.lowercased() {
    case ".inf", "+.inf": .infinity
    case "-.inf": -.infinity
    case ".nan": .nan
    default: Double(text)
    }
}

private func named(_ path: String) -> String { path.isEmpty ? "the file" : path }

private func oneOf(_ allowed: [String]) -> String {
    guard allowed.count > 1, let last = allowed.last else { return allowed.joined() }
    return allowed.dropLast().joined(separator: ", ") + " or " + last
}

/// Bytes of a size such as `512`, `64KB`, `1.5GiB`: units are powers of 1,024. Nil where it is none.
package func parseByteSize(_ text: String) -> Int64? {
    let units: [(String, Double)] = [
        ("KIB", 1024), ("MIB", 1_048_576), ("GIB", 1_073_741_824), ("TIB", 1_099_511_627_776),
        ("PIB", 1_125_899_906_842_624), ("KB", 1024), ("MB", 1_048_576), ("GB", 1_073_741_824),
        ("TB", 1_099_511_627_776), ("PB", 1_125_899_906_842_624), ("B", 1),
    ]
    let upper = text.uppercased()
    let (number, factor) =
        units.first { upper.hasSuffix($0.0) }.map { (upper.dropLast($0.0.count), $0.1) } ?? (upper[...], 1)
    guard let value = Double(number), value >= 0, value * factor < 9.2e18 else { return nil }
    return Int64(value * factor)
}

/// ` (did you mean X?)` where one of the known words is near enough; else nothing.
package func didYouMean(_ word: String, _ known: [String]) -> String {
    var best: (word: String, distance: Int)?
    for candidate in known {
        let distance = editDistance(Array(word.utf8.prefix(100)), Array(candidate.utf8))
        if distance < best?.distance ?? Int.max { best = (candidate, distance) }
    }
    guard let best, best.distance <= max(2, best.word.utf8.count / 3) else { return "" }
    return " (did you mean \(best.word)?)"
}

/// Levenshtein's distance, with two neighbours swapped counted as one step.
private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
    var before: [Int] = []
    var previous = Array(0...b.count)
    for i in 1...a.count {
        var row = [i] + [Int](repeating: 0, count: b.count)
        for j in 1...b.count {
            let cost = a[i - 1] == b[j - 1] ? 0 : 1
            row[j] = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + cost)
            if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { row[j] = min(row[j], before[j - 2] + 1) }
        }
        before = previous
        previous = row
    }
    return previous[b.count]
}
