import Platform

/// The layout of a sealed file; docs/backup-format.md gives it byte by byte.
enum SealedFile {
    static let suffix = ".sealed"
    static let format = "kops-seal-1"
    static let magic = Array("KOPSSEAL".utf8)
    static let version: UInt8 = 1
    static let aes256gcm: UInt8 = 1
    static let chunkBytes = 64 << 10
    static let maxRecipients = 1000
    /// Fingerprint, ephemeral public key, wrapped file key with its tag.
    static let stanzaBytes = 8 + 32 + 48
    static let fixedHeaderBytes = 16

    /// The key that wraps the file's key for one recipient.
    static func wrappingKey(shared: [UInt8], ephemeral: [UInt8], recipient: [UInt8]) throws -> [UInt8] {
        try hkdfSHA256(
            secret: shared, salt: ephemeral + recipient, info: Array("\(format) wrap".utf8), count: 32)
    }

    /// The key of the chunks: it depends on every byte of the header, so that a changed header opens nothing.
    static func payloadKey(fileKey: [UInt8], header: [UInt8]) throws -> [UInt8] {
        try hkdfSHA256(
            secret: fileKey, salt: Digest.hash(.sha256, header), info: Array("\(format) payload".utf8), count: 32)
    }

    /// The chunk's number, big-endian in 11 bytes, then 1 for the last chunk and 0 for the others.
    static func nonce(_ number: UInt64, isLast: Bool) -> [UInt8] {
        var nonce = [UInt8](repeating: 0, count: 12)
        for i in 0..<8 { nonce[3 + i] = UInt8(truncatingIfNeeded: number >> (8 * UInt64(7 - i))) }
        nonce[11] = isLast ? 1 : 0
        return nonce
    }
}

/// Seals a stream for some recipients; whoever writes it cannot read it afterwards. For one thread at a time.
final class SealWriter {
    private let cipher: AuthenticatedCipher
    private let sink: (UnsafeRawBufferPointer) throws -> Void
    private let plain = UnsafeMutableRawBufferPointer.allocate(byteCount: SealedFile.chunkBytes, alignment: 64)
    private let sealed = UnsafeMutableRawBufferPointer.allocate(
        byteCount: SealedFile.chunkBytes + AuthenticatedCipher.tagBytes, alignment: 64)
    private var filled = 0
    private var number: UInt64 = 0
    private let header: [UInt8]
    private var headerWritten = false

    init(recipients: [SealRecipient], sink: @escaping (UnsafeRawBufferPointer) throws -> Void) throws {
        guard !recipients.isEmpty, recipients.count <= SealedFile.maxRecipients else {
            throw BackupError(
                .invalid, "a backup is sealed to at least one key and at most \(SealedFile.maxRecipients)")
        }
        let fileKey = try randomBytes(32)
        var header = SealedFile.magic + [SealedFile.version, SealedFile.aes256gcm]
        header.append(contentsOf: littleEndian(UInt64(recipients.count), 2))
        header.append(contentsOf: littleEndian(UInt64(SealedFile.chunkBytes), 4))
        for recipient in recipients {
            let ephemeral = try randomBytes(32)
            let ephemeralPublic = try X25519.publicKey(of: ephemeral)
            let key = try SealedFile.wrappingKey(
                shared: try X25519.shared(ephemeral, recipient.publicKey), ephemeral: ephemeralPublic,
                recipient: recipient.publicKey)
            var wrapped = [UInt8](repeating: 0, count: 48)
            // The wrapping key is used once, so that the nonce may be zero.
            let wrap = try AuthenticatedCipher(sealing: true, key: key)
            try fileKey.withUnsafeBytes { input in
                try wrapped.withUnsafeMutableBytes {
                    try wrap.seal(input, nonce: [UInt8](repeating: 0, count: 12), into: $0)
                }
            }
            header += recipient.fingerprintBytes + ephemeralPublic + wrapped
        }
        self.header = header
        self.sink = sink
        cipher = try AuthenticatedCipher(
            sealing: true, key: try SealedFile.payloadKey(fileKey: fileKey, header: header))
    }

    deinit {
        plain.deallocate()
        sealed.deallocate()
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            // A full chunk waits until it is known that another follows.
            if filled == plain.count { try emit(isLast: false) }
            let n = min(rest.count, plain.count - filled)
            UnsafeMutableRawBufferPointer(rebasing: plain[filled..<filled + n]).copyMemory(
                from: UnsafeRawBufferPointer(rebasing: rest[..<n]))
            filled += n
            rest = UnsafeRawBufferPointer(rebasing: rest[n...])
        }
    }

    func finish() throws { try emit(isLast: true) }

    private func emit(isLast: Bool) throws {
        if !headerWritten {
            headerWritten = true
            try header.withUnsafeBytes { try sink($0) }
        }
        try cipher.seal(
            UnsafeRawBufferPointer(rebasing: plain[..<filled]), nonce: SealedFile.nonce(number, isLast: isLast),
            into: sealed)
        try sink(UnsafeRawBufferPointer(rebasing: sealed[..<(filled + AuthenticatedCipher.tagBytes)]))
        number += 1
        filled = 0
    }
}

/// Opens a sealed stream chunk by chunk: nothing unchecked comes out. For one thread at a time.
final class SealReader {
    private let path: String
    private let source: (UnsafeMutableRawBufferPointer) throws -> Int
    private let cipher: AuthenticatedCipher
    private let chunkBytes: Int
    private var current: UnsafeMutableRawBufferPointer
    private var ahead: UnsafeMutableRawBufferPointer
    private let plain: UnsafeMutableRawBufferPointer
    private var aheadCount = 0
    private var number: UInt64 = 0
    private var ended = false
    private var position = 0
    private var available = 0

    /// `source` fills the buffer and returns how many bytes, 0 at the end.
    init(_ path: String, keys: SealingKeys?, source: @escaping (UnsafeMutableRawBufferPointer) throws -> Int) throws {
        self.path = path
        self.source = source
        var header = try readFully(source, count: SealedFile.fixedHeaderBytes)
        guard header.count == SealedFile.fixedHeaderBytes, header.starts(with: SealedFile.magic) else {
            throw BackupError(.damaged, "\(path) is no sealed file, or its beginning is damaged")
        }
        guard header[8] == SealedFile.version, header[9] == SealedFile.aes256gcm else {
            throw BackupError(
                .invalid, "\(path) is sealed in a way (\(header[8]), \(header[9])) that this program does not know")
        }
        let count = Int(littleEndianNumber(header, 10, 2))
        chunkBytes = Int(littleEndianNumber(header, 12, 4))
        guard (1...SealedFile.maxRecipients).contains(count), (1...16 << 20).contains(chunkBytes) else {
            throw BackupError(.damaged, "\(path): the header of the sealed file is damaged")
        }
        let stanzas = try readFully(source, count: count * SealedFile.stanzaBytes)
        guard stanzas.count == count * SealedFile.stanzaBytes else {
            throw BackupError(.damaged, "\(path) is cut off inside the header of the sealed file")
        }
        header += stanzas
        let fileKey = try SealReader.fileKey(path, stanzas, keys)
        cipher = try AuthenticatedCipher(
            sealing: false, key: try SealedFile.payloadKey(fileKey: fileKey, header: header))
        let sealedBytes = chunkBytes + AuthenticatedCipher.tagBytes
        current = .allocate(byteCount: sealedBytes, alignment: 64)
        ahead = .allocate(byteCount: sealedBytes, alignment: 64)
        plain = .allocate(byteCount: chunkBytes, alignment: 64)
        aheadCount = try readFully(source, ahead)
    }

    deinit {
        current.deallocate()
        ahead.deallocate()
        plain.deallocate()
    }

    /// Fills as much of the buffer as the current chunk has; 0 at the end.
    func read(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while position == available {
            if ended { return 0 }
            try open()
        }
        let n = min(buffer.count, available - position)
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: plain[position..<position + n]))
        position += n
        return n
    }

    private func open() throws {
        swap(&current, &ahead)
        let count = aheadCount
        aheadCount = count == current.count ? try readFully(source, ahead) : 0
        let isLast = aheadCount == 0
        guard count >= AuthenticatedCipher.tagBytes,
            cipher.open(
                UnsafeRawBufferPointer(rebasing: current[..<count]), nonce: SealedFile.nonce(number, isLast: isLast),
                into: plain)
        else {
            throw BackupError(
                .damaged,
                "\(path): chunk \(number) of the sealed file is damaged, or the file is cut off or put together from others"
            )
        }
        number += 1
        position = 0
        available = count - AuthenticatedCipher.tagBytes
        ended = isLast
    }

    private static func fileKey(_ path: String, _ stanzas: [UInt8], _ keys: SealingKeys?) throws -> [UInt8] {
        var fingerprints: [String] = []
        for at in stride(from: 0, to: stanzas.count, by: SealedFile.stanzaBytes) {
            let fingerprint = Array(stanzas[at..<at + 8])
            fingerprints.append(hexadecimal(fingerprint))
            guard let identity = keys?.identities.first(where: { $0.recipient.fingerprintBytes == fingerprint }) else {
                continue
            }
            let ephemeral = Array(stanzas[at + 8..<at + 40])
            let shared = try? X25519.shared(identity.privateKey, ephemeral)
            let wrapped = Array(stanzas[at + 40..<at + 88])
            var key = [UInt8](repeating: 0, count: 32)
            if let shared {
                let wrap = try AuthenticatedCipher(
                    sealing: false,
                    key: try SealedFile.wrappingKey(
                        shared: shared, ephemeral: ephemeral, recipient: identity.recipient.publicKey))
                let fine = wrapped.withUnsafeBytes { input in
                    key.withUnsafeMutableBytes {
                        wrap.open(input, nonce: [UInt8](repeating: 0, count: 12), into: $0)
                    }
                }
                if fine { return key }
            }
            throw BackupError(.damaged, "\(path): the header of the sealed file is damaged")
        }
        throw missingKey(path, sealedTo: fingerprints, keys)
    }

    /// None of the keys opens a file that is sealed to these.
    static func missingKey(_ path: String, sealedTo fingerprints: [String], _ keys: SealingKeys?) -> BackupError {
        let sealedTo = "sealed to the key \(fingerprints.joined(separator: ", "))"
        guard let keys else {
            return BackupError(
                .key, "\(path) is \(sealedTo) and no key is at hand: name the key file with --key-file")
        }
        return BackupError(
            .key,
            "\(path) is \(sealedTo); \(keys.file) holds \(keys.recipients.map(\.fingerprint).joined(separator: ", ")): another key is needed"
        )
    }
}

/// `count` bytes, the least significant first.
func littleEndian(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
}

/// `count` bytes at `at`, the least significant first.
func littleEndianNumber(_ bytes: some RandomAccessCollection<UInt8>, _ at: Int, _ count: Int) -> UInt64 {
    var value: UInt64 = 0
    for i in 0..<count {
        value |= UInt64(bytes[bytes.index(bytes.startIndex, offsetBy: at + i)]) << (8 * UInt64(i))
    }
    return value
}
