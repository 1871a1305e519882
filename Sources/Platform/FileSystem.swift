package import Glibc

/// A call on the file system that failed: what was tried, where, and the system's reason.
package struct FileError: Error, Hashable, CustomStringConvertible {
    package let operation: String
    package let path: String
    package let code: Int32

    package init(_ operation: String, _ path: String, _ code: Int32 = errno) {
        self.operation = operation
        self.path = path
        self.code = code
    }

    package var description: String { "cannot \(operation) \(path): \(systemMessage(code))" }
}

/// The system's text for an error number.
package func systemMessage(_ code: Int32) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Files, blocking. Call it from the worker pool or an own thread where the disk may be slow.
package enum FileSystem {
    /// A new directory of this process' own, for its user alone; its name begins with `prefix`.
    package static func makeTemporaryDirectory(_ prefix: String) throws(FileError) -> String {
        var template = Array((prefix + "XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw FileError("make a directory", prefix + "…") }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    package struct Status: Sendable {
        package var size: Int64
        /// Milliseconds since 1970 UTC.
        package var modified: Int64
        package var mode: mode_t
        package var inode: UInt64
        package var device: UInt64
        package var owner: uid_t
        package var group: gid_t
        package var isDirectory: Bool { mode & S_IFMT == S_IFDIR }
        package var isRegular: Bool { mode & S_IFMT == S_IFREG }
        package var isSymbolicLink: Bool { mode & S_IFMT == S_IFLNK }
    }

    /// Nil where there is nothing under that name.
    package static func status(_ path: String, followLinks: Bool = true) throws(FileError) -> Status? {
        var info = stat()
        guard (followLinks ? stat(path, &info) : lstat(path, &info)) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw FileError("look at", path)
        }
        return Status(
            size: Int64(info.st_size),
            modified: Int64(info.st_mtim.tv_sec) * 1000 + Int64(info.st_mtim.tv_nsec) / 1_000_000,
            mode: info.st_mode, inode: UInt64(info.st_ino), device: UInt64(info.st_dev), owner: info.st_uid,
            group: info.st_gid)
    }

    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// The whole file; an error (EFBIG) where it is larger than `maxBytes`.
    package static func read(_ path: String, maxBytes: Int = 64 << 20) throws(FileError) -> [UInt8] {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("read", path) }
        defer { close(fd) }
        return try read(fd, path: path, maxBytes: maxBytes)
    }

    /// Why this process could not read a file; nil where it could. Nothing is opened, so a pipe does not block.
    package static func problemReading(_ path: String) -> FileError? {
        access(path, R_OK) == 0 ? nil : FileError("read", path)
    }

    /// What is left to read of an open file; it stays open. `path` is what messages call it.
    package static func read(
        _ fd: Int32, path: String = "standard input", maxBytes: Int
    ) throws(FileError) -> [UInt8] {
        var out: [UInt8] = []
        var info = stat()
        if fstat(fd, &info) == 0 {
            if info.st_mode & S_IFMT == S_IFDIR { throw FileError("read", path, EISDIR) }
            out.reserveCapacity(min(maxBytes, max(0, Int(info.st_size))) + 1)
        }
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let n = Glibc.read(fd, &buffer, buffer.count)
            if n == 0 { return out }
            if n < 0 {
                if errno == EINTR { continue }
                throw FileError("read", path)
            }
            out.append(contentsOf: buffer[0..<n])
            if out.count > maxBytes { throw FileError("read", path, EFBIG) }
        }
    }

    /// The file as text; malformed UTF-8 is replaced.
    package static func readText(_ path: String, maxBytes: Int = 64 << 20) throws(FileError) -> String {
        String(decoding: try read(path, maxBytes: maxBytes), as: UTF8.self)
    }

    /// Names in a directory, sorted, without `.` and `..`.
    package static func list(_ path: String) throws(FileError) -> [String] {
        guard let directory = opendir(path) else { throw FileError("list", path) }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Makes the directory and those above it; no error where it is there.
    package static func makeDirectories(_ path: String, mode: mode_t = 0o755) throws(FileError) {
        if let status = try status(path) {
            if status.isDirectory { return }
            throw FileError("make directory", path, ENOTDIR)
        }
        let parent = self.parent(of: path)
        if parent != path && !parent.isEmpty { try makeDirectories(parent, mode: mode) }
        if mkdir(path, mode) != 0 && errno != EEXIST { throw FileError("make directory", path) }
    }

    /// No error where there is nothing under that name.
    package static func removeFile(_ path: String) throws(FileError) {
        if unlink(path) != 0 && errno != ENOENT { throw FileError("remove", path) }
    }

    /// Removes a file, or a directory with all it holds; links are removed, not followed.
    package static func removeTree(_ path: String) throws(FileError) {
        guard let status = try status(path, followLinks: false) else { return }
        guard status.isDirectory else { return try removeFile(path) }
        for name in try list(path) { try removeTree(path + "/" + name) }
        if rmdir(path) != 0 && errno != ENOENT { throw FileError("remove", path) }
    }

    package static func rename(_ from: String, to: String) throws(FileError) {
        if Glibc.rename(from, to) != 0 { throw FileError("rename to \(to) the file", from) }
    }

    /// Gives a file a name that must be free: an error of EEXIST where it is not, and both files stay as they are.
    package static func renameToFree(_ from: String, to: String) throws(FileError) {
        if link(from, to) == 0 {
            try removeFile(from)
            return
        }
        // File systems without hard links: looked at first, which leaves a moment between the two.
        guard [EPERM, EOPNOTSUPP, ENOSYS, EMLINK].contains(errno) else {
            throw FileError("link to \(to) the file", from)
        }
        guard try status(to, followLinks: false) == nil else {
            throw FileError("rename to \(to) the file", from, EEXIST)
        }
        try rename(from, to: to)
    }

    /// Bytes that an unprivileged process can still write on the file system that holds `path`.
    package static func freeBytes(_ path: String) throws(FileError) -> Int64 {
        var info = statvfs()
        guard statvfs(path, &info) == 0 else { throw FileError("look at the file system of", path) }
        return Int64(info.f_bavail) * Int64(info.f_frsize)
    }

    package static func parent(of path: String) -> String {
        var path = Substring(path)
        while path.count > 1, path.hasSuffix("/") { path = path.dropLast() }
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    package static func name(of path: String) -> String {
        var path = Substring(path)
        while path.count > 1, path.hasSuffix("/") { path = path.dropLast() }
        guard let slash = path.lastIndex(of: "/") else { return String(path) }
        return String(path[path.index(after: slash)...])
    }

    /// `path` itself where absolute, else below `directory`.
    package static func resolve(_ path: String, in directory: String) -> String {
        path.hasPrefix("/") ? path : directory == "" || directory == "." ? path : directory + "/" + path
    }

    /// Paths that a shell pattern matches, sorted; none where it matches nothing.
    package static func glob(_ pattern: String) -> [String] {
        var found = glob_t()
        defer { globfree(&found) }
        guard Glibc.glob(pattern, 0, nil, &found) == 0 else { return [] }
        var out: [String] = []
        for i in 0..<Int(found.gl_pathc) {
            if let path = found.gl_pathv[i] { out.append(String(cString: path)) }
        }
        return out
    }
}

/// Writing so that a reader, or a start after a crash, sees the old file or the new one and nothing between.
package enum AtomicFile {
    /// Writes aside, syncs, renames, syncs the directory.
    package static func write(_ bytes: [UInt8], to path: String, mode: mode_t = 0o644) throws(FileError) {
        let aside = path + ".part"
        let fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        guard fd >= 0 else { throw FileError("write", aside) }
        do throws(FileError) {
            try writeAll(bytes, to: fd, path: aside)
            if fchmod(fd, mode) != 0 { throw FileError("set the mode of", aside) }
            if fsync(fd) != 0 { throw FileError("sync", aside) }
        } catch {
            close(fd)
            unlink(aside)
            throw error
        }
        if close(fd) != 0 { throw FileError("close", aside) }
        try FileSystem.rename(aside, to: path)
        try syncDirectory(FileSystem.parent(of: path))
    }

    package static func writeAll(_ bytes: [UInt8], to fd: Int32, path: String) throws(FileError) {
        var done = 0
        while done < bytes.count {
            let n = bytes.withUnsafeBytes { raw in
                Glibc.write(fd, raw.baseAddress.map { $0 + done }, raw.count - done)
            }
            if n < 0 {
                if errno == EINTR { continue }
                throw FileError("write", path)
            }
            done += n
        }
    }

    /// Brings a file's contents to the disk.
    package static func sync(_ path: String) throws(FileError) {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("open", path) }
        defer { close(fd) }
        if fsync(fd) != 0 { throw FileError("sync", path) }
    }

    /// Makes renames and new names in the directory durable.
    package static func syncDirectory(_ path: String) throws(FileError) {
        let fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("open", path) }
        defer { close(fd) }
        if fsync(fd) != 0 && errno != EINVAL { throw FileError("sync", path) }
    }
}
