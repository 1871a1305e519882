import Etcd
import Platform

/// The pages in which a snapshot differs from the one it builds on; docs/backup-format.md gives the layout byte by byte.
enum PageDelta {
    static let magic = Array("KOPSDLT1".utf8)
    static let headerBytes = 64
    static let runHeaderBytes = 12
    static let endOfRuns = UInt64.max

    struct Header: Sendable, Equatable {
        var pageSize: Int
        /// Bytes of the database that is built on.
        var parentBytes: Int64
        var parentSHA256: [UInt8]

        var encoded: [UInt8] {
            PageDelta.magic + littleEndian(UInt64(pageSize), 4) + littleEndian(0, 4)
                + littleEndian(UInt64(parentBytes), 8) + littleEndian(0, 8) + parentSHA256
        }
    }
}

/// Cuts a stream into pages. For one thread at a time.
final class PageSplitter {
    private let pageSize: Int
    private let body: (UnsafeRawBufferPointer) throws -> Void
    /// What has come of a page that is not whole yet.
    private(set) var rest: [UInt8] = []

    init(_ pageSize: Int, _ body: @escaping (UnsafeRawBufferPointer) throws -> Void) {
        self.pageSize = pageSize
        self.body = body
        rest.reserveCapacity(pageSize)
    }

    func take(_ bytes: UnsafeRawBufferPointer) throws {
        var bytes = bytes
        if !rest.isEmpty {
            let n = min(bytes.count, pageSize - rest.count)
            rest.append(contentsOf: bytes[..<n])
            bytes = UnsafeRawBufferPointer(rebasing: bytes[n...])
            guard rest.count == pageSize else { return }
            try rest.withUnsafeBytes { try body($0) }
            rest.removeAll(keepingCapacity: true)
        }
        while bytes.count >= pageSize {
            try body(UnsafeRawBufferPointer(rebasing: bytes[..<pageSize]))
            bytes = UnsafeRawBufferPointer(rebasing: bytes[pageSize...])
        }
        rest.append(contentsOf: bytes)
    }
}

/// A page's Poly1305, as a pair of numbers.
struct PageHash: Equatable {
    var high: UInt64
    var low: UInt64
}

/// Hashes pages under a key of one index. For one thread at a time.
final class PageHasher {
    private let secret: SecretHash

    init(key: [UInt8]) throws { secret = try SecretHash(key: key) }

    func hash(_ page: UnsafeRawBufferPointer) throws -> PageHash {
        var hash = PageHash(high: 0, low: 0)
        try withUnsafeMutableBytes(of: &hash) { try secret.hash(page, into: $0) }
        return hash
    }
}

/// Picks the changed pages out of a snapshot that streams by and hands them on as a delta. For one thread at a time.
final class PageDeltaWriter {
    /// More than the given share of all pages changed: a full backup is the better one.
    struct TooMuchChanged: Error {}

    private let header: PageDelta.Header
    private let parent: PageIndexReader
    private let hasher: PageHasher
    private let index: PageIndexWriter?
    private let maxChanged: Int64
    private let sink: (UnsafeRawBufferPointer) throws -> Void
    private var splitter: PageSplitter?
    private var number: UInt64 = 0
    private var runStart: UInt64 = 0
    private var run: [UInt8] = []
    private(set) var changedPages: Int64 = 0
    private static let maxRunBytes = 256 << 10

    /// `maxChanged` pages may differ. `index`, where given, gets the new snapshot's page hashes; it has the parent's key.
    init(
        _ header: PageDelta.Header, parent: PageIndexReader, index: PageIndexWriter?, maxChanged: Int64,
        sink: @escaping (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        self.header = header
        self.parent = parent
        hasher = try PageHasher(key: parent.key)
        self.index = index
        self.maxChanged = maxChanged
        self.sink = sink
        try header.encoded.withUnsafeBytes { try sink($0) }
        splitter = PageSplitter(header.pageSize) { [unowned self] in try take($0) }
    }

    /// Takes the next bytes of the snapshot file, its checksum last.
    func write(_ bytes: UnsafeRawBufferPointer) throws { try splitter?.take(bytes) }

    private func take(_ bytes: UnsafeRawBufferPointer) throws {
        let hash = try hasher.hash(bytes)
        try index?.append(hash)
        if try parent.nextIs(hash) {
            try flush()
        } else {
            if run.isEmpty { runStart = number }
            run.append(contentsOf: bytes)
            changedPages += 1
            if changedPages > maxChanged { throw TooMuchChanged() }
            if run.count + header.pageSize > PageDeltaWriter.maxRunBytes { try flush() }
        }
        number += 1
    }

    private func flush() throws {
        guard !run.isEmpty else { return }
        let count = UInt64(run.count / header.pageSize)
        try (littleEndian(runStart, 8) + littleEndian(count, 4)).withUnsafeBytes { try sink($0) }
        try run.withUnsafeBytes { try sink($0) }
        run.removeAll(keepingCapacity: true)
    }

    /// What is left behind the last whole page is the snapshot's checksum.
    func finish() throws {
        try flush()
        let rest = splitter?.rest ?? []
        guard rest.count == SnapshotFile.checksumBytes else {
            throw BackupError(.failed, "the snapshot is not made of pages of \(header.pageSize) bytes and a checksum")
        }
        let end =
            littleEndian(PageDelta.endOfRuns, 8) + littleEndian(0, 4)
            + littleEndian(number * UInt64(header.pageSize), 8) + rest
        try end.withUnsafeBytes { try sink($0) }
    }
}

/// Reads a delta run by run. For one thread at a time.
final class PageDeltaReader {
    let header: PageDelta.Header
    private let source: any ByteSource
    private let path: String
    private var piece = UnsafeRawBufferPointer(start: nil, count: 0)
    /// The run at hand: where it begins in the database, in bytes, and how many of its bytes are still to come.
    private(set) var offset: Int64 = 0
    private(set) var left: Int64 = 0
    private(set) var isAtEnd = false
    /// Known at the end: bytes of the new database, and its SHA-256.
    private(set) var databaseBytes: Int64 = 0
    private(set) var sha256: [UInt8] = []

    init(_ source: any ByteSource, path: String) throws {
        self.source = source
        self.path = path
        var reader = PieceReader(source, path)
        let bytes = try reader.take(PageDelta.headerBytes)
        let size = littleEndianNumber(bytes, 8, 4)
        let parentBytes = littleEndianNumber(bytes, 16, 8)
        guard bytes.starts(with: PageDelta.magic), (512...65536).contains(size), size & (size - 1) == 0,
            parentBytes < 1 << 50, littleEndianNumber(bytes, 12, 4) == 0, littleEndianNumber(bytes, 24, 8) == 0
        else { throw BackupError(.damaged, "\(path) holds no changed pages, or its beginning is damaged") }
        header = PageDelta.Header(
            pageSize: Int(size), parentBytes: Int64(parentBytes), parentSHA256: Array(bytes[32..<64]))
        piece = reader.piece
        try nextRun()
    }

    /// Up to `limit` bytes of the run at hand, valid until the next call.
    func take(_ limit: Int64) throws -> UnsafeRawBufferPointer {
        if piece.isEmpty { piece = try source.next() }
        guard !piece.isEmpty else { throw cutOff }
        let n = Int(min(Int64(piece.count), left, limit))
        let out = UnsafeRawBufferPointer(rebasing: piece[..<n])
        piece = UnsafeRawBufferPointer(rebasing: piece[n...])
        left -= Int64(n)
        offset += Int64(n)
        return out
    }

    /// Goes to the next run once the one at hand is used up.
    func nextRun() throws {
        var reader = PieceReader(source, path, piece)
        let head = try reader.take(PageDelta.runHeaderBytes)
        let first = littleEndianNumber(head, 0, 8)
        let count = littleEndianNumber(head, 8, 4)
        if first == PageDelta.endOfRuns {
            let end = try reader.take(40)
            databaseBytes = Int64(bitPattern: littleEndianNumber(end, 0, 8))
            sha256 = Array(end[8..<40])
            isAtEnd = true
            piece = reader.piece
            if piece.isEmpty { piece = try source.next() }
            guard piece.isEmpty, databaseBytes >= offset, databaseBytes % Int64(header.pageSize) == 0 else {
                throw damaged
            }
            return
        }
        piece = reader.piece
        guard count > 0, first < 1 << 40, Int64(first) * Int64(header.pageSize) >= offset else { throw damaged }
        offset = Int64(first) * Int64(header.pageSize)
        left = Int64(count) * Int64(header.pageSize)
    }

    private var cutOff: BackupError { BackupError(.damaged, "\(path): the changed pages are cut off") }
    private var damaged: BackupError { BackupError(.damaged, "\(path): the changed pages are damaged") }
}

/// Takes fixed counts of bytes from a source of pieces.
private struct PieceReader {
    let source: any ByteSource
    let path: String
    var piece: UnsafeRawBufferPointer

    init(_ source: any ByteSource, _ path: String, _ piece: UnsafeRawBufferPointer = .init(start: nil, count: 0)) {
        self.source = source
        self.path = path
        self.piece = piece
    }

    mutating func take(_ count: Int) throws -> [UInt8] {
        var out: [UInt8] = []
        while out.count < count {
            if piece.isEmpty { piece = try source.next() }
            guard !piece.isEmpty else { throw BackupError(.damaged, "\(path): the changed pages are cut off") }
            let n = min(piece.count, count - out.count)
            out.append(contentsOf: piece[..<n])
            piece = UnsafeRawBufferPointer(rebasing: piece[n...])
        }
        return out
    }
}

/// A snapshot put together from the one below and the pages that changed: both are read front to back, once, so memory does
/// not grow with either. Gives the new snapshot file's bytes, its checksum last.
final class PageDeltaMerge: ByteSource {
    private let below: any ByteSource
    private let delta: PageDeltaReader
    private var piece = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Bytes of the database below that are still to come; its checksum is not part of it.
    private var belowLeft: Int64
    private var position: Int64 = 0
    private var checksumGiven = false
    private let held = UnsafeMutableRawBufferPointer.allocate(byteCount: 32, alignment: 8)

    init(below: any ByteSource, delta: PageDeltaReader) {
        self.below = below
        self.delta = delta
        belowLeft = delta.header.parentBytes
    }

    deinit { held.deallocate() }

    func next() throws -> UnsafeRawBufferPointer {
        while !delta.isAtEnd, delta.left == 0 { try delta.nextRun() }
        let until = delta.isAtEnd ? delta.databaseBytes : delta.offset
        if position < until { return try fromBelow(until - position) }
        if !delta.isAtEnd {
            let out = try delta.take(.max)
            position += Int64(out.count)
            try skip(Int64(out.count))
            return out
        }
        guard !checksumGiven else { return UnsafeRawBufferPointer(start: nil, count: 0) }
        checksumGiven = true
        // A piece must stay valid until the next call.
        held.copyBytes(from: delta.sha256)
        return UnsafeRawBufferPointer(held)
    }

    private func fromBelow(_ limit: Int64) throws -> UnsafeRawBufferPointer {
        guard belowLeft > 0 else { throw BackupError(.damaged, "pages are missing between two backups of a chain") }
        if piece.isEmpty { piece = try below.next() }
        guard !piece.isEmpty else { throw BackupError(.damaged, "the backup that others build on is too short") }
        let n = Int(min(Int64(piece.count), limit, belowLeft))
        let out = UnsafeRawBufferPointer(rebasing: piece[..<n])
        piece = UnsafeRawBufferPointer(rebasing: piece[n...])
        belowLeft -= Int64(n)
        position += Int64(n)
        return out
    }

    /// Passes over pages below that the delta replaces.
    private func skip(_ count: Int64) throws {
        var left = min(count, belowLeft)
        belowLeft -= left
        while left > 0 {
            if piece.isEmpty { piece = try below.next() }
            guard !piece.isEmpty else { throw BackupError(.damaged, "the backup that others build on is too short") }
            let n = Int(min(Int64(piece.count), left))
            piece = UnsafeRawBufferPointer(rebasing: piece[n...])
            left -= Int64(n)
        }
    }
}
