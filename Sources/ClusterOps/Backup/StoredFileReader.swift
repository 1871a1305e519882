import Glibc
import Platform

/// A file of a backup as a stream of what is in it: opened where it is sealed, inflated where it is gzip. For one thread.
final class StoredFileReader {
    let path: String
    let fileSize: Int64
    private(set) var fileBytes: Int64 = 0
    private let fd: Int32
    private let digest = Digest(.sha256)
    private let keys: SealingKeys?

    init(_ path: String, keys: SealingKeys?) throws {
        self.path = path
        self.keys = keys
        fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("read", path) }
        fileSize = Int64(lseek(fd, 0, SEEK_END))
        lseek(fd, 0, SEEK_SET)
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL)
    }

    deinit { close(fd) }

    /// Hands all contents on, piece by piece.
    func forEach(_ body: (UnsafeRawBufferPointer) throws -> Void) throws {
        var head = [UInt8](repeating: 0, count: 2)
        let n = pread(fd, &head, 2, 0)
        if n == 2 && head == [0x1f, 0x8b] {
            let reader = try GzipReader { [self] in try raw($0) }
            while true {
                let piece: UnsafeRawBufferPointer
                do { piece = try reader.next() } catch let error as CompressionError {
                    throw BackupError(.damaged, "\(path): \(error)")
                }
                if piece.isEmpty { return }
                try body(piece)
            }
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
        defer { buffer.deallocate() }
        while true {
            let n = try raw(buffer)
            if n == 0 { return }
            try body(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
        }
    }

    /// SHA-256 of the file as it was read; call it once, last.
    func finishHash() -> [UInt8] { digest.finalize() }

    private func raw(_ buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            let n = read(fd, buffer.baseAddress, buffer.count)
            if n < 0 {
                if errno == EINTR { continue }
                throw FileError("read", path)
            }
            digest.update(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
            fileBytes += Int64(n)
            return n
        }
    }
}

/// Keys that open sealed backups.
package struct SealingKeys: Sendable {
    init(file: String) throws {}
}
