import Glibc
import Platform

/// A public key that backups are sealed to: `kops-recipient-<64 hexadecimal digits>-<8 of check>`.
package struct SealRecipient: Sendable, Hashable {
    let publicKey: [UInt8]

    init(publicKey: [UInt8]) { self.publicKey = publicKey }

    package init(_ text: String) throws {
        guard let key = KeyText.decode(text, SealRecipient.prefix) else {
            throw BackupError(
                .invalid,
                "\"\(text.prefix(24))…\" is no public key of a backup: it begins with \(SealRecipient.prefix) and is printed by backup key"
            )
        }
        publicKey = key
    }

    static let prefix = "kops-recipient-"

    package var text: String { KeyText.encode(publicKey, SealRecipient.prefix) }

    /// Names the key in manifests and messages, 16 hexadecimal digits.
    package var fingerprint: String { hexadecimal(fingerprintBytes) }
    var fingerprintBytes: [UInt8] { Array(Digest.hash(.sha256, publicKey).prefix(8)) }
}

/// Private keys that open sealed backups, from a file that `backup key` made.
package struct SealingKeys: Sendable {
    struct Identity: Sendable {
        let privateKey: [UInt8]
        let recipient: SealRecipient
    }

    let file: String
    let identities: [Identity]

    static let prefix = "kops-secret-key-"

    /// Stands for standard input in place of a file: the key then need not lie anywhere.
    package static let standardInput = "-"
    private static let fromInput = Lock<String?>(nil)

    /// The text of a key file. Standard input is read once and remembered while the process lives.
    static func text(of file: String) throws -> String {
        do {
            guard file == standardInput else { return try FileSystem.readText(file, maxBytes: 1 << 20) }
            return try fromInput.withLock { known in
                if let known { return known }
                // Not /dev/stdin: it cannot be opened where the input is a socket.
                let text = String(decoding: try FileSystem.read(STDIN_FILENO, maxBytes: 1 << 20), as: UTF8.self)
                known = text
                return text
            }
        } catch {
            throw BackupError(.key, "the key that opens backups cannot be had: \(error)")
        }
    }

    /// Reads the lines of a key file; those that begin with `#` and empty ones do not count.
    package init(file: String) throws {
        self.file = file == SealingKeys.standardInput ? "standard input" : file
        let text = try SealingKeys.text(of: file)
        var identities: [Identity] = []
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let line = trim(line)
            if line.isEmpty || line.hasPrefix("#") { continue }
            guard let key = KeyText.decode(line, SealingKeys.prefix) else {
                let hint =
                    line.hasPrefix(SealRecipient.prefix)
                    ? "it is the public key, which seals; the secret one opens" : "it is cut off, or has a typing error"
                throw BackupError(.key, "\(file):\(number + 1) holds no secret key of a backup: \(hint)")
            }
            identities.append(
                Identity(
                    privateKey: key, recipient: SealRecipient(publicKey: try X25519.publicKey(of: key))))
        }
        guard !identities.isEmpty else {
            throw BackupError(.key, "\(file) holds no secret key of a backup: make one with backup key")
        }
        self.identities = identities
    }

    package var recipients: [SealRecipient] { identities.map(\.recipient) }

    /// The text of a new key file, and the public key in it.
    package static func generate(now: Int64) throws -> (text: String, recipient: SealRecipient) {
        let key = try randomBytes(32)
        let recipient = SealRecipient(publicKey: try X25519.publicKey(of: key))
        let text = """
            # Opens backups of kops-sidecar; made \(formatRFC3339(now, fraction: false)).
            # Keep a copy where the backups and this machine are not: without it a sealed backup is lost.
            # The public key, which only seals: \(recipient.text)
            \(KeyText.encode(key, prefix))

            """
        return (text, recipient)
    }
}

private func trim(_ line: Substring) -> String {
    var line = line
    while let c = line.first, c == " " || c == "\t" || c == "\r" { line = line.dropFirst() }
    while let c = line.last, c == " " || c == "\t" || c == "\r" { line = line.dropLast() }
    return String(line)
}

/// Keys as text: a prefix that says what it is, the key, and a check against typing errors.
private enum KeyText {
    static func encode(_ key: [UInt8], _ prefix: String) -> String {
        "\(prefix)\(hexadecimal(key))-\(check(key, prefix))"
    }

    static func decode(_ text: String, _ prefix: String) -> [UInt8]? {
        guard text.hasPrefix(prefix) else { return nil }
        let parts = text.dropFirst(prefix.count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let key = bytes(parts[0]), key.count == 32, parts[1] == check(key, prefix) else {
            return nil
        }
        return key
    }

    private static func check(_ key: [UInt8], _ prefix: String) -> String {
        hexadecimal(Digest.hash(.sha256, Array(prefix.utf8) + key).prefix(4))
    }

    private static func bytes(_ text: Substring) -> [UInt8]? {
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var out: [UInt8] = []
        for i in stride(from: 0, to: digits.count, by: 2) {
            guard let high = digit(digits[i]), let low = digit(digits[i + 1]) else { return nil }
            out.append(high << 4 | low)
        }
        return out
    }

    private static func digit(_ c: UInt8) -> UInt8? {
        switch c {
        case 48...57: c - 48
        case 97...102: c - 87
        default: nil
        }
    }
}
