import COpenSSL

/// What a certificate says of itself. Times are milliseconds since 1970 UTC.
package struct Certificate: Sendable, Hashable {
    package var subject: String
    /// Hexadecimal digits.
    package var serial: String
    package var notBefore: Int64
    package var notAfter: Int64
    package var isCA: Bool

    /// All certificates of a PEM text, in its order; nil where the first is none or a field cannot be read.
    package static func read(pem: [UInt8]) -> [Certificate]? {
        var out: [Certificate] = []
        while out.count < 100 {
            var raw = kops_certificate()
            let code = pem.withUnsafeBytes { kops_certificate_read($0.baseAddress, $0.count, out.count, &raw) }
            if code == 0 { break }
            guard code == 1 else { return nil }
            out.append(
                Certificate(
                    subject: text(raw.subject), serial: text(raw.serial), notBefore: raw.not_before * 1000,
                    notAfter: raw.not_after * 1000, isCA: raw.is_ca != 0))
        }
        return out
    }

    private static func text<T>(_ field: T) -> String {
        withUnsafeBytes(of: field) { bytes in String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
    }
}
