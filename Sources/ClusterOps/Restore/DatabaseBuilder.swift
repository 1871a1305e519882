import Etcd
import Glibc
import Platform

/// Puts the database of a snapshot source into a file, checking every byte on the way.
enum DatabaseBuilder {
    /// Writes the database (without the snapshot's checksum) to `path`: the full backup, the increments on it, and the log of
    /// changes up to the point that was asked for. Throws where a part does not match its manifest, the
    /// snapshot its checksum, or the database is not whole; the file is then worth nothing. `keys` open sealed parts.
    static func build(
        _ source: SnapshotSource, to path: String, keys: SealingKeys?, allowUnchecked: Bool,
        isCancelled: @escaping @Sendable () -> Bool, progress: ByteProgress?
    ) throws -> SnapshotSummary {
        guard let newest = source.parts.last else { throw BackupError(.invalid, "there is nothing to restore") }
        let sink = try DatabaseSink(path)
        let result = try StoredSnapshot.read(
            source.parts, keys: keys, isCancelled: isCancelled, progress: progress, consume: { try sink.take($0) })
        var summary = result.summary
        if !SnapshotFile.hasChecksum(length: result.snapshotBytes), allowUnchecked,
            summary.problems.count == 1
        {
            summary.problems = []
        }
        if let problem = summary.problems.first { throw BackupError(.damaged, "\(newest.path): \(problem)") }
        try sink.finish(length: summary.databaseBytes)
        guard let events = source.events, let limit = source.until, let manifest = newest.manifest else {
            return summary
        }
        if events.isEmpty {
            if let wanted = limit.revision, wanted > manifest.revision {
                throw BackupError(
                    .notFound,
                    "revision \(wanted) is in no backup: \(manifest.name) ends at \(manifest.revision) and has no log of changes"
                )
            }
            return summary
        }
        _ = try EventLog.replay(
            events, base: manifest, limit: limit, into: path, keys: keys, isCancelled: isCancelled)
        summary = try SnapshotFile.check(path, requireChecksum: false)
        if let problem = summary.problems.first {
            throw BackupError(.damaged, "\(newest.path) with its log of changes: \(problem)")
        }
        return summary
    }
}

/// Writes the stream of a snapshot file, holding the last 32 bytes back: they are the checksum, not the database.
private final class DatabaseSink {
    private let path: String
    private let fd: Int32
    private var held: [UInt8] = []
    private var written: Int64 = 0
    private var unsynced = 0

    init(_ path: String) throws {
        self.path = path
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw FileError("write", path) }
    }

    deinit { close(fd) }

    func take(_ bytes: UnsafeRawBufferPointer) throws {
        if bytes.count >= 32 {
            try held.withUnsafeBytes { try write($0) }
            try write(UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 32)]))
            held = Array(bytes[(bytes.count - 32)...])
        } else {
            held.append(contentsOf: bytes)
            if held.count > 32 {
                let n = held.count - 32
                try held.withUnsafeBytes { try write(UnsafeRawBufferPointer(rebasing: $0[..<n])) }
                held.removeFirst(n)
            }
        }
    }

    /// A database without checksum ends with what was held back.
    func finish(length: Int64) throws {
        if written < length { try held.withUnsafeBytes { try write($0) } }
        if fsync(fd) != 0 { throw FileError("sync", path) }
    }

    private func write(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let n = Glibc.write(fd, rest.baseAddress, rest.count)
            if n < 0 {
                if errno == EINTR { continue }
                throw FileError("write", path)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[n...])
            written += Int64(n)
            unsynced += n
        }
        // Has the disk begin early, so that the sync at the end is short.
        if unsynced >= 8 << 20 {
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
            unsynced = 0
        }
    }
}
