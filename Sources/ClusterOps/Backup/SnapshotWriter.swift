import Etcd
import Glibc
import Platform

/// A snapshot, or what changed in it, that lies complete under a temporary name.
struct StagedSnapshot {
    var temporary: String
    var stream: SnapshotStreamResult
    /// What the scan of the database on its way here showed.
    var summary: SnapshotSummary
    var fileBytes: Int64
    var fileSHA256: [UInt8]
    var isSealed: Bool
    /// Of a delta.
    var changedPages: Int64?
    /// Hashes of all pages, to be committed once the backup is where it belongs.
    var index: PageIndexWriter?
}

/// Streams one member's snapshot into a file: gRPC pieces → SHA-256 → scan of the database → (changed pages) → gzip on all
/// cores → seal → file. Nothing waits for the whole, so memory does not grow with the database but for 32 bytes a page.
struct SnapshotWriter: Sendable {
    var temporary: String
    var level: Int
    var recipients: [SealRecipient] = []
    /// Where page hashes go; nil where no incremental backup is to follow.
    var indexPath: String?
    /// What an incremental backup builds on; nil makes a full one.
    var parent: BackupManifest?
    /// Milliseconds without a byte.
    var idleLimit: Int64

    static let pageSize = 4096

    func write(client: EtcdClient, endpoint: String, progress: BackupProgressHandler?) async throws -> StagedSnapshot {
        let pipeline = try Pipeline(self)
        // A client of its own: its thread is held up while the compressors and the disk are behind.
        let http = HTTPClient(name: "kops-snapshot", isForBulk: true)
        defer { http.shutdown() }
        do {
            let stream = try await client.snapshot(
                from: endpoint, http: http, idleLimit: .milliseconds(idleLimit),
                // Of an increment all but the changed pages are proven by their MACs too.
                trustingTheWay: pipeline.isIncrement,
                progress: { done, total in
                    progress?(BackupProgress(phase: .snapshot, subject: endpoint, done: done, total: total))
                },
                receive: { try pipeline.take($0) })
            return try await pipeline.finish(stream)
        } catch {
            pipeline.discard(error)
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

    /// What the stream goes through. Touched by the HTTP client's thread while the stream runs, by the caller's afterwards,
    /// which the unchecked conformance rests on.
    private final class Pipeline: @unchecked Sendable {
        private let temporary: String
        private let isSealed: Bool
        private let file: FileBeingWritten
        private let output: StoredFileWriter
        private let gzip: ParallelGzipWriter
        private let index: PageIndexWriter?
        private let delta: PageDeltaWriter?
        private var pages: PageSplitter?
        private var scanner = SnapshotScanner()

        init(_ request: SnapshotWriter) throws {
            temporary = request.temporary
            isSealed = !request.recipients.isEmpty
            let file = try FileBeingWritten(request.temporary, temporary: request.temporary)
            self.file = file
            let output: StoredFileWriter
            do { output = try StoredFileWriter(file, recipients: request.recipients) } catch {
                file.discard()
                throw error
            }
            self.output = output
            // Smaller blocks where there are more cores: the memory stays the same.
            let threads = min(8, processorCount())
            let gzip = ParallelGzipWriter(
                level: Int32(clamping: request.level), threads: threads,
                blockBytes: max(256 << 10, min(1 << 20, (2 << 20) / threads))
            ) { try output.write($0) }
            self.gzip = gzip
            do {
                let known = request.parent == nil ? nil : request.indexPath.flatMap { PageIndexReader($0) }
                let index = try request.indexPath.map {
                    try PageIndexWriter($0, pageSize: SnapshotWriter.pageSize, key: known?.key)
                }
                self.index = index
                if let parent = request.parent, let known {
                    delta = try PageDeltaWriter(
                        .init(
                            pageSize: SnapshotWriter.pageSize, parentBytes: known.databaseBytes,
                            parentSHA256: known.databaseSHA256),
                        parent: known, index: index,
                        // Beyond half of it, the full one costs little more and needs nothing else.
                        maxChanged: parent.databaseBytes / Int64(SnapshotWriter.pageSize) / 2,
                        sink: { try gzip.write($0) })
                } else {
                    delta = nil
                    if let index {
                        let hasher = try PageHasher(key: index.key)
                        pages = PageSplitter(SnapshotWriter.pageSize) { try index.append(try hasher.hash($0)) }
                    }
                }
            } catch {
                gzip.abort(error)
                file.discard()
                throw error
            }
        }

        /// False too where the index that a parent needs is gone.
        var isIncrement: Bool { delta != nil }

        func take(_ bytes: UnsafeRawBufferPointer) throws {
            scanner.feed(bytes)
            if let delta { return try delta.write(bytes) }
            try pages?.take(bytes)
            try gzip.write(bytes)
        }

        func finish(_ stream: SnapshotStreamResult) async throws -> StagedSnapshot {
            try await WorkerPool.blocking.run { [self] in try delta?.finish() }
            return try await WorkerPool.blocking.run { [self] in
                _ = try gzip.finish()
                try output.finish()
                let sha256 = try file.sync()
                return Finished(
                    StagedSnapshot(
                        temporary: temporary, stream: stream, summary: scanner.finish(), fileBytes: file.bytes,
                        fileSHA256: sha256, isSealed: isSealed, changedPages: delta?.changedPages, index: index))
            }.staged
        }

        func discard(_ error: any Error) {
            gzip.abort(error)
            file.discard()
        }
    }

    /// Hands a staged snapshot from the worker's thread to the caller, who alone has it then.
    private struct Finished: @unchecked Sendable {
        let staged: StagedSnapshot
        init(_ staged: StagedSnapshot) { self.staged = staged }
    }
}

extension StagedSnapshot {
    /// Reads the file back from the disk and proves that it is what was written: its hash, and where it can be opened, the
    /// checksums inside and, of a full one, the database's own hash.
    func readBack(
        keys: SealingKeys?, isCancelled: @escaping @Sendable () -> Bool, progress: ByteProgress?
    ) throws {
        let isOpenable = keys != nil || !isSealed
        let file = try StoredFileReader(temporary, keys: keys, opensNothing: !isOpenable)
        let digest = Digest(.sha256)
        var bytes: Int64 = 0
        let databaseBytes = stream.bytes - Int64(SnapshotFile.checksumBytes)
        try file.forEach { piece in
            if isCancelled() { throw BackupError(.cancelled, "the backup was cancelled") }
            if changedPages == nil, isOpenable {
                let n = Int(max(0, min(Int64(piece.count), databaseBytes - bytes)))
                digest.update(UnsafeRawBufferPointer(rebasing: piece[..<n]))
            }
            bytes += Int64(piece.count)
            progress?(file.fileBytes, file.fileSize)
        }
        let isWhole =
            changedPages != nil || !isOpenable || (bytes == stream.bytes && digest.finalize() == stream.sha256)
        guard file.finishHash() == fileSHA256, file.fileBytes == fileBytes, isWhole else {
            throw BackupError(
                .damaged, "\(temporary) reads back otherwise than it was written: the disk is not to be trusted")
        }
    }
}
