import Platform
import Yams

/// Something wrong in a configuration file, at its place. Lines and columns count from 1.
package struct ConfigIssue: Error, Sendable, Hashable, CustomStringConvertible {
    package let file: String
    package let line: Int
    package let column: Int
    package let message: String

    package init(file: String, line: Int, column: Int, message: String) {
        self.file = file
        self.line = line
        self.column = column
        self.message = message
    }

    package var description: String {
        line > 0 ? "\(file):\(line):\(column): \(message)" : "\(file): \(message)"
    }
}

/// What was found wrong so far; decoding goes on, so that all of it is told at once. Used by one thread at a time.
package final class ConfigIssues {
    package private(set) var all: [ConfigIssue] = []
    /// Files that were named to be read later, and where.
    private var files: [(path: String, node: ConfigNode)] = []

    package init() {}

    package func add(_ node: ConfigNode, _ message: String) {
        add(ConfigIssue(file: node.file, line: node.line, column: node.column, message: message))
    }

    /// Remembers a file that is read when it is needed.
    func willBeRead(_ path: String, _ node: ConfigNode) {
        if files.count < 1000, !files.contains(where: { $0.path == path && $0.node.path == node.path }) {
            files.append((path, node))
        }
    }

    /// Those of them that cannot be read now.
    func unreadableFiles() -> [ConfigIssue] {
        files.compactMap { path, node in
            guard let problem = FileSystem.problemReading(path) else { return nil }
            return ConfigIssue(
                file: node.file, line: node.line, column: node.column, message: "warning: \(node.path): \(problem)")
        }
    }

    package func add(_ issue: ConfigIssue) {
        if all.count < 1000, !all.contains(issue) { all.append(issue) }
    }
}

/// A value of a YAML document with its place and the path of keys that leads to it.
package struct ConfigNode {
    package let file: String
    package let line: Int
    package let column: Int
    /// As in `scrape_configs[0].job_name`; empty for the document.
    package let path: String
    private let value: Node

    /// The part of the document that it is, without secrets.
    var redactedText: String { redactedYAML(value) }

    init(_ value: Node, file: String, path: String, near: (line: Int, column: Int) = (1, 1)) {
        self.value = value
        self.file = file
        self.path = path
        line = value.mark?.line ?? near.line
        column = value.mark?.column ?? near.column
    }

    /// Reads a file's only document. Nil for an empty one.
    package static func read(file: String) throws(ConfigIssue) -> ConfigNode? {
        let bytes: [UInt8]
        do {
            bytes = try FileSystem.read(file, maxBytes: 16 << 20)
        } catch {
            throw ConfigIssue(file: file, line: 0, column: 0, message: "cannot be read: \(systemMessage(error.code))")
        }
        return try parse(bytes, file: file)
    }

    /// Reads a document; `file` is what errors call it.
    package static func parse(_ bytes: [UInt8], file: String) throws(ConfigIssue) -> ConfigNode? {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw ConfigIssue(file: file, line: 0, column: 0, message: "is not UTF-8 text")
        }
        try refuseDeepNesting(bytes, file: file)
        do {
            guard let node = try Yams.compose(yaml: withoutEmptyDocument(text), .basic) else { return nil }
            let root = ConfigNode(node, file: file, path: "")
            return root.isNull ? nil : root
        } catch {
            throw issue(of: error, file: file)
        }
    }

    /// Tools that join documents leave a mark of a next one at the end, with nothing behind it.
    private static func withoutEmptyDocument(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "-")) else { return text }
        let lines = text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        func isEmpty(_ line: Substring) -> Bool { line.hasPrefix("#") || line.allSatisfy(\.isWhitespace) }
        guard let last = lines.lastIndex(where: { !isEmpty($0) }),
            lines[last].hasPrefix("---"), lines[last].dropFirst(3).allSatisfy(\.isWhitespace),
            lines[..<last].contains(where: { !isEmpty($0) && !$0.hasPrefix("---") })
        else { return text }
        return lines[..<last].joined(separator: "\n") + "\n"
    }

    /// The composer recurses; a file that nests beyond any use must not overflow its stack.
    private static func refuseDeepNesting(_ bytes: [UInt8], file: String) throws(ConfigIssue) {
        var depth = 0
        var dashes = 0
        var line = 1
        for (index, byte) in bytes.enumerated() {
            switch byte {
            case UInt8(ascii: "\n"):
                line += 1
                dashes = 0
            case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
            case UInt8(ascii: "]"), UInt8(ascii: "}"): depth = max(0, depth - 1)
            case UInt8(ascii: "-") where index + 1 < bytes.count && bytes[index + 1] == UInt8(ascii: " "):
                dashes += 1
            default: break
            }
            if depth > 1000 || dashes > 1000 {
                throw ConfigIssue(file: file, line: line, column: 1, message: "nests deeper than 1,000 levels")
            }
        }
    }

    private static func issue(of error: any Error, file: String) -> ConfigIssue {
        switch error as? YamlError {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            let isSecond = problem.contains("another document")
            return ConfigIssue(
                file: file, line: mark.line, column: mark.column,
                message: isSecond
                    ? "another document begins here: a file has one" : "is not valid YAML here: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            return ConfigIssue(
                file: file, line: context.mark.line, column: context.mark.column,
                message: "key \(duplicates.joined(separator: ", ")) is given twice in one mapping")
        case .reader(let problem, _, _, _):
            return ConfigIssue(file: file, line: 0, column: 0, message: "is not valid YAML: \(problem)")
        default:
            return ConfigIssue(file: file, line: 0, column: 0, message: "is not valid YAML: \(error)")
        }
    }

    package var isNull: Bool {
        guard case .scalar(let scalar) = value, scalar.style == .plain || scalar.style == .any else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    /// The text of a scalar as written; nil for mappings, sequences and null.
    package var scalar: String? {
        guard case .scalar(let scalar) = value, !isNull else { return nil }
        return scalar.string
    }

    /// Whether a scalar is written without quotes, so that `yes` may be a boolean and `1` a number.
    package var isPlain: Bool {
        guard case .scalar(let scalar) = value else { return false }
        return scalar.style == .plain || scalar.style == .any
    }

    package var sequence: [ConfigNode]? {
        guard case .sequence(let sequence) = value else { return nil }
        return sequence.enumerated().map {
            ConfigNode($1, file: file, path: "\(path)[\($0)]", near: (line, column))
        }
    }

    /// The pairs in the file's order, merge keys (`<<`) resolved: a mapping's own keys win.
    package var mapping: [(key: ConfigNode, value: ConfigNode)]? {
        guard case .mapping = value else { return nil }
        return pairs(depth: 0)
    }

    private func pairs(depth: Int) -> [(key: ConfigNode, value: ConfigNode)] {
        guard case .mapping(let mapping) = value, depth < 100 else { return [] }
        var own: [(key: ConfigNode, value: ConfigNode)] = []
        var merged: [(key: ConfigNode, value: ConfigNode)] = []
        for (key, value) in mapping {
            let keyNode = ConfigNode(key, file: file, path: path, near: (line, column))
            let name = keyNode.scalar ?? ""
            let child = ConfigNode(
                value, file: file, path: path.isEmpty ? name : "\(path).\(name)", near: (keyNode.line, keyNode.column))
            if name == "<<" && keyNode.isPlain {
                for source in child.sequence ?? [child] { merged += source.pairs(depth: depth + 1) }
            } else {
                own.append((keyNode, child))
            }
        }
        for pair in merged where !own.contains(where: { $0.key.scalar == pair.key.scalar }) { own.append(pair) }
        return own
    }

    /// What kind of value this is, for messages.
    package var kind: String {
        switch value {
        case .scalar: isNull ? "nothing" : "\"\(scalar ?? "")\""
        case .mapping: "a mapping"
        case .sequence: "a list"
        case .alias: "an alias"
        }
    }
}

/// `path`, taken from the directory of `file` where it is relative.
package func resolvePath(_ path: String, relativeTo file: String) -> String {
    if path.isEmpty || path.hasPrefix("/") { return path }
    guard let slash = file.lastIndex(of: "/") else { return path }
    return file[...slash] + path
}
