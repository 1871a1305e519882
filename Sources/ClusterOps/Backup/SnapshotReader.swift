import Etcd
import Glibc
import Platform

/// Reads a stored snapshot back: hashes the file as it lies there, inflates it, and hands the snapshot on.
enum SnapshotReader {
    struct Result: Sendable {
        var fileBytes: Int64
        var fileSHA256: [UInt8]
        var summary: SnapshotSummary
    }

    /// The whole of a gzip snapshot, or a plain one. `consume` gets the snapshot file's bytes, its checksum last.
    static func read(
        _ path: String, isCancelled: () -> Bool, progress: ByteProgress? = nil,
        consume: ((UnsafeRawBufferPointer) throws -> Void)? = nil
    ) throws -> Result {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("read", path) }
        defer { close(fd) }
        let total = Int64(lseek(fd, 0, SEEK_END))
        lseek(fd, 0, SEEK_SET)
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL)
        let digest = Digest(.sha256)
        var fileBytes: Int64 = 0
        var checker = SnapshotChecker()
        let reader = try GzipReader { buffer in
            while true {
                let n = Glibc.read(fd, buffer.baseAddress, buffer.count)
                if n < 0 {
                    if errno == EINTR { continue }
                    throw FileError("read", path)
                }
                digest.update(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
                fileBytes += Int64(n)
                return n
            }
        }
        while true {
            if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(path)") }
            let piece: UnsafeRawBufferPointer
            do {
                piece = try reader.next()
            } catch let error as CompressionError {
                throw BackupError(.damaged, "\(path): \(error)")
            }
            if piece.isEmpty { break }
            checker.feed(piece)
            try consume?(piece)
            progress?(fileBytes, total)
        }
        return Result(fileBytes: fileBytes, fileSHA256: digest.finalize(), summary: checker.finish())
    }
}
