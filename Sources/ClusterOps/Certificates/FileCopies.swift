import Glibc
import Platform

/// Copies of small directory trees with modes and owners. Calls block.
enum FileCopies {
    /// Copies all below `from`, the directory `skipping` (a name at its top) excepted. Synced; nothing under the final name is
    /// ever partial. Throws where it holds more than `maxBytes`.
    static func copyTree(_ from: String, to: String, skipping: String, maxBytes: Int64 = 256 << 20) throws {
        if try FileSystem.status(to) != nil { return }
        let aside = to + ".part"
        try FileSystem.removeTree(aside)
        var left = maxBytes
        try copy(from, aside, skipping: skipping, &left)
        try FileSystem.rename(aside, to: to)
        try AtomicFile.syncDirectory(FileSystem.parent(of: to))
    }

    private static func copy(_ from: String, _ to: String, skipping: String?, _ left: inout Int64) throws {
        guard let status = try FileSystem.status(from, followLinks: false) else { return }
        if status.isDirectory {
            if mkdir(to, 0o700) != 0 { throw FileError("make directory", to) }
            for name in try FileSystem.list(from) where name != skipping {
                try copy(from + "/" + name, to + "/" + name, skipping: nil, &left)
            }
            try own(to, status)
            try AtomicFile.syncDirectory(to)
        } else if status.isSymbolicLink {
            var buffer = [CChar](repeating: 0, count: 4096)
            let n = readlink(from, &buffer, buffer.count - 1)
            guard n >= 0 else { throw FileError("read", from) }
            if symlink(buffer, to) != 0 { throw FileError("make", to) }
        } else if status.isRegular {
            left -= status.size
            guard left >= 0 else {
                throw RenewalError("\(from): the directory holds more than is copied: move what is not kubeadm's away")
            }
            try write(try FileSystem.read(from, maxBytes: Int(max(1, left + status.size))), to: to, like: status)
        }
    }

    /// Writes a file with another's mode and owner.
    static func write(_ bytes: [UInt8], to path: String, like status: FileSystem.Status) throws {
        try AtomicFile.write(bytes, to: path, mode: status.mode & 0o7777)
        if geteuid() == 0, chown(path, status.owner, status.group) != 0 { throw FileError("change the owner of", path) }
    }

    private static func own(_ path: String, _ status: FileSystem.Status) throws {
        if chmod(path, status.mode & 0o7777) != 0 { throw FileError("set the mode of", path) }
        if geteuid() == 0, chown(path, status.owner, status.group) != 0 { throw FileError("change the owner of", path) }
    }

    /// Puts the file back as the copy has it; true where it differed.
    static func putBack(_ path: String, from copy: String) throws -> Bool {
        guard let status = try FileSystem.status(copy) else {
            // It was not there before.
            guard FileSystem.exists(path) else { return false }
            try FileSystem.removeFile(path)
            return true
        }
        let old = try FileSystem.read(copy, maxBytes: 16 << 20)
        if let now = try? FileSystem.read(path, maxBytes: 16 << 20), now == old { return false }
        try write(old, to: path, like: status)
        return true
    }
}
