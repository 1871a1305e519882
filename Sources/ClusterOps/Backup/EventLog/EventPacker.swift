import Glibc
import Platform

/// When segments that were delivered are put together.
struct EventPacking: Sendable {
    /// So many make a pack.
    var count = 64
    /// A pack that has reached this many bytes is left as it is.
    var bytes: Int64 = 4 << 20
    /// How long the files that a pack stands for stay beside it, in milliseconds: whoever listed them before may read them.
    var grace: Int64 = 300_000
}

/// Puts the small segments of a log together, so that a day of them is dozens of files and not thousands. Segments are copied
/// as they lie there, sealed ones too, so that no key is needed and no byte of them changes.
///
/// It keeps copies of what may go into the next pack: the last pack where that is not full, and the segments behind it. They
/// are at most `packing.bytes` and `packing.count` segments. Nothing else is remembered: a pack that lies at a destination
/// says by its name which files it stands for. For one task.
struct EventPacker: Sendable {
    let directory: String
    let packing: EventPacking

    private func files(_ backup: String) throws -> [(EventFile, String)] {
        EventFile.cover(try FileSystem.list(directory)) { EventFile($0, backup: backup) }.read
    }

    /// Takes a file over that every destination has.
    func keep(_ path: String, backup: String) throws {
        let name = FileSystem.name(of: path)
        guard let file = EventFile(name, backup: backup) else { return try FileSystem.removeFile(path) }
        try FileSystem.makeDirectories(directory, mode: 0o700)
        let isFull = try (FileSystem.status(path)?.size ?? 0) >= packing.bytes
        if file.isPack || isFull {
            // What it stands for first: killed in between, it is delivered once more.
            for other in try FileSystem.list(directory) {
                guard let old = EventFile(other, backup: backup), old.last <= file.last else { continue }
                try FileSystem.removeFile(directory + "/" + other)
            }
        }
        if isFull { return try FileSystem.removeFile(path) }
        try FileSystem.rename(path, to: directory + "/" + name)
    }

    /// Forgets copies of other backups' logs, and what a killed run left.
    func clear(keeping backup: String) throws {
        guard FileSystem.exists(directory) else { return }
        for file in try FileSystem.list(directory) where EventFile(file, backup: backup) == nil {
            try FileSystem.removeFile(directory + "/" + file)
        }
    }

    /// Brings here what is missing of the copies, after a restart on another disk or a kill between two steps.
    func adopt(_ place: any Destination, backup: String) async throws {
        let stored = EventFile.cover(try await place.list()) { EventFile($0.name, backup: backup) }.read
        try FileSystem.makeDirectories(directory, mode: 0o700)
        for (name, file) in stored.reversed().prefix(packing.count * 2) {
            if file.bytes >= packing.bytes { break }
            let path = directory + "/" + file.name
            if !FileSystem.exists(path) { try await place.get(file.name, to: path, progress: nil) }
            if name.isPack { break }
        }
    }

    /// Makes a pack in `target` of what is kept, where that pays; with `all` of whatever there is. Returns its path.
    func pack(_ backup: String, into target: String, all: Bool, isCancelled: () -> Bool = { false }) throws -> String? {
        guard FileSystem.exists(directory) else { return nil }
        // Those that follow each other without a gap to the newest; what lies before a gap stays as it is.
        var run: [(EventFile, String)] = []
        for (name, file) in try files(backup).reversed() {
            if let after = run.last, name.last + 1 != after.0.first { break }
            run.append((name, file))
        }
        run.reverse()
        guard run.count >= 2, all || run.count(where: { !$0.0.isPack }) >= packing.count else { return nil }
        let temporary = "\(directory)/.kops-pack" + LocalDestination.partSuffix
        let output = try FileBeingWritten(temporary, temporary: temporary)
        do {
            try EventFile.packMagic.withUnsafeBytes { try output.write($0) }
            var last: UInt64 = 0
            for (name, file) in run where output.bytes < packing.bytes {
                for piece in try name.pieces(directory + "/" + file, isCancelled: isCancelled) {
                    try copy(piece, of: directory + "/" + file, to: output, isCancelled)
                }
                last = name.last
            }
            let name = EventFile.packName(backup, run[0].0.first, last, sha256: try output.sync())
            // Read back before anything that it stands for may go.
            if let file = EventFile(name, backup: backup) {
                guard try file.pieces(temporary, isCancelled: isCancelled).count == Int(last - file.first + 1) else {
                    throw BackupError(.damaged, "\(name) was not written as it should be")
                }
            }
            try FileSystem.rename(temporary, to: target + "/" + name)
            try AtomicFile.syncDirectory(target)
            return target + "/" + name
        } catch {
            output.discard()
            throw error
        }
    }

    private func copy(
        _ piece: EventPiece, of path: String, to output: FileBeingWritten, _ isCancelled: () -> Bool
    ) throws {
        let input = try StoredFileReader(path, keys: nil, opensNothing: true, range: piece.range)
        let entry =
            littleEndian(piece.number, 8) + littleEndian(UInt64(input.fileSize), 8)
            + bytes(ofHexadecimal: piece.hash)
        try entry.withUnsafeBytes { try output.write($0) }
        try input.forEach {
            if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(path)") }
            try output.write($0)
        }
        guard hexadecimal(input.finishHash().prefix(EventSegment.hashBytes)) == piece.hash else {
            throw BackupError(.damaged, "\(path): the log of changes is damaged or cut off")
        }
    }

    /// Removes the files at a destination that a pack there stands for, once it has been there for a while.
    func sweep(_ entry: BackupEntry, at place: any Destination, now: Int64) async throws {
        for (file, pack) in entry.packedSegments where now - pack.modified > packing.grace || now < pack.modified {
            do { try await place.remove(file.name) } catch let error as BackupError where error.code == .refused {
                // Locked by the store for a while yet.
            }
        }
    }
}
