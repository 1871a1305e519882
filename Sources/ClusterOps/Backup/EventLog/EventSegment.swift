import Platform

/// One file of the log of changes beside a backup; docs/backup-format.md gives the layout byte by byte. A segment is written
/// whole and never changed; it names the one before by its hash, the first one the backup.
enum EventSegment {
    static let magic = Array("KOPSEVT1".utf8)
    static let headerBytes = 72
    static let endMark = UInt32.max
    static let endBytes = 4 + 24 + 32
    static let maxRecordBytes = 64 << 20

    struct Header: Sendable, Equatable {
        var clusterID: UInt64
        /// From 1, without gaps.
        var number: UInt64
        /// The newest revision before the segment.
        var after: Int64
        /// Milliseconds since 1970 UTC.
        var started: Int64
        /// SHA-256 the segment before ends with; of the first one, that of the backup's database.
        var previous: [UInt8]

        var encoded: [UInt8] {
            EventSegment.magic + littleEndian(clusterID, 8) + littleEndian(number, 8)
                + littleEndian(UInt64(after), 8) + littleEndian(UInt64(started), 8) + previous
        }
    }

    struct Change: Sendable, Equatable {
        var isDelete: Bool
        /// etcd's KeyValue message.
        var keyValue: [UInt8]
    }

    /// All changes of one revision.
    struct Record: Sendable, Equatable {
        var revision: Int64
        /// When it came here, milliseconds since 1970 UTC.
        var time: Int64
        var changes: [Change]
    }

    /// How a segment ends.
    struct End: Sendable, Equatable {
        var revision: Int64
        var time: Int64
        var records: UInt64
        var sha256: [UInt8]
    }

    /// `sha256` is that of the file as it lies there; its first half stands in the name, so that no byte of the file can change
    /// unseen although no manifest names it.
    static func fileName(_ backup: String, _ number: UInt64, sha256: [UInt8], sealed: Bool) -> String {
        "\(backup).events-\(digits(number))-\(hexadecimal(sha256.prefix(hashBytes))).log.gz"
            + (sealed ? SealedFile.suffix : "")
    }

    static func digits(_ number: UInt64) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 8 - digits.utf8.count)) + digits
    }

    static let hashBytes = 16

    static func encode(_ record: Record) -> [UInt8] {
        var body = littleEndian(UInt64(record.revision), 8) + littleEndian(UInt64(record.time), 8)
        body += littleEndian(UInt64(record.changes.count), 4)
        for change in record.changes {
            body.append(change.isDelete ? 1 : 0)
            body += littleEndian(UInt64(change.keyValue.count), 4)
            body += change.keyValue
        }
        return littleEndian(UInt64(body.count), 4) + body
    }

    /// Everything of the end but its hash.
    static func encodeEnd(revision: Int64, time: Int64, records: UInt64) -> [UInt8] {
        littleEndian(UInt64(endMark), 4) + littleEndian(UInt64(revision), 8) + littleEndian(UInt64(time), 8)
            + littleEndian(records, 8)
    }

    /// Reads a segment to its end, handing each record to `body`. Throws where a byte of it is not what it was.
    static func read(
        _ path: String, _ part: EventPiece, keys: SealingKeys?, isCancelled: () -> Bool = { false },
        body: (Record) throws -> Void
    ) throws -> (header: Header, end: End) {
        let damaged = BackupError(.damaged, "\(path): the log of changes is damaged or cut off")
        let file = try StoredFileReader(path, keys: keys, range: part.range)
        let digest = Digest(.sha256)
        var piece = UnsafeRawBufferPointer(start: nil, count: 0)
        func take(_ count: Int, hashed: Bool = true) throws -> [UInt8] {
            var out: [UInt8] = []
            out.reserveCapacity(count)
            while out.count < count {
                if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(path)") }
                if piece.isEmpty { piece = try file.next() }
                guard !piece.isEmpty else { throw damaged }
                let n = min(piece.count, count - out.count)
                out.append(contentsOf: piece[..<n])
                piece = UnsafeRawBufferPointer(rebasing: piece[n...])
            }
            if hashed { digest.update(out) }
            return out
        }
        func signed(_ bytes: [UInt8], _ at: Int) throws -> Int64 {
            let value = Int64(bitPattern: littleEndianNumber(bytes, at, 8))
            guard value >= 0 else { throw damaged }
            return value
        }
        let head = try take(headerBytes)
        guard head.starts(with: magic) else { throw damaged }
        let header = Header(
            clusterID: littleEndianNumber(head, 8, 8), number: littleEndianNumber(head, 16, 8),
            after: try signed(head, 24), started: try signed(head, 32), previous: Array(head[40..<72]))
        var revision = header.after
        var records: UInt64 = 0
        while true {
            let length = UInt32(littleEndianNumber(try take(4), 0, 4))
            if length == endMark { break }
            guard length >= 20, length <= maxRecordBytes else { throw damaged }
            let bytes = try take(Int(length))
            var record = Record(revision: try signed(bytes, 0), time: try signed(bytes, 8), changes: [])
            var at = 20
            for _ in 0..<littleEndianNumber(bytes, 16, 4) {
                guard bytes.count - at >= 5, bytes[at] <= 1 else { throw damaged }
                let count = Int(littleEndianNumber(bytes, at + 1, 4))
                guard bytes.count - at - 5 >= count else { throw damaged }
                record.changes.append(
                    Change(isDelete: bytes[at] == 1, keyValue: Array(bytes[at + 5..<at + 5 + count])))
                at += 5 + count
            }
            guard at == bytes.count, record.revision > revision else { throw damaged }
            revision = record.revision
            records += 1
            try body(record)
        }
        let tail = try take(24)
        let computed = digest.finalize()
        let sha256 = try take(32, hashed: false)
        if piece.isEmpty { piece = try file.next() }
        let end = End(
            revision: try signed(tail, 0), time: try signed(tail, 8), records: littleEndianNumber(tail, 16, 8),
            sha256: sha256)
        guard sha256 == computed, piece.isEmpty, end.revision >= revision, end.records == records,
            hexadecimal(file.finishHash().prefix(hashBytes)) == part.hash
        else { throw damaged }
        return (header, end)
    }
}
