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

/// Poly1305 (RFC 8439) of many inputs under one key, to tell which of them are alike: five times as fast as SHA-256. As a universal hash it
/// lets nobody find two inputs alike who sees neither key nor tags, so both must be kept as secret as the inputs. For one
/// thread at a time.
package final class SecretHash {
    package static let keyBytes = 32
    package static let hashBytes = 16
    private let handle: OpaquePointer

    package init(key: [UInt8]) throws(CipherError) {
        guard key.count == Self.keyBytes, let handle = kops_mac_new(key) else {
            throw CipherError("OpenSSL does not give Poly1305")
        }
        self.handle = handle
    }

    deinit { kops_mac_delete(handle) }

    /// Writes 16 bytes into `out`.
    package func hash(_ bytes: UnsafeRawBufferPointer, into out: UnsafeMutableRawBufferPointer) throws(CipherError) {
        guard out.count >= Self.hashBytes, kops_mac(handle, bytes.baseAddress, bytes.count, out.baseAddress) == 1 else {
            throw CipherError("OpenSSL could not hash")
        }
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
