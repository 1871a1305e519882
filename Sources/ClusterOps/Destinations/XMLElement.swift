/// An element of a small XML document, as object stores answer with: names without prefixes, no attributes, comments or
/// processing instructions kept.
struct XMLElement: Sendable, Equatable {
    var name: String
    /// Of the element itself, not of those in it.
    var text = ""
    var children: [XMLElement] = []

    init(name: String) { self.name = name }

    /// Text of the first child of that name.
    func text(_ name: String) -> String? { children.first { $0.name == name }?.text }

    func all(_ name: String) -> [XMLElement] { children.filter { $0.name == name } }

    /// Nil where the bytes are no well-formed document, or nest deeper than 64.
    static func parse(_ bytes: [UInt8]) -> XMLElement? {
        var reader = XMLReader(bytes: bytes)
        return reader.document()
    }
}

private struct XMLReader {
    let bytes: [UInt8]
    var at = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func document() -> XMLElement? {
        var stack: [XMLElement] = []
        var text: [UInt8] = []
        while at < bytes.count {
            guard bytes[at] == UInt8(ascii: "<") else {
                text.append(bytes[at])
                at += 1
                continue
            }
            if skip("<!--") {
                guard pass("-->") != nil else { return nil }
            } else if skip("<![CDATA[") {
                guard let inside = pass("]]>") else { return nil }
                text.append(contentsOf: inside)
            } else if skip("<?") {
                guard pass("?>") != nil else { return nil }
            } else if skip("<!") {
                // A document type could define entities: no store sends one.
                return nil
            } else if skip("</") {
                guard let inside = pass(">"), var element = stack.popLast(), element.name == Self.local(inside) else {
                    return nil
                }
                if element.children.isEmpty {
                    guard let value = Self.unescape(text) else { return nil }
                    element.text = value
                }
                text = []
                guard var parent = stack.popLast() else { return element }
                parent.children.append(element)
                stack.append(parent)
            } else {
                at += 1
                guard var inside = pass(">"), stack.count < 64 else { return nil }
                let isEmpty = inside.last == UInt8(ascii: "/")
                if isEmpty { inside.removeLast() }
                let element = XMLElement(name: Self.local(inside))
                guard !element.name.isEmpty else { return nil }
                text = []
                if !isEmpty {
                    stack.append(element)
                } else if var parent = stack.popLast() {
                    parent.children.append(element)
                    stack.append(parent)
                } else {
                    return element
                }
            }
        }
        return nil
    }

    private mutating func skip(_ word: StaticString) -> Bool {
        let found = word.withUTF8Buffer { bytes[at...].starts(with: $0) }
        if found { at += word.utf8CodeUnitCount }
        return found
    }

    /// What stands before `end`; goes behind it.
    private mutating func pass(_ end: StaticString) -> [UInt8]? {
        let start = at
        while at < bytes.count {
            let here = at
            if skip(end) { return Array(bytes[start..<here]) }
            at += 1
        }
        return nil
    }

    private static func local(_ tag: [UInt8]) -> String {
        let name = tag.prefix { $0 > 32 }
        return String(decoding: name.split(separator: UInt8(ascii: ":")).last ?? [], as: UTF8.self)
    }

    private static func unescape(_ text: [UInt8]) -> String? {
        guard text.contains(UInt8(ascii: "&")) else { return String(decoding: text, as: UTF8.self) }
        let named: [String: Character] = ["lt": "<", "gt": ">", "amp": "&", "quot": "\"", "apos": "'"]
        var out = ""
        for (i, piece) in text.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: false).enumerated() {
            if i == 0 {
                out += String(decoding: piece, as: UTF8.self)
                continue
            }
            guard let end = piece.firstIndex(of: UInt8(ascii: ";")) else { return nil }
            let entity = String(decoding: piece[..<end], as: UTF8.self)
            if let character = named[entity] {
                out.append(character)
            } else {
                let digits = entity.dropFirst()
                let number =
                    digits.hasPrefix("x") ? UInt32(digits.dropFirst(), radix: 16) : UInt32(digits, radix: 10)
                guard entity.hasPrefix("#"), let number, let scalar = Unicode.Scalar(number) else { return nil }
                out.unicodeScalars.append(scalar)
            }
            out += String(decoding: piece[piece.index(after: end)...], as: UTF8.self)
        }
        return out
    }
}
