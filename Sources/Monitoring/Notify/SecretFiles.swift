package import Platform

/// The secret's text; a file's without white space at its ends.
package func readSecret(_ secret: SecretValue) throws(FileError) -> String {
    switch secret {
    case .text(let text): return text
    case .file(let path):
        var text = Substring(try FileSystem.readText(path, maxBytes: 1 << 20))
        while let c = text.first, c.isWhitespace { text = text.dropFirst() }
        while let c = text.last, c.isWhitespace { text = text.dropLast() }
        return String(text)
    }
}
