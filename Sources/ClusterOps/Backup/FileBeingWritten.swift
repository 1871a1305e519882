import Glibc
import Platform

/// A file under a temporary name that becomes `path` only by `commit`. Hashes what is written. For one thread at a time,
/// which the unchecked conformance rests on.
final class FileBeingWritten: @unchecked Sendable {
    let path: String
    let temporary: String
    private var fd: Int32
    private let digest = Digest(.sha256)
    private(set) var bytes: Int64 = 0
    private var unsynced = 0

    /// `temporary` is `path` with `.part` behind it unless given.
    init(_ path: String, temporary: String? = nil, mode: mode_t = 0o600) throws {
        self.path = path
        self.temporary = temporary ?? path + ".part"
        fd = open(self.temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode)
        guard fd >= 0 else { throw FileError("write", self.temporary) }
    }

    deinit { if fd >= 0 { close(fd) } }

    func write(_ piece: UnsafeRawBufferPointer) throws {
        var rest = piece
        while !rest.isEmpty {
            let n = Glibc.write(fd, rest.baseAddress, rest.count)
            if n < 0 {
                if errno == EINTR { continue }
                throw FileError("write", temporary)
            }
            rest = UnsafeRawBufferPointer(rebasing: rest[n...])
        }
        digest.update(piece)
        bytes += Int64(piece.count)
        // Has the disk begin early, so that the sync at the end is short.
        unsynced += piece.count
        if unsynced >= 8 << 20 {
            posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
            unsynced = 0
        }
    }

    /// Makes all of it durable under the temporary name and gives its SHA-256. Nothing may be written afterwards.
    func sync() throws -> [UInt8] {
        if fsync(fd) != 0 { throw FileError("sync", temporary) }
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED)
        if close(fd) != 0 {
            fd = -1
            throw FileError("close", temporary)
        }
        fd = -1
        return digest.finalize()
    }

    /// Syncs unless that is done, renames, syncs the directory. With `isNew` an error of EEXIST where the name is taken.
    func commit(isNew: Bool = false) throws {
        if fd >= 0 { _ = try sync() }
        if isNew {
            try FileSystem.renameToFree(temporary, to: path)
        } else {
            try FileSystem.rename(temporary, to: path)
        }
        try AtomicFile.syncDirectory(FileSystem.parent(of: path))
    }

    func discard() {
        if fd >= 0 {
            close(fd)
            fd = -1
        }
        unlink(temporary)
    }
}
