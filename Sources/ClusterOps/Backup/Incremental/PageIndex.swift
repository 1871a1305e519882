import Glibc
import Platform

/// Hashes of all pages of the newest snapshot, kept beside the backups under a hidden name: what the next incremental backup
/// is compared with. Losing it costs one full backup. It is no part of any backup.
///
/// Layout: `KOPSPIX3`, page size (4 bytes), four zero bytes, the database's SHA-256 (32), its length (8), a random key (32), then
/// each page's Poly1305 under that key (16); at the end the first 16 bytes of the SHA-256 of all before, the header
/// last. Numbers are little-endian. The file is as secret as the database: who reads it could make pages that look alike.
enum PageIndex {
    static let magic = Array("KOPSPIX3".utf8)
    static let headerBytes = 88
    static let keyBytes = SecretHash.keyBytes
    static let hashBytes = SecretHash.hashBytes

    static func path(_ directory: String, _ cluster: String) -> String {
        "\(directory)/.kops-pages-\(BackupName.clean(cluster))"
    }
}

/// Writes an index under a temporary name; `commit` puts it in place of the old one. For one thread at a time.
final class PageIndexWriter {
    private let path: String
    private let temporary: String
    private let pageSize: Int
    let key: [UInt8]
    private let fd: Int32
    private var buffer: [UInt8] = []
    private var pages: Int64 = 0
    private let digest = Digest(.sha256)

    /// `key` is that of the index it is compared with; nil makes a new one.
    init(_ path: String, pageSize: Int, key: [UInt8]? = nil) throws {
        self.path = path
        self.pageSize = pageSize
        self.key = try key ?? randomBytes(PageIndex.keyBytes)
        // Its own, even in this process: the one of an attempt that was given up is removed when its object goes.
        temporary = "\(path).\(DestinationName.token()).part"
        fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw FileError("write", temporary) }
        // The header is known at the end only.
        lseek(fd, off_t(PageIndex.headerBytes), SEEK_SET)
    }

    deinit {
        close(fd)
        unlink(temporary)
    }

    func append(_ hash: PageHash) throws {
        withUnsafeBytes(of: hash) { buffer.append(contentsOf: $0) }
        pages += 1
        if buffer.count >= 256 << 10 { try flush() }
    }

    private func flush() throws {
        digest.update(buffer)
        try AtomicFile.writeAll(buffer, to: fd, path: temporary)
        buffer.removeAll(keepingCapacity: true)
    }

    /// It need not outlive a power failure, so that nothing is synced: a damaged index is found out by its checksum.
    func commit(databaseSHA256: [UInt8]) throws {
        try flush()
        let header =
            PageIndex.magic + littleEndian(UInt64(pageSize), 4) + littleEndian(0, 4) + databaseSHA256
            + littleEndian(UInt64(pages) * UInt64(pageSize), 8) + key
        digest.update(header)
        try AtomicFile.writeAll(Array(digest.finalize().prefix(PageIndex.hashBytes)), to: fd, path: temporary)
        lseek(fd, 0, SEEK_SET)
        try AtomicFile.writeAll(header, to: fd, path: temporary)
        try FileSystem.rename(temporary, to: path)
    }
}

/// Reads an index page by page. For one thread at a time.
final class PageIndexReader {
    let pageSize: Int
    let databaseSHA256: [UInt8]
    let databaseBytes: Int64
    let key: [UInt8]
    private let fd: Int32
    private let path: String
    private var buffer: [UInt8] = []
    private var position = 0
    private var left: Int64

    /// Nil where there is none, or it is damaged: its checksum is proven first.
    init?(_ path: String) {
        self.path = path
        fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return nil }
        let length = Int64(lseek(fd, 0, SEEK_END))
        lseek(fd, 0, SEEK_SET)
        var header = [UInt8](repeating: 0, count: PageIndex.headerBytes)
        guard read(fd, &header, header.count) == header.count, header.starts(with: PageIndex.magic) else {
            close(fd)
            return nil
        }
        pageSize = Int(littleEndianNumber(header, 8, 4))
        databaseSHA256 = Array(header[16..<48])
        databaseBytes = Int64(bitPattern: littleEndianNumber(header, 48, 8))
        key = Array(header[56..<88])
        guard (512...65536).contains(pageSize), databaseBytes > 0, databaseBytes < 1 << 50,
            databaseBytes % Int64(pageSize) == 0
        else {
            close(fd)
            return nil
        }
        left = databaseBytes / Int64(pageSize)
        let hashes = left * Int64(PageIndex.hashBytes)
        guard length == Int64(PageIndex.headerBytes) + hashes + Int64(PageIndex.hashBytes),
            PageIndexReader.isWhole(fd, header, hashes)
        else {
            close(fd)
            return nil
        }
        lseek(fd, off_t(PageIndex.headerBytes), SEEK_SET)
    }

    deinit { close(fd) }

    private static func isWhole(_ fd: Int32, _ header: [UInt8], _ hashes: Int64) -> Bool {
        let digest = Digest(.sha256)
        var buffer = [UInt8](repeating: 0, count: 256 << 10)
        var left = hashes
        while left > 0 {
            let n = read(fd, &buffer, Int(min(left, Int64(buffer.count))))
            guard n > 0 else { return false }
            digest.update(Array(buffer[..<n]))
            left -= Int64(n)
        }
        digest.update(header)
        var sum = [UInt8](repeating: 0, count: PageIndex.hashBytes)
        return read(fd, &sum, sum.count) == sum.count && sum == Array(digest.finalize().prefix(sum.count))
    }

    /// Whether the next page has this hash; false for pages beyond the end.
    func nextIs(_ hash: PageHash) throws -> Bool {
        guard left > 0 else { return false }
        if position == buffer.count {
            let wanted = Int(min(left * Int64(PageIndex.hashBytes), 256 << 10))
            if buffer.count != wanted { buffer = [UInt8](repeating: 0, count: wanted) }
            var done = 0
            while done < wanted {
                let n = buffer.withUnsafeMutableBytes { read(fd, $0.baseAddress.map { $0 + done }, wanted - done) }
                guard n > 0 else { throw FileError("read", path) }
                done += n
            }
            position = 0
        }
        defer {
            position += PageIndex.hashBytes
            left -= 1
        }
        return buffer.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: position, as: PageHash.self) } == hash
    }
}
