/// Reads the plain block style in which kubeadm writes kubelet's configuration: nested mappings by indentation, scalars on the
/// key's line, lists of scalars. It is no YAML parser: what it does not understand it leaves out.
enum BlockYAML {
    /// Scalars by their path, keys joined by dots; the elements of a list joined by commas.
    static func paths(_ text: String) -> [String: String] {
        var out: [String: String] = [:]
        var stack: [(indent: Int, path: String)] = []
        for raw in text.split(separator: "\n") {
            let indent = raw.prefix { $0 == " " }.count
            var line = raw.dropFirst(indent)
            while let last = line.last, last == " " || last == "\r" { line = line.dropLast() }
            if line.isEmpty || line.hasPrefix("#") || line == "---" { continue }
            if line.hasPrefix("- ") {
                // A list's dash may stand as far left as its key.
                while let top = stack.last, top.indent > indent { stack.removeLast() }
                guard let path = stack.last?.path else { continue }
                let value = scalar(line.dropFirst(2))
                out[path] = out[path].map { $0.isEmpty ? value : $0 + "," + value } ?? value
                continue
            }
            while let top = stack.last, top.indent >= indent { stack.removeLast() }
            guard let colon = line.firstIndex(of: ":") else { continue }
            let key = scalar(line[..<colon])
            let path = stack.last.map { $0.path + "." + key } ?? key
            let value = scalar(line[line.index(after: colon)...])
            if value.isEmpty { stack.append((indent, path)) } else { out[path] = value }
        }
        return out
    }

    private static func scalar(_ text: Substring) -> String {
        var text = text.drop { $0 == " " }
        if text.count >= 2, let quote = text.first, quote == "\"" || quote == "'", text.last == quote {
            text = text.dropFirst().dropLast()
        } else if let comment = text.firstRange(of: " #") {
            text = text[..<comment.lowerBound]
        }
        return String(text)
    }
}
