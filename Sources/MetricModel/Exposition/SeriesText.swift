/// Reads a series as the exposition formats write it: `name{label="value",…}`, `{"utf8 name",label="value"}` or a bare name.
/// The pairs come as they stand, the name as `__name__`. Throws what is wrong.
package func parseSeriesText(_ text: UnsafeRawBufferPointer) throws(SeriesTextError) -> [(name: String, value: String)]
{
    var at = 0
    var pairs: [(name: String, value: String)] = []

    func skipBlanks() {
        while at < text.count, text[at] == 0x20 || text[at] == 0x09 { at += 1 }
    }

    func bareName(colon: Bool) -> String? {
        let start = at
        while at < text.count {
            let byte = text[at]
            let letter = (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7a
            let digit = byte >= 0x30 && byte <= 0x39
            guard letter || byte == 0x5f || (colon && byte == 0x3a) || (digit && at > start) else { break }
            at += 1
        }
        return start == at ? nil : String(decoding: UnsafeRawBufferPointer(rebasing: text[start..<at]), as: UTF8.self)
    }

    func quoted() throws(SeriesTextError) -> String {
        at += 1
        var start = at
        var out: [UInt8] = []
        while at < text.count {
            switch text[at] {
            case UInt8(ascii: "\""):
                out += text[start..<at]
                at += 1
                guard let value = String(validating: out, as: UTF8.self) else {
                    throw SeriesTextError("a label value is not UTF-8")
                }
                return value
            case UInt8(ascii: "\\") where at + 1 < text.count:
                out += text[start..<at]
                switch text[at + 1] {
                case UInt8(ascii: "n"): out.append(0x0a)
                case UInt8(ascii: "\\"), UInt8(ascii: "\""): out.append(text[at + 1])
                default: out += text[at...at + 1]
                }
                at += 2
                start = at
            default: at += 1
            }
        }
        throw SeriesTextError("a label value has no closing quote")
    }

    if let name = bareName(colon: true) { pairs.append(("__name__", name)) }
    skipBlanks()
    if at == text.count {
        if pairs.isEmpty { throw SeriesTextError("a metric name is expected") }
        return pairs
    }
    guard text[at] == UInt8(ascii: "{") else { throw SeriesTextError("a metric name has a character it may not have") }
    at += 1
    while true {
        skipBlanks()
        guard at < text.count else { throw SeriesTextError("the labels have no closing brace") }
        if text[at] == UInt8(ascii: "}") {
            at += 1
            break
        }
        let name: String
        if text[at] == UInt8(ascii: "\"") {
            name = try quoted()
        } else if let bare = bareName(colon: false) {
            name = bare
        } else {
            throw SeriesTextError("a label name is expected")
        }
        skipBlanks()
        if at < text.count, text[at] == UInt8(ascii: "=") {
            at += 1
            skipBlanks()
            guard at < text.count, text[at] == UInt8(ascii: "\"") else {
                throw SeriesTextError("a label value in quotes is expected")
            }
            pairs.append((name, try quoted()))
        } else {
            // A metric name with characters that need quotes.
            guard !pairs.contains(where: { $0.name == "__name__" }) else {
                throw SeriesTextError("label \(quoteGo(name)) has no value")
            }
            pairs.append(("__name__", name))
        }
        skipBlanks()
        if at < text.count, text[at] == UInt8(ascii: ",") { at += 1 }
    }
    guard at == text.count else { throw SeriesTextError("there is text after the labels") }
    guard pairs.contains(where: { $0.name == "__name__" }) else { throw SeriesTextError("a metric name is expected") }
    return pairs
}

package struct SeriesTextError: Error, Equatable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}
