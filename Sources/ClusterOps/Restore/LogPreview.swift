import Glibc
import Platform

/// How far a restore with a log of changes gets, before anything is brought here: the log's end is read first, and only as
/// much before it as the point that was asked for takes.
enum LogPreview {
    /// The newest revision that would be restored; nil where no manifest says any. Leaves nothing behind. What is damaged is
    /// thrown; a whole check is made when the restore reads it all.
    static func reach(
        _ source: SnapshotSource, keys: SealingKeys?, destinations: [any Destination]
    ) async throws -> Int64? {
        guard let manifest = source.manifest else { return nil }
        guard let limit = source.until, let events = source.events, !events.isEmpty else { return manifest.revision }
        var scratch: String?
        defer { if let scratch { try? FileSystem.removeTree(scratch) } }
        for part in events.reversed() {
            var part = part
            if let name = part.destination {
                guard let place = destinations.first(where: { $0.name == name }) else { return manifest.revision }
                let directory = try scratch ?? FileSystem.makeTemporaryDirectory("/tmp/.kops-plan-")
                scratch = directory
                part.path = directory + "/" + part.file
                try await place.get(part.file, to: part.path, progress: nil)
            }
            let ready = part
            let found = try await cancellable { isCancelled in
                try last(of: ready, backup: manifest.name, limit, keys, isCancelled)
            }
            if let found { return max(found, manifest.revision) }
            if let copy = scratch { unlink(copy + "/" + part.file) }
        }
        return manifest.revision
    }

    /// The newest revision of the file that lies within the limit; nil where all of it lies beyond.
    private static func last(
        of part: SnapshotSource.Part, backup: String, _ limit: EventLimit, _ keys: SealingKeys?,
        _ isCancelled: () -> Bool
    ) throws -> Int64? {
        guard let file = EventFile(part.file, backup: backup) else {
            throw BackupError(.damaged, "\(part.path) is no file of the log beside \(backup)")
        }
        var newest: Int64?
        var stopped = false
        for piece in try file.pieces(part.path, isCancelled: isCancelled) where !stopped {
            let (_, end) = try EventSegment.read(part.path, piece, keys: keys, isCancelled: isCancelled) { record in
                if limit.excludes(record) { stopped = true } else if !stopped { newest = record.revision }
            }
            if !stopped { newest = end.revision }
        }
        return newest
    }
}
