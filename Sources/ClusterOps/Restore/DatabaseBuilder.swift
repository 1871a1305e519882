import Etcd
import Glibc
import Platform

/// Puts the database of a snapshot source into a file, checking every byte on the way.
enum DatabaseBuilder {
    /// Writes the database (without the snapshot's checksum) to `path`. Throws where a part does not match its manifest, the
    /// snapshot its checksum, or the database is not whole; the file is then worth nothing.
    static func build(
        _ source: SnapshotSource, to path: String, keys: SealingKeys?, allowUnchecked: Bool,
        isCancelled: @escaping @Sendable () -> Bool, progress: ByteProgress?
    ) throws -> SnapshotSummary {
        guard let base = source.parts.first else { throw BackupError(.invalid, "there is nothing to restore") }
        let sink = try DatabaseSink(path)
        let result = try StoredSnapshot.read(
            base.path, keys: keys, isCancelled: isCancelled, progress: progress, consume: { try sink.take($0) })
        var summary = result.summary
        try check(base, result)
        if !SnapshotFile.hasChecksum(length: result.snapshotBytes), allowUnchecked,
            summary.problems.count == 1
        {
            summary.problems = []
        }
        if let problem = summary.problems.first { throw BackupError(.damaged, "\(base.path): \(problem)") }
        try sink.finish(length: summary.databaseBytes)
        return summary
    }

    /// A part is what its manifest says, file and contents.
    static func check(_ part: SnapshotSource.Part, _ result: StoredSnapshot.Result) throws {
        guard let manifest = part.manifest, let file = manifest.files.first(where: { $0.name == part.file }) else {
            return
        }
        guard result.fileBytes == file.bytes, hexadecimal(result.fileSHA256) == file.sha256 else {
            throw BackupError(.damaged, "\(part.path) does not match the hash in its manifest")
        }
        guard result.summary.problems.isEmpty else { return }
        guard hexadecimal(result.databaseSHA256) == manifest.databaseSHA256,
            result.summary.revision == manifest.revision, result.summary.totalKeys == manifest.totalKeys
        else { throw BackupError(.damaged, "\(part.path) holds another snapshot than its manifest says") }
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
