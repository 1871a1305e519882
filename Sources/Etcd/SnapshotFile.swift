import Glibc
import Platform

/// A snapshot file as `etcdctl snapshot save` makes it: the database, then the SHA-256 of it.
package enum SnapshotFile {
    package static let checksumBytes = 32

    /// True where the length says that a checksum is there; a plain copy of a database has none.
    package static func hasChecksum(length: Int64) -> Bool { length % 512 == 32 }

    /// Reads the whole file: checksum, pages, tree. Problems come in the summary, not as errors; errors are of the disk.
    /// `requireChecksum` false accepts a bare database.
    package static func check(_ path: String, requireChecksum: Bool = true) throws -> SnapshotSummary {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("read", path) }
        defer { close(fd) }
        var checker = SnapshotChecker()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
        defer { buffer.deallocate() }
        while true {
            let n = read(fd, buffer.baseAddress, buffer.count)
            if n < 0 {
                if errno == EINTR { continue }
                throw FileError("read", path)
            }
            if n == 0 { break }
            checker.feed(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
        }
        return checker.finish(requireChecksum: requireChecksum)
    }
}

/// Checks a snapshot as it streams by: its checksum and, with a `SnapshotScanner`, its structure.
package struct SnapshotChecker {
    private var scanner = SnapshotScanner()
    private let digest = Digest(.sha256)
    private var tail: [UInt8] = []
    package private(set) var bytes: Int64 = 0
    /// Hash of the database, once finished.
    package private(set) var sha256: [UInt8] = []

    package init() {}

    package mutating func feed(_ bytes: UnsafeRawBufferPointer) {
        self.bytes += Int64(bytes.count)
        scanner.feed(bytes)
        if bytes.count >= 32 {
            digest.update(tail)
            digest.update(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 32)]))
            tail = Array(bytes[(bytes.count - 32)...])
        } else {
            tail.append(contentsOf: bytes)
            if tail.count > 32 {
                digest.update(Array(tail[..<(tail.count - 32)]))
                tail.removeFirst(tail.count - 32)
            }
        }
    }

    /// `requireChecksum` false accepts a bare database, as a copy of a member's file is.
    package mutating func finish(requireChecksum: Bool = true) -> SnapshotSummary {
        var summary = scanner.finish()
        if SnapshotFile.hasChecksum(length: bytes) {
            sha256 = digest.finalize()
            if sha256 != tail { summary.problems.insert("the snapshot does not match its SHA-256", at: 0) }
        } else if requireChecksum {
            summary.problems.insert(
                "the snapshot has no checksum at its end (\(bytes) bytes): it is cut off, or a plain copy of a database",
                at: 0)
        }
        return summary
    }
}
