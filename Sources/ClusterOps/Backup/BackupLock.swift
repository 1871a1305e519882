import Glibc
import Platform

enum BackupLock {
    static func path(_ directory: String) -> String { directory + "/.kops-backup.lock" }

    /// Only one backup at a time is put together in a directory, over all processes: held while the returned lock lives.
    static func take(_ directory: String) throws -> FileLock {
        let path = path(directory)
        guard let lock = try FileLock(path, patience: 200) else {
            let holder = (try? FileSystem.readText(path, maxBytes: 32)) ?? ""
            throw BackupError(
                .busy, "another backup is under way in \(directory) (process \(holder)): wait for it to end")
        }
        ftruncate(lock.descriptor, 0)
        let text = Array("\(getpid())".utf8)
        pwrite(lock.descriptor, text, text.count, 0)
        return lock
    }
}
