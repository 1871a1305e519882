import Etcd
import Glibc
import Platform

/// A snapshot that lies complete under a temporary name.
struct StagedSnapshot: Sendable {
    var temporary: String
    var stream: SnapshotStreamResult
    var fileBytes: Int64
    var fileSHA256: [UInt8]
}

/// Streams one member's snapshot into a gzip file: gRPC pieces → SHA-256 → blocks → compressed on all cores → file. Nothing
/// waits for the whole, so memory does not grow with the database.
enum SnapshotWriter {
    static func write(
        client: EtcdClient, endpoint: String, to temporary: String, level: Int, idleLimit: Int64,
        progress: BackupProgressHandler?
    ) async throws -> StagedSnapshot {
        let file = try FileBeingWritten(temporary, temporary: temporary)
        // A client of its own: its thread is held up while the compressors and the disk are behind.
        let http = HTTPClient(name: "kops-snapshot")
        defer { http.shutdown() }
        let writer = ParallelGzipWriter(level: Int32(clamping: level)) { try file.write($0) }
        do {
            let stream = try await client.snapshot(
                from: endpoint, http: http, idleLimit: .milliseconds(idleLimit),
                progress: { done, total in
                    progress?(BackupProgress(phase: .snapshot, subject: endpoint, done: done, total: total))
                },
                receive: { try writer.write($0) })
            let (bytes, sha256) = try await WorkerPool.blocking.run {
                _ = try writer.finish()
                let sha256 = try file.sync()
                return (file.bytes, sha256)
            }
            return StagedSnapshot(temporary: temporary, stream: stream, fileBytes: bytes, fileSHA256: sha256)
        } catch {
            writer.abort(error)
            file.discard()
            throw SnapshotWriter.explain(error)
        }
    }

    static func explain(_ error: any Error) -> any Error {
        switch error {
        case let error as FileError where error.code == ENOSPC || error.code == EDQUOT:
            return BackupError(.noSpace, "\(error): make room there, or name another destination")
        case let error as EtcdError where error.code == .cancelled:
            return BackupError(.cancelled, "the backup was cancelled")
        case is CancellationError: return BackupError(.cancelled, "the backup was cancelled")
        default: return error
        }
    }
}
