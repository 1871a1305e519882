import Glibc
import Platform

/// A file of the log of changes beside a backup, by its name: one segment, or a pack of segments that follow each other.
/// docs/backup-format.md gives both byte by byte.
struct EventFile: Sendable, Equatable {
    /// Numbers of the segments in it.
    var first: UInt64
    var last: UInt64
    /// The first half of the file's SHA-256, in hexadecimal: no byte of it can change unseen although no manifest names it.
    var hash: String
    var isPack: Bool

    static let packSuffix = "pack"
    static let packMagic = Array("KOPSPCK1".utf8)
    /// Number, length and half a hash before each segment of a pack.
    static let packEntryBytes = 8 + 8 + EventSegment.hashBytes

    /// Nil for files that are none.
    init?(_ file: String, backup: String) {
        let prefix = "\(backup).events-"
        guard file.hasPrefix(prefix) else { return nil }
        let rest = file.dropFirst(prefix.count)
        guard let dot = rest.firstIndex(of: ".") else { return nil }
        let suffix = rest[rest.index(after: dot)...]
        isPack = suffix == EventFile.packSuffix
        guard isPack || suffix == "log.gz" || suffix == "log.gz" + SealedFile.suffix else { return nil }
        let parts = rest[..<dot].split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == (isPack ? 3 : 2), let first = UInt64(parts[0]), let hash = parts.last,
            let last = isPack ? UInt64(parts[1]) : first, first > 0, last >= first, last < .max,
            hash.utf8.count == EventSegment.hashBytes * 2
        else { return nil }
        self.first = first
        self.last = last
        self.hash = String(hash)
    }

    static func packName(_ backup: String, _ first: UInt64, _ last: UInt64, sha256: [UInt8]) -> String {
        let hash = hexadecimal(sha256.prefix(EventSegment.hashBytes))
        return "\(backup).events-\(EventSegment.digits(first))-\(EventSegment.digits(last))-\(hash).\(packSuffix)"
    }

    /// The files that are to be read, in order, and those whose segments all lie in a pack that is read.
    static func cover<File>(_ files: [File], _ parse: (File) -> EventFile?) -> (
        read: [(EventFile, File)], covered: [(file: File, by: File)]
    ) {
        let sorted = files.compactMap { file in parse(file).map { ($0, file) } }.sorted { a, b in
            (a.0.first, b.0.last, a.0.hash) < (b.0.first, a.0.last, b.0.hash)
        }
        var read: [(EventFile, File)] = []
        var covered: [(file: File, by: File)] = []
        for (name, file) in sorted {
            if let before = read.last, name.last <= before.0.last {
                covered.append((file, before.1))
            } else {
                read.append((name, file))
            }
        }
        return (read, covered)
    }
}

/// A segment where it lies: a file of its own, or a part of a pack.
struct EventPiece: Sendable, Equatable {
    var number: UInt64
    /// As in the name of the segment's own file.
    var hash: String
    /// Bytes of the file; nil for all of it.
    var range: Range<Int64>?
}

extension EventFile {
    private func damaged(_ path: String) -> BackupError {
        BackupError(.damaged, "\(path): the log of changes is damaged or cut off")
    }

    /// The file is the one that its name tells of.
    func checkHash(_ path: String, isCancelled: () -> Bool = { false }) throws {
        let file = try StoredFileReader(path, keys: nil, opensNothing: true)
        try file.forEach { _ in
            if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(path)") }
        }
        guard hexadecimal(file.finishHash().prefix(EventSegment.hashBytes)) == hash else { throw damaged(path) }
    }

    /// The segments in it, in order. A pack's own hash is checked; the segments' are when they are read.
    func pieces(_ path: String, isCancelled: () -> Bool = { false }) throws -> [EventPiece] {
        guard isPack else { return [EventPiece(number: first, hash: hash, range: nil)] }
        try checkHash(path, isCancelled: isCancelled)
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("read", path) }
        defer { close(fd) }
        let size = Int64(lseek(fd, 0, SEEK_END))
        func bytes(_ at: Int64, _ count: Int) throws -> [UInt8] {
            var out = [UInt8](repeating: 0, count: count)
            guard pread(fd, &out, count, off_t(at)) == count else { throw damaged(path) }
            return out
        }
        guard size >= Int64(EventFile.packMagic.count), try bytes(0, EventFile.packMagic.count) == EventFile.packMagic
        else { throw damaged(path) }
        var pieces: [EventPiece] = []
        var at = Int64(EventFile.packMagic.count)
        var number = first
        while at < size {
            let entry = try bytes(at, EventFile.packEntryBytes)
            at += Int64(EventFile.packEntryBytes)
            let length = littleEndianNumber(entry, 8, 8)
            guard littleEndianNumber(entry, 0, 8) == number, number <= last, length <= UInt64(size - at) else {
                throw damaged(path)
            }
            pieces.append(
                EventPiece(number: number, hash: hexadecimal(entry[16...]), range: at..<at + Int64(length)))
            at += Int64(length)
            number += 1
        }
        guard number == last + 1 else { throw damaged(path) }
        return pieces
    }
}
