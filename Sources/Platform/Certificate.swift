import COpenSSL

/// What a certificate says of itself. Times are milliseconds since 1970 UTC.
package struct Certificate: Sendable, Hashable {
    package var subject: String
    package var issuer: String
    /// Hexadecimal digits.
    package var serial: String
    package var notBefore: Int64
    package var notAfter: Int64
    package var isCA: Bool
    /// Whom it is for, as `DNS:cp1, IP Address:10.0.0.1`; empty where it names nobody.
    package var names: String
    /// SHA-256 of the DER form, hexadecimal digits: two are the same certificate where this is the same.
    package var fingerprint: String

    package var isSelfSigned: Bool { subject == issuer }

    /// The names one by one, sorted: the same whatever order the issuer wrote them in.
    package var sortedNames: [String] { names.split(separator: ",").map { String($0.drop { $0 == " " }) }.sorted() }

    /// All certificates of a PEM text, in its order; nil where the first is none or a field cannot be read.
    package static func read(pem: [UInt8]) -> [Certificate]? {
        var out: [Certificate] = []
        while out.count < 100 {
            var raw = kops_certificate()
            let code = pem.withUnsafeBytes { kops_certificate_read($0.baseAddress, $0.count, out.count, &raw) }
            if code == 0 { break }
            guard code == 1 else { return nil }
            out.append(Certificate(raw))
        }
        return out
    }

    init(_ raw: kops_certificate) {
        func text<T>(_ field: T) -> String {
            withUnsafeBytes(of: field) { bytes in String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self) }
        }
        subject = text(raw.subject)
        issuer = text(raw.issuer)
        serial = text(raw.serial)
        notBefore = raw.not_before * 1000
        notAfter = raw.not_after * 1000
        isCA = raw.is_ca != 0
        names = text(raw.names)
        fingerprint = text(raw.sha256)
    }

    /// Whether the first certificate of `pem` was made for that private key; nil where either cannot be read.
    package static func matches(pem: [UInt8], key: [UInt8]) -> Bool? {
        let code = pem.withUnsafeBytes { pem in
            key.withUnsafeBytes { kops_certificate_matches_key(pem.baseAddress, pem.count, $0.baseAddress, $0.count) }
        }
        return code < 0 ? nil : code == 1
    }

    /// Whether the first certificate of `pem` bears the signature of the first of `ca`; nil where either cannot be read.
    package static func isSigned(pem: [UInt8], by ca: [UInt8]) -> Bool? {
        let code = pem.withUnsafeBytes { pem in
            ca.withUnsafeBytes { kops_certificate_signed_by(pem.baseAddress, pem.count, $0.baseAddress, $0.count) }
        }
        return code < 0 ? nil : code == 1
    }
}
