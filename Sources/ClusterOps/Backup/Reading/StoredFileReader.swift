import Glibc
import Platform

/// Bytes that are pulled piece by piece.
protocol ByteSource: AnyObject {
    /// The next piece, valid until the next call; empty at the end.
    func next() throws -> UnsafeRawBufferPointer
}

/// A file of a backup as a stream of what is in it: opened where it is sealed, inflated where it is gzip. For one thread.
final class StoredFileReader: ByteSource {
    let path: String
    let fileSize: Int64
    private(set) var fileBytes: Int64 = 0
    let isSealed: Bool
    private let fd: Int32
    private let digest = Digest(.sha256)
    private let keys: SealingKeys?
    private let opensNothing: Bool
    private var opener: SealReader?
    private var inflater: GzipReader?
    /// For files of our own, whose members say how long they are.
    private var parallel: ParallelGzipReader?
    private var started = false
    /// Bytes that were read to see what the stream is.
    private var head: [UInt8] = []
    /// Bytes of the file that are left to read.
    private var left: Int64
    private lazy var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)

    /// `opensNothing` gives the bytes as they lie there. With a `range` these bytes of the file are taken for all of it.
    init(_ path: String, keys: SealingKeys?, opensNothing: Bool = false, range: Range<Int64>? = nil) throws {
        self.path = path
        self.opensNothing = opensNothing
        self.keys = keys
        fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("read", path) }
        let size = Int64(lseek(fd, 0, SEEK_END))
        let from = min(size, range?.lowerBound ?? 0)
        fileSize = min(size, range?.upperBound ?? size) - from
        left = range == nil ? .max : fileSize
        lseek(fd, off_t(from), SEEK_SET)
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL)
        var magic = [UInt8](repeating: 0, count: SealedFile.magic.count)
        let n = pread(fd, &magic, magic.count, off_t(from))
        isSealed = StoredFile.isSealed(path) || (n == magic.count && magic == SealedFile.magic)
    }

    deinit {
        close(fd)
        buffer.deallocate()
    }

    func next() throws -> UnsafeRawBufferPointer {
        if !started { try start() }
        if inflater != nil || parallel != nil {
            do { return try parallel?.next() ?? inflater?.next() ?? ended } catch let error as CompressionError {
                throw BackupError(.damaged, "\(path): \(error)")
            }
        }
        return UnsafeRawBufferPointer(rebasing: buffer[..<(try opened(buffer))])
    }

    /// Hands all contents on, piece by piece.
    func forEach(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        while true {
            let piece = try next()
            if piece.isEmpty { return }
            try body(piece)
        }
    }

    /// SHA-256 of the file as it was read; call it once, last, when `next` has come to the end.
    func finishHash() -> [UInt8] { digest.finalize() }

    private var ended: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

    private func start() throws {
        started = true
        if opensNothing { return }
        if isSealed { opener = try SealReader(path, keys: keys) { [unowned self] in try raw($0) } }
        var magic = [UInt8](repeating: 0, count: GzipMember.headerBytes)
        var n = 0
        try magic.withUnsafeMutableBytes { bytes in
            while n < bytes.count {
                let more = try opened(UnsafeMutableRawBufferPointer(rebasing: bytes[n...]))
                if more == 0 { break }
                n += more
            }
        }
        head = Array(magic[..<n])
        if head.withUnsafeBytes({ GzipMember.lengths($0) }) != nil {
            // Small files are not worth the threads.
            let threads = fileSize > 4 << 20 ? min(8, processorCount()) : 1
            parallel = ParallelGzipReader(threads: threads) { [unowned self] in try opened($0) }
        } else if head.starts(with: [0x1f, 0x8b]) {
            inflater = try GzipReader { [unowned self] in try opened($0) }
        }
    }

    private func opened(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        if !head.isEmpty {
            let n = min(head.count, buffer.count)
            buffer.copyBytes(from: head[..<n])
            head.removeFirst(n)
            return n
        }
        return try opener?.read(buffer) ?? raw(buffer)
    }

    private func raw(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            let n = read(fd, buffer.baseAddress, Int(min(Int64(buffer.count), left)))
            if n < 0 {
                if errno == EINTR { continue }
                throw FileError("read", path)
            }
            digest.update(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
            fileBytes += Int64(n)
            if left != .max { left -= Int64(n) }
            return n
        }
    }
}

extension StoredFile {
    static func isSealed(_ name: String) -> Bool { name.hasSuffix(SealedFile.suffix) }
}
