import COpenSSL

/// Whether private keys belong to certificates.
package enum KeyPair {
    /// Whether `key` is the private key of `certificate` (or of a bare public key), all PEM; nil where one cannot be read.
    package static func fits(certificate: [UInt8], key: [UInt8]) -> Bool? {
        let code = certificate.withUnsafeBytes { open in
            key.withUnsafeBytes { kops_key_fits(open.baseAddress, open.count, $0.baseAddress, $0.count) }
        }
        return code < 0 ? nil : code == 1
    }
}
