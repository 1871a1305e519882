import COpenSSL

/// OpenSSL refused what it should do: out of memory, or a build of it without the algorithm.
package struct CipherError: Error, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// AES-256-GCM under one key, for one thread at a time. A nonce must never come twice under the same key.
package final class AuthenticatedCipher {
    package static let tagBytes = 16
    package static let nonceBytes = 12
    private let handle: OpaquePointer

    package init(sealing: Bool, key: [UInt8]) throws(CipherError) {
        guard key.count == 32, let handle = kops_aead_new(sealing ? 1 : 0, key) else {
            throw CipherError("OpenSSL does not give AES-256-GCM")
        }
        self.handle = handle
    }

    deinit { kops_aead_delete(handle) }

    /// Writes the sealed bytes and the tag behind them into `out`, which has room for both.
    package func seal(_ input: UnsafeRawBufferPointer, nonce: [UInt8], into out: UnsafeMutableRawBufferPointer)
        throws(CipherError)
    {
        guard nonce.count == Self.nonceBytes, out.count >= input.count + Self.tagBytes, let target = out.baseAddress,
            kops_aead_seal(
                handle, nonce, input.baseAddress, input.count, target, target.advanced(by: input.count)) == 1
        else { throw CipherError("OpenSSL could not seal") }
    }

    /// GMAC of bytes that stay as they are, 16 bytes into `out`: several times as fast as SHA-256. Only who has the key can make two
    /// inputs with the same tag; under one nonce the tags must then be as secret as the key.
    package func authenticate(_ bytes: UnsafeRawBufferPointer, nonce: [UInt8], into out: UnsafeMutableRawBufferPointer)
        throws(CipherError)
    {
        guard nonce.count == Self.nonceBytes, out.count >= Self.tagBytes,
            kops_aead_mac(handle, nonce, bytes.baseAddress, bytes.count, out.baseAddress) == 1
        else { throw CipherError("OpenSSL could not authenticate") }
    }

    /// Opens what `seal` made into `out`; false where the key is another or a bit of it changed.
    package func open(_ sealed: UnsafeRawBufferPointer, nonce: [UInt8], into out: UnsafeMutableRawBufferPointer) -> Bool
    {
        guard nonce.count == Self.nonceBytes, sealed.count >= Self.tagBytes, let source = sealed.baseAddress,
            out.count >= sealed.count - Self.tagBytes
        else { return false }
        let count = sealed.count - Self.tagBytes
        return kops_aead_open(handle, nonce, source, count, out.baseAddress, source.advanced(by: count)) == 1
    }
}

/// Diffie-Hellman on Curve25519 (RFC 7748). Keys are 32 bytes.
package enum X25519 {
    package static func publicKey(of key: [UInt8]) throws(CipherError) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 32)
        guard key.count == 32, kops_x25519_public(key, &out) == 1 else {
            throw CipherError("OpenSSL does not give X25519")
        }
        return out
    }

    package static func shared(_ key: [UInt8], _ peer: [UInt8]) throws(CipherError) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: 32)
        guard key.count == 32, peer.count == 32, kops_x25519_shared(key, peer, &out) == 1 else {
            throw CipherError("the public key is not one of X25519")
        }
        return out
    }
}

/// HKDF with SHA-256 (RFC 5869).
package func hkdfSHA256(secret: [UInt8], salt: [UInt8], info: [UInt8], count: Int) throws(CipherError) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: count)
    guard
        kops_hkdf_sha256(secret, secret.count, salt, salt.count, info, info.count, &out, out.count) == 1
    else { throw CipherError("OpenSSL does not give HKDF") }
    return out
}

/// Bytes nobody can guess.
package func randomBytes(_ count: Int) throws(CipherError) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: count)
    guard kops_random(&out, count) == 1 else { throw CipherError("OpenSSL has no random numbers") }
    return out
}
