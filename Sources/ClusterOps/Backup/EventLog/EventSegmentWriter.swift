import Platform

/// Where a log of changes stands: what the next segment goes on from.
struct EventLogPosition: Sendable, Equatable {
    var clusterID: UInt64
    /// Of the next segment.
    var number: UInt64
    /// The newest revision that is in the backup or the log.
    var after: Int64
    var previous: [UInt8]

    /// At the beginning: behind the backup itself.
    init(base: BackupManifest) throws {
        guard let cluster = UInt64(base.clusterID, radix: 16) else {
            throw BackupError(.damaged, "\(base.name): its cluster's identifier is no number")
        }
        clusterID = cluster
        number = 1
        after = base.revision
        previous = base.databaseSHA256.utf8.count == 64 ? bytes(ofHexadecimal: base.databaseSHA256) : []
        guard previous.count == 32 else { throw BackupError(.damaged, "\(base.name): its hash is none") }
    }

    init(clusterID: UInt64, number: UInt64, after: Int64, previous: [UInt8]) {
        self.clusterID = clusterID
        self.number = number
        self.after = after
        self.previous = previous
    }
}

/// The bytes that an even number of hexadecimal digits stands for; empty where it is something else.
func bytes(ofHexadecimal text: String) -> [UInt8] {
    let digits = Array(text.utf8)
    guard digits.count % 2 == 0 else { return [] }
    var out: [UInt8] = []
    for i in stride(from: 0, to: digits.count, by: 2) {
        guard let byte = UInt8(String(decoding: digits[i..<i + 2], as: UTF8.self), radix: 16) else { return [] }
        out.append(byte)
    }
    return out
}

/// Writes one segment under a temporary name, compressed and sealed as it goes. For one thread at a time.
final class EventSegmentWriter {
    struct Finished: Sendable {
        var temporary: String
        var name: String
        var bytes: Int64
        /// Of the next segment.
        var position: EventLogPosition
    }

    private let header: EventSegment.Header
    private let backup: String
    private let file: FileBeingWritten
    private let output: StoredFileWriter
    private let isSealed: Bool
    private let compressor: GzipMember.Compressor
    private let digest = Digest(.sha256)
    private var block: [UInt8] = []
    private(set) var revision: Int64
    private(set) var time: Int64
    private(set) var records: UInt64 = 0
    /// Before compression.
    private(set) var contentBytes: Int64 = 0
    private static let blockBytes = 256 << 10

    init(
        _ position: EventLogPosition, backup: String, directory: String, recipients: [SealRecipient], now: Int64,
        level: Int = 6
    ) throws {
        header = EventSegment.Header(
            clusterID: position.clusterID, number: position.number, after: position.after, started: now,
            previous: position.previous)
        self.backup = backup
        revision = position.after
        time = now
        isSealed = !recipients.isEmpty
        guard let compressor = GzipMember.Compressor(level: Int32(clamping: level), blockBytes: Self.blockBytes) else {
            throw CompressionError("there is no memory to compress with")
        }
        self.compressor = compressor
        let path = "\(directory)/.kops-events-\(position.number)" + LocalDestination.partSuffix
        file = try FileBeingWritten(path, temporary: path)
        do { output = try StoredFileWriter(file, recipients: recipients) } catch {
            file.discard()
            throw error
        }
        try put(header.encoded)
    }

    deinit { if !isFinished { file.discard() } }

    private var isFinished = false

    /// Revisions must ascend.
    func append(_ record: EventSegment.Record) throws {
        let bytes = EventSegment.encode(record)
        guard record.revision > revision, bytes.count - 4 <= EventSegment.maxRecordBytes else {
            throw BackupError(.failed, "revision \(record.revision) does not fit behind \(revision) of the log")
        }
        try put(bytes)
        revision = record.revision
        time = max(time, record.time)
        records += 1
    }

    /// Ends the segment: it covers everything up to `covered`, where etcd has said so. Synced afterwards.
    func finish(now: Int64, covered: Int64? = nil) throws -> Finished {
        revision = max(revision, covered ?? 0)
        time = max(time, now)
        try put(EventSegment.encodeEnd(revision: revision, time: time, records: records))
        let sha256 = digest.finalize()
        block += sha256
        try flush()
        try output.finish()
        let fileSHA256 = try file.sync()
        isFinished = true
        return Finished(
            temporary: file.temporary,
            name: EventSegment.fileName(backup, header.number, sha256: fileSHA256, sealed: isSealed), bytes: file.bytes,
            position: EventLogPosition(
                clusterID: header.clusterID, number: header.number + 1, after: revision, previous: sha256))
    }

    private func put(_ bytes: [UInt8]) throws {
        digest.update(bytes)
        contentBytes += Int64(bytes.count)
        var rest = bytes[...]
        while !rest.isEmpty {
            let n = min(rest.count, Self.blockBytes - block.count)
            block += rest.prefix(n)
            rest = rest.dropFirst(n)
            if block.count == Self.blockBytes { try flush() }
        }
    }

    private func flush() throws {
        guard !block.isEmpty else { return }
        try block.withUnsafeBytes { bytes in
            // The hash at the end may make the last block a little longer than the others.
            var rest = bytes
            while !rest.isEmpty {
                let n = min(rest.count, Self.blockBytes)
                guard let member = compressor.compress(UnsafeRawBufferPointer(rebasing: rest[..<n])) else {
                    throw CompressionError("zlib has no memory")
                }
                try output.write(member)
                rest = UnsafeRawBufferPointer(rebasing: rest[n...])
            }
        }
        block.removeAll(keepingCapacity: true)
    }
}
