package import Glibc

/// A file whose exclusive lock (flock) is held while the object lives; the kernel lets go of it when the process ends,
/// however it ends. Thread-safe.
package final class FileLock: Sendable {
    /// A child that inherits it holds the lock as well, until it ends.
    package let descriptor: Int32

    /// Nil where somebody else holds it after `patience` milliseconds. A child process that is just being started holds whatever
    /// its parent holds until it runs its program, so the lock of a process that was killed may look taken for a moment.
    package init?(_ path: String, mode: mode_t = 0o600, patience: Int = 0) throws(FileError) {
        // Not yet a member: an initialiser that fails with all members set runs deinit, which would close it again, and by
        // then the number may be another file's.
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, mode)
        guard file >= 0 else { throw FileError("open", path) }
        var waited = 0
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            let code = errno
            if code == EINTR { continue }
            guard code == EWOULDBLOCK else {
                close(file)
                throw FileError("lock", path, code)
            }
            guard waited < patience else {
                close(file)
                return nil
            }
            usleep(20_000)
            waited += 20
        }
        descriptor = file
    }

    deinit {
        // Said and not only closed: a child that is just being started has the file too, until it runs its program.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}
