import COpenSSL

/// A running hash, by OpenSSL. Not for use from several threads at once.
package final class Digest {
    package enum Algorithm: String, Sendable {
        case sha256 = "SHA256"
        case sha1 = "SHA1"
        case md5 = "MD5"
    }

    // Nil only where OpenSSL refused the algorithm (a FIPS provider without MD5): the result is then empty.
    private let handle: OpaquePointer?

    package init(_ algorithm: Algorithm) { handle = kops_digest_new(algorithm.rawValue) }

    deinit { kops_digest_delete(handle) }

    package func update(_ bytes: UnsafeRawBufferPointer) {
        if let handle, bytes.count > 0 { _ = kops_digest_update(handle, bytes.baseAddress, bytes.count) }
    }

    package func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// The hash; call it once, last.
    package func finalize() -> [UInt8] {
        guard let handle else { return [] }
        var out = [UInt8](repeating: 0, count: 64)
        let n = kops_digest_final(handle, &out)
        return n < 0 ? [] : Array(out[0..<Int(n)])
    }

    package static func hash(_ algorithm: Algorithm, _ bytes: [UInt8]) -> [UInt8] {
        let digest = Digest(algorithm)
        digest.update(bytes)
        return digest.finalize()
    }
}

/// Lower-case hexadecimal.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var out: [UInt8] = []
    for byte in bytes {
        out.append(digits[Int(byte >> 4)])
        out.append(digits[Int(byte & 15)])
    }
    return String(decoding: out, as: UTF8.self)
}
