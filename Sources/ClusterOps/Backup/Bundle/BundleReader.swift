import Glibc
import Platform

/// Reads the files of the node that lie beside a snapshot: a gzip tar archive, sealed or not.
enum BundleReader {
    /// Hands each entry, in the archive's order, to `body`, with a reader of its contents: it fills a buffer and
    /// returns how many bytes, 0 at the end; what is not read is passed over. Throws where the archive is damaged, and at
    /// the end where the file does not match the hash in its manifest: nothing that was read counts then.
    static func forEach(
        _ part: SnapshotSource.Part, keys: SealingKeys?, isCancelled: () -> Bool = { false },
        _ body: (TarEntry, (UnsafeMutableRawBufferPointer) throws -> Int) throws -> Void
    ) throws {
        let file = try StoredFileReader(part.path, keys: keys)
        let reader = TarReader(file, path: part.path)
        while let entry = try reader.nextEntry() {
            if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(part.path)") }
            try body(entry, reader.read)
        }
        try file.forEach { _ in }
        try StoredSnapshot.check(part, file)
    }

    /// Proves that a bundle lies on the disk as it was written, and can be walked to its end where it can be opened.
    static func readBack(_ path: String, _ written: BackupManifest.File, keys: SealingKeys?, isSealed: Bool) throws {
        let isOpenable = keys != nil || !isSealed
        let file = try StoredFileReader(path, keys: keys, opensNothing: !isOpenable)
        if isOpenable {
            let reader = TarReader(file, path: path)
            while try reader.nextEntry() != nil {}
        }
        try file.forEach { _ in }
        guard file.fileBytes == written.bytes, hexadecimal(file.finishHash()) == written.sha256 else {
            throw BackupError(
                .damaged, "\(path) reads back otherwise than it was written: the disk is not to be trusted")
        }
    }
}

/// Walks a tar stream. For one thread at a time.
final class TarReader {
    private let source: any ByteSource
    private let path: String
    private var piece = UnsafeRawBufferPointer(start: nil, count: 0)
    private var left: Int64 = 0
    private var padding = 0
    private var ended = false

    init(_ source: any ByteSource, path: String) {
        self.source = source
        self.path = path
    }

    func nextEntry() throws -> TarEntry? {
        if ended { return nil }
        try skip(left + Int64(padding))
        left = 0
        padding = 0
        var extra: [String: String] = [:]
        while true {
            let header = try take(TarFormat.block)
            if header.allSatisfy({ $0 == 0 }) {
                ended = true
                return nil
            }
            guard let (parsed, type) = TarFormat.parse(header) else { throw damaged }
            if type == TarFormat.pax {
                guard parsed.size <= TarFormat.maxPaxBytes else { throw damaged }
                let bytes = try take(Int(parsed.size))
                try skip(Int64(TarFormat.padding(parsed.size).count))
                guard let records = TarFormat.parsePax(bytes) else { throw damaged }
                extra = records
                continue
            }
            guard TarEntry.Kind(rawValue: type) != nil else {
                throw BackupError(.damaged, "\(path): an entry of kind \(type), which no bundle holds")
            }
            var entry = parsed
            if let text = extra["path"] { entry.path = text }
            if let text = extra["linkpath"] { entry.target = text }
            if let text = extra["size"], let size = Int64(text), size >= 0 { entry.size = size }
            if let text = extra["uid"], let owner = UInt32(text) { entry.owner = owner }
            if let text = extra["gid"], let group = UInt32(text) { entry.group = group }
            if entry.kind == .directory, entry.path.hasSuffix("/") { entry.path.removeLast() }
            // Nothing may leave the place that a bundle is unpacked into.
            guard !entry.path.isEmpty, !entry.path.hasPrefix("/"), !entry.path.split(separator: "/").contains("..")
            else {
                throw BackupError(.damaged, "\(path): the entry \(entry.path) would leave its place")
            }
            left = entry.kind == .file ? entry.size : 0
            padding = TarFormat.padding(left).count
            return entry
        }
    }

    /// Contents of the entry at hand; 0 at its end.
    func read(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard left > 0, !buffer.isEmpty else { return 0 }
        try refill()
        let n = Int(min(Int64(min(buffer.count, piece.count)), left))
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: piece[..<n]))
        piece = UnsafeRawBufferPointer(rebasing: piece[n...])
        left -= Int64(n)
        return n
    }

    private var damaged: BackupError { BackupError(.damaged, "\(path): the archive is damaged or cut off") }

    private func refill() throws {
        if piece.isEmpty { piece = try source.next() }
        guard !piece.isEmpty else { throw damaged }
    }

    private func take(_ count: Int) throws -> [UInt8] {
        var out: [UInt8] = []
        while out.count < count {
            try refill()
            let n = min(piece.count, count - out.count)
            out.append(contentsOf: piece[..<n])
            piece = UnsafeRawBufferPointer(rebasing: piece[n...])
        }
        return out
    }

    private func skip(_ count: Int64) throws {
        var count = count
        while count > 0 {
            try refill()
            let n = Int(min(Int64(piece.count), count))
            piece = UnsafeRawBufferPointer(rebasing: piece[n...])
            count -= Int64(n)
        }
    }
}
