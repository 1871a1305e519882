import Etcd
import Glibc
import Platform

/// Reads a stored snapshot: hashes the file as it lies there, opens and inflates it, and checks what comes out.
enum StoredSnapshot {
    struct Result: Sendable {
        var fileBytes: Int64 = 0
        var fileSHA256: [UInt8] = []
        /// Bytes of the snapshot file, its checksum included.
        var snapshotBytes: Int64 = 0
        var databaseSHA256: [UInt8] = []
        var summary = SnapshotSummary()
    }

    /// The whole of a snapshot: compressed or not, sealed or not. `consume` gets the snapshot file's bytes, its checksum last.
    static func read(
        _ path: String, keys: SealingKeys?, isCancelled: @escaping @Sendable () -> Bool,
        progress: ByteProgress? = nil, consume: ((UnsafeRawBufferPointer) throws -> Void)? = nil
    ) throws -> Result {
        let input = try StoredFileReader(path, keys: keys)
        var checker = SnapshotChecker()
        var result = Result()
        try input.forEach { piece in
            if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(path)") }
            checker.feed(piece)
            try consume?(piece)
            progress?(input.fileBytes, input.fileSize)
        }
        result.summary = checker.finish()
        result.fileBytes = input.fileBytes
        result.fileSHA256 = input.finishHash()
        result.snapshotBytes = checker.bytes
        result.databaseSHA256 = checker.sha256
        return result
    }
}
