import Etcd
import Platform

/// Reads the snapshot that a backup stands for, whatever it is made of, and checks all of it on the way: every file against
/// its manifest, gzip's checksums, seals, the snapshot's own SHA-256, and every page, key and revision of the database.
enum StoredSnapshot {
    struct Result: Sendable {
        /// Bytes of the snapshot file, its checksum included.
        var snapshotBytes: Int64 = 0
        var databaseSHA256: [UInt8] = []
        var summary = SnapshotSummary()
    }

    /// The parts are a full backup (or a snapshot file of any make) and the increments that build on it, in order.
    /// `consume` gets the snapshot file's bytes in order, the checksum last. What is wrong with a file is thrown, the
    /// name of the file in it; what is wrong with the database is in the summary.
    static func read(
        _ parts: [SnapshotSource.Part], keys: SealingKeys?, isCancelled: @escaping @Sendable () -> Bool,
        progress: ByteProgress? = nil, consume: ((UnsafeRawBufferPointer) throws -> Void)? = nil
    ) throws -> Result {
        guard let first = parts.first, let newest = parts.last else {
            throw BackupError(.invalid, "there is nothing to read")
        }
        let files = try parts.map { try StoredFileReader($0.path, keys: keys) }
        for (part, file) in zip(parts, files) {
            if let wanted = part.stored?.bytes, wanted != file.fileSize {
                throw BackupError(
                    .damaged,
                    "\(part.path) has \(file.fileSize) bytes and should have \(wanted): it is cut off or another")
            }
        }
        let total = files.reduce(Int64(0)) { $0 + $1.fileSize }
        var source: any ByteSource = files[0]
        var digests = [first.manifest?.databaseSHA256]
        for (part, file) in zip(parts, files).dropFirst() {
            let delta = try PageDeltaReader(file, path: part.path)
            if let below = digests.last, let below, hexadecimal(delta.header.parentSHA256) != below {
                throw BackupError(.damaged, "\(part.path) builds on another snapshot than \(parts[0].title)")
            }
            source = PageDeltaMerge(below: source, delta: delta)
            digests.append(part.manifest?.databaseSHA256)
        }
        var checker = SnapshotChecker()
        while true {
            if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(newest.path)") }
            let piece = try source.next()
            if piece.isEmpty { break }
            checker.feed(piece)
            try consume?(piece)
            progress?(files.reduce(Int64(0)) { $0 + $1.fileBytes }, total)
        }
        for (part, file) in zip(parts, files) {
            // What a delta replaces, or a database that shrank, leaves unread: it is part of the file all the same.
            try file.forEach { _ in if isCancelled() { throw BackupError(.cancelled, "cancelled") } }
            try check(part, file)
        }
        var result = Result()
        result.summary = checker.finish()
        result.snapshotBytes = checker.bytes
        result.databaseSHA256 = checker.sha256
        if let manifest = newest.manifest, result.summary.problems.isEmpty {
            guard hexadecimal(result.databaseSHA256) == manifest.databaseSHA256,
                result.summary.revision == manifest.revision, result.summary.totalKeys == manifest.totalKeys
            else { throw BackupError(.damaged, "\(newest.path) holds another snapshot than its manifest says") }
        }
        return result
    }

    /// The file is what its manifest says.
    static func check(_ part: SnapshotSource.Part, _ file: StoredFileReader) throws {
        guard let stored = part.stored else { return }
        guard file.fileBytes == stored.bytes, hexadecimal(file.finishHash()) == stored.sha256 else {
            throw BackupError(.damaged, "\(part.path) does not match the hash in its manifest")
        }
    }
}

extension SnapshotSource.Part {
    /// The file as its manifest has it; nil without one.
    var stored: BackupManifest.File? { manifest?.files.first { $0.name == file } }
    var title: String { manifest?.name ?? path }
}
