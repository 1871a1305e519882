import Etcd
import Platform

/// How far the log of changes is to be followed; nil means no limit.
struct EventLimit: Sendable, Codable, Equatable {
    /// Milliseconds since 1970 UTC, inclusive.
    var time: Int64?
    /// Inclusive.
    var revision: Int64?

    func excludes(_ record: EventSegment.Record) -> Bool {
        time.map { record.time > $0 } ?? false || revision.map { record.revision > $0 } ?? false
    }
}

/// What following a log showed.
struct EventLogSummary: Sendable, Equatable {
    var segments = 0
    var records: UInt64 = 0
    /// The newest revision and time that were read.
    var revision: Int64 = 0
    var time: Int64 = 0
    /// The limit lay within the log: what follows was left out.
    var stopped = false
}

/// Reads the segments beside a backup in order, proving that none is missing, changed, or of another backup.
enum EventLog {
    /// `files` are here, in order; `base` is the manifest of the backup they lie beside.
    static func read(
        _ files: [SnapshotSource.Part], base: BackupManifest, limit: EventLimit, keys: SealingKeys?,
        isCancelled: () -> Bool = { false }, body: (EventSegment.Record) throws -> Void
    ) throws -> EventLogSummary {
        var summary = EventLogSummary()
        summary.revision = base.revision
        var previous = base.databaseSHA256
        var covered = base.revision
        var wanted: UInt64 = 1
        for part in files {
            if summary.stopped { break }
            guard let file = EventFile(part.file, backup: base.name), file.first == wanted else {
                throw BackupError(
                    .damaged, "the log beside \(base.name) has a gap: segment \(wanted) is missing before \(part.file)")
            }
            for piece in try file.pieces(part.path, isCancelled: isCancelled) {
                if summary.stopped { break }
                let (header, end) = try EventSegment.read(
                    part.path, piece, keys: keys, isCancelled: isCancelled
                ) { record in
                    if summary.stopped { return }
                    if limit.excludes(record) {
                        summary.stopped = true
                        return
                    }
                    try body(record)
                    summary.records += 1
                    summary.revision = record.revision
                    summary.time = record.time
                }
                guard header.number == wanted, hexadecimal(header.previous) == previous,
                    hex16(header.clusterID) == base.clusterID
                else {
                    throw BackupError(
                        .damaged,
                        "\(part.path) is not what follows there in the log of \(base.name): files were swapped")
                }
                // The records of a segment that was stopped in are not all counted, so that its own end says where the next
                // begins.
                guard header.after == covered else {
                    throw BackupError(.damaged, "\(part.path): changes are missing before it")
                }
                covered = end.revision
                if !summary.stopped { summary.revision = max(summary.revision, end.revision) }
                previous = hexadecimal(end.sha256)
                summary.segments += 1
                wanted += 1
            }
        }
        return summary
    }

    /// Puts the changes up to the limit into the database at `path`, which is the backup's own.
    static func replay(
        _ segments: [SnapshotSource.Part], base: BackupManifest, limit: EventLimit, into path: String,
        keys: SealingKeys?, isCancelled: () -> Bool
    ) throws -> EventLogSummary {
        let replay = try ChangeReplay(path)
        guard replay.revision == base.revision else {
            throw BackupError(
                .damaged, "\(path) is at revision \(replay.revision), the log begins after \(base.revision)")
        }
        let summary = try read(segments, base: base, limit: limit, keys: keys, isCancelled: isCancelled) { record in
            for change in record.changes {
                try replay.apply(revision: record.revision, isDelete: change.isDelete, keyValue: change.keyValue)
            }
        }
        if let wanted = limit.revision, summary.revision < wanted {
            throw BackupError(
                .notFound, "revision \(wanted) is not in the log beside \(base.name): it ends at \(summary.revision)")
        }
        try replay.finish()
        return summary
    }
}
