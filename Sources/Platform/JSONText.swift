/// A string as Go's encoding/json writes it: with `<`, `>`, `&` and the line ends of Unicode escaped too.
package func jsonQuoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        case "\n": out += "\\n"
        case "\r": out += "\\r"
        case "\t": out += "\\t"
        case "<", ">", "&", "\u{2028}", "\u{2029}", "\u{0}"..<"\u{20}":
            let hex = String(scalar.value, radix: 16)
            out += "\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
        default: out.unicodeScalars.append(scalar)
        }
    }
    return out + "\""
}
