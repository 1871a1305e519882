import MetricModel

/// Renders the texts of one notification. A template that fails does not stop the notification: its error stands in its
/// place, and is collected.
package final class NotificationText {
    /// Renders any template: text, whether for HTML, data. Throws a one-line error that names template and position.
    package typealias Engine = @Sendable (String, Bool, NotificationData) throws -> String

    let data: NotificationData
    private let engine: Engine?
    private(set) var errors: [String] = []

    init(_ data: NotificationData, engine: Engine?) {
        self.data = data
        self.engine = engine
    }

    func render(_ template: String, html: Bool = false) -> String {
        guard template.utf8.contains(UInt8(ascii: "{")) else { return template }
        if let engine {
            do {
                return try engine(template, html, data)
            } catch {
                errors.append("\(error)")
                return "(template error: \(error))"
            }
        }
        if let text = NotificationText.builtIn(template, data) {
            return html && !template.contains(".html\"") ? escapeHTML(text) : text
        }
        if !template.contains("{{") { return template }
        errors.append("no template engine for \(template)")
        return template
    }

    /// The default templates and the conditionals that the defaults use; nil for anything else.
    static func builtIn(_ template: String, _ data: NotificationData) -> String? {
        if template.hasPrefix("{{ template \""), template.hasSuffix("}}"),
            let name = template.split(separator: "\"", maxSplits: 2, omittingEmptySubsequences: false).dropFirst().first
        {
            return Wording.text(String(name), data)
        }
        let firing = !data.firing.isEmpty
        switch template {
        case "{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}": return firing ? "danger" : "good"
        case "{{ if eq .Status \"firing\" }}red{{ else }}green{{ end }}": return firing ? "red" : "green"
        case "{{ if eq .Status \"firing\" }}2{{ else }}0{{ end }}": return firing ? "2" : "0"
        default: return nil
        }
    }
}

/// The first characters of a text that is too long, and `…`; `limit` counts Unicode scalars, the mark included.
package func truncated(_ text: String, scalars limit: Int) -> String {
    guard text.unicodeScalars.count > limit, limit > 0 else { return text }
    var out = String.UnicodeScalarView()
    out.append(contentsOf: text.unicodeScalars.prefix(limit - 1))
    return String(out) + "…"
}

/// The same by bytes of UTF-8, without cutting a character.
package func truncated(_ text: String, bytes limit: Int) -> String {
    guard text.utf8.count > limit, limit > 3 else { return text }
    var end = text.utf8.index(text.utf8.startIndex, offsetBy: limit - 3)
    while end > text.startIndex, end.samePosition(in: text.unicodeScalars) == nil { end = text.utf8.index(before: end) }
    return String(text[..<end]) + "…"
}

/// The same by bytes of UTF-8, without cutting a character; what is over counts the tags that are closed.
package func truncatedHTML(_ text: String, bytes limit: Int) -> String {
    var scalars = text.unicodeScalars.count
    var out = text
    while out.utf8.count > limit, scalars > 1 {
        scalars = max(1, min(scalars - 1, Int(Double(scalars) * Double(limit) / Double(out.utf8.count))))
        out = truncatedHTML(text, scalars: scalars)
    }
    return out
}

/// Cuts HTML so that no entity or tag is left in pieces and every open tag is closed.
package func truncatedHTML(_ text: String, scalars limit: Int) -> String {
    guard text.unicodeScalars.count > limit, limit > 0 else { return text }
    var kept = String.UnicodeScalarView()
    var open: [String] = []
    var count = 0
    var at = text.unicodeScalars.startIndex
    let scalars = text.unicodeScalars
    while at < scalars.endIndex {
        var end = scalars.index(after: at)
        if scalars[at] == "<" || scalars[at] == "&" {
            let close: UnicodeScalar = scalars[at] == "<" ? ">" : ";"
            var probe = end
            var steps = 0
            while probe < scalars.endIndex, scalars[probe] != close, steps < 2000 {
                probe = scalars.index(after: probe)
                steps += 1
            }
            if probe < scalars.endIndex, steps < 2000 { end = scalars.index(after: probe) }
        }
        let piece = String(scalars[at..<end])
        let isTag = piece.hasPrefix("<") && piece.hasSuffix(">")
        let name = isTag ? String(piece.dropFirst().prefix { $0.isLetter || $0 == "/" || $0 == "-" }) : ""
        var after = open
        if isTag, name.hasPrefix("/") {
            if after.last == String(name.dropFirst()) { after.removeLast() }
        } else if isTag, !piece.hasSuffix("/>"), name != "br" {
            after.append(name)
        }
        let tail = after.reduce(0) { $0 + $1.unicodeScalars.count + 3 } + 1
        let length = scalars.distance(from: at, to: end)
        if count + length + tail > limit { break }
        kept.append(contentsOf: scalars[at..<end])
        count += length
        open = after
        at = end
    }
    return String(kept) + "…" + open.reversed().map { "</\($0)>" }.joined()
}
