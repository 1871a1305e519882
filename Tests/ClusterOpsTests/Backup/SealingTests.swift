import Platform
import Testing

@testable import ClusterOps

@Suite struct SealingTests {
    private func keys(_ directory: String, _ name: String) throws -> (file: String, recipient: SealRecipient) {
        let (text, recipient) = try SealingKeys.generate(now: 0)
        let file = "\(directory)/\(name)"
        try AtomicFile.write(Array(text.utf8), to: file)
        return (file, recipient)
    }

    private func seal(_ bytes: [UInt8], _ recipients: [SealRecipient], pieces: Int = 5000) throws -> [UInt8] {
        var out: [UInt8] = []
        let writer = try SealWriter(recipients: recipients) { out.append(contentsOf: $0) }
        for start in stride(from: 0, to: bytes.count, by: pieces) {
            try Array(bytes[start..<min(bytes.count, start + pieces)]).withUnsafeBytes { try writer.write($0) }
        }
        try writer.finish()
        return out
    }

    private func open(_ sealed: [UInt8], _ keys: SealingKeys?) throws -> [UInt8] {
        var position = 0
        let reader = try SealReader("file", keys: keys) { buffer in
            let n = min(buffer.count, sealed.count - position, 7001)
            buffer.copyBytes(from: sealed[position..<position + n])
            position += n
            return n
        }
        var out: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 10_000)
        while true {
            let n = try buffer.withUnsafeMutableBytes { try reader.read($0) }
            if n == 0 { return out }
            out += buffer[..<n]
        }
    }

    /// Lengths around the borders of chunks, where the last chunk is full, short or the only one.
    @Test(arguments: [0, 1, 65535, 65536, 65537, 131072, 200_000])
    func whatIsSealedOpensForEachRecipient(_ length: Int) throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let (a, b) = (try keys(directory, "a"), try keys(directory, "b"))
        var random = SplitMix(UInt64(length))
        let bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let sealed = try seal(bytes, [a.recipient, b.recipient])
        #expect(try open(sealed, try SealingKeys(file: a.file)) == bytes)
        #expect(try open(sealed, try SealingKeys(file: b.file)) == bytes)
        // Sealed twice, no byte of the contents or of the keys is the same.
        #expect(try seal(bytes, [a.recipient]).suffix(16) != seal(bytes, [a.recipient]).suffix(16))
    }

    @Test func everyDamageIsFound() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let key = try keys(directory, "key")
        let opener = try SealingKeys(file: key.file)
        let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        let sealed = try seal(bytes, [key.recipient])
        let header = SealedFile.fixedHeaderBytes + SealedFile.stanzaBytes
        let chunk = SealedFile.chunkBytes + AuthenticatedCipher.tagBytes
        var random = SplitMix(1)
        for round in 0..<300 {
            var damaged = sealed
            switch round % 4 {
            case 0:  // A bit anywhere, the header more often than its share.
                let range = round % 8 == 0 ? header : sealed.count
                damaged[Int(random.next() % UInt64(range))] ^= 1 << UInt8(random.next() % 8)
            case 1:  // Cut off, at the borders of chunks too.
                damaged.removeLast(round % 8 == 1 ? chunk : 1 + Int(random.next() % UInt64(sealed.count - 1)))
            case 2:  // Two chunks in each other's place.
                let first = Array(damaged[header..<header + chunk])
                let second = Array(damaged[(header + chunk)..<(header + 2 * chunk)])
                damaged.replaceSubrange(header..<(header + 2 * chunk), with: second + first)
            default:  // The last chunk is gone, another made the last one; or something is put behind.
                if round % 8 == 3 {
                    let last = header + 3 * chunk
                    damaged = Array(damaged[..<(header + chunk)]) + Array(damaged[last...])
                } else {
                    damaged += [0]
                }
            }
            #expect(throws: BackupError.self) { try open(damaged, opener) }
        }
    }

    @Test func wrongAndMissingKeysAreNamed() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let (right, wrong) = (try keys(directory, "right"), try keys(directory, "wrong"))
        let sealed = try seal([1, 2, 3], [right.recipient])
        do {
            _ = try open(sealed, nil)
            Issue.record("it opened without a key")
        } catch let error as BackupError {
            #expect(error.code == .key)
            #expect(error.message.contains(right.recipient.fingerprint) && error.message.contains("--key-file"))
        }
        do {
            _ = try open(sealed, try SealingKeys(file: wrong.file))
            Issue.record("it opened with another key")
        } catch let error as BackupError {
            #expect(error.code == .key)
            #expect(error.message.contains(wrong.recipient.fingerprint) && error.message.contains(wrong.file))
        }
        #expect(throws: BackupError(.key, "")) { try SealingKeys(file: directory + "/none") }
        try AtomicFile.write(Array(right.recipient.text.utf8), to: directory + "/public")
        do {
            _ = try SealingKeys(file: directory + "/public")
            Issue.record("a public key was taken for a secret one")
        } catch let error as BackupError { #expect(error.message.contains("public key")) }
    }

    @Test func mistypedKeysAreRefused() throws {
        let (text, recipient) = try SealingKeys.generate(now: 0)
        #expect(try SealRecipient(recipient.text) == recipient)
        #expect(text.contains(recipient.text))
        var digits = Array(recipient.text)
        digits[20] = digits[20] == "0" ? "1" : "0"
        #expect(throws: BackupError(.invalid, "")) { try SealRecipient(String(digits)) }
        #expect(throws: BackupError(.invalid, "")) { try SealRecipient(String(recipient.text.dropLast())) }
    }
}
