import Glibc
import Platform

/// Only one backup at a time works in a directory, over all processes. Held until it goes.
final class BackupLock: Sendable {
    private let fd: Int32

    init(directory: String) throws {
        let path = directory + "/.kops-backup.lock"
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw FileError("write", path) }
        // A child process that is just being started holds whatever its parent holds, until it runs its program.
        var taken = flock(fd, LOCK_EX | LOCK_NB) == 0
        for _ in 0..<10 where !taken {
            usleep(20_000)
            taken = flock(fd, LOCK_EX | LOCK_NB) == 0
        }
        guard taken else {
            var buffer = [UInt8](repeating: 0, count: 32)
            let n = pread(fd, &buffer, buffer.count, 0)
            let holder = String(decoding: buffer.prefix(max(0, n)), as: UTF8.self)
            close(fd)
            throw BackupError(
                .busy, "another backup is under way in \(directory) (process \(holder)): wait for it to end")
        }
        ftruncate(fd, 0)
        let text = Array("\(getpid())".utf8)
        pwrite(fd, text, text.count, 0)
    }

    deinit { close(fd) }
}
