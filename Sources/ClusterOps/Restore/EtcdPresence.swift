import Etcd
import Glibc
import Platform

/// Whether an etcd uses a data directory, by what the kernel knows; nothing that a component says of itself counts.
enum EtcdPresence {
    /// Reasons to believe that one runs; empty is the proof that none does.
    static func evidence(dataDirectory: String, ports: Set<UInt16>, proc: String = "/proc") -> [String] {
        var found: [String] = []
        if isLocked(DataDirectory.databasePath(dataDirectory)) {
            found.append("its database \(DataDirectory.databasePath(dataDirectory)) is locked by a process")
        }
        for process in processes(dataDirectory, proc: proc) { found.append("process \(process) runs etcd on it") }
        for port in listening(proc).intersection(ports).sorted() { found.append("something listens on port \(port)") }
        return found
    }

    /// etcd holds an exclusive lock on its database while it runs.
    private static func isLocked(_ path: String) -> Bool {
        var fd = open(path, O_RDWR | O_CLOEXEC)
        // A service that may not write there can still ask for the lock.
        if fd < 0 { fd = open(path, O_RDONLY | O_CLOEXEC) }
        guard fd >= 0 else { return false }
        defer { close(fd) }
        if flock(fd, LOCK_EX | LOCK_NB) != 0 { return errno == EWOULDBLOCK }
        flock(fd, LOCK_UN)
        return false
    }

    /// Processes named etcd whose command line names the directory.
    static func processes(_ dataDirectory: String, proc: String = "/proc") -> [Int] {
        let wanted = normal(dataDirectory)
        return ((try? FileSystem.list(proc)) ?? []).compactMap { name in
            guard let pid = Int(name), let line = try? FileSystem.read("\(proc)/\(name)/cmdline", maxBytes: 1 << 20)
            else { return nil }
            let arguments = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            guard let program = arguments.first, FileSystem.name(of: program) == "etcd" else { return nil }
            for (i, argument) in arguments.enumerated() {
                var value: String?
                for flag in ["--data-dir", "-data-dir"] {
                    if argument == flag, i + 1 < arguments.count { value = arguments[i + 1] }
                    if argument.hasPrefix(flag + "=") { value = String(argument.dropFirst(flag.count + 1)) }
                }
                guard let value else { continue }
                if normal(value) == wanted { return pid }
                if !value.hasPrefix("/"), let directory = link("\(proc)/\(name)/cwd"),
                    normal(directory + "/" + value) == wanted
                {
                    return pid
                }
            }
            return nil
        }
    }

    /// Whether an etcd goes on with a database that was removed: what it serves is lost when it ends.
    static func servesRemovedFiles(_ dataDirectory: String, proc: String = "/proc") -> Bool {
        processes(dataDirectory, proc: proc).contains { process in
            ((try? FileSystem.list("\(proc)/\(process)/fd")) ?? []).contains { fd in
                link("\(proc)/\(process)/fd/\(fd)")?.hasSuffix("/member/snap/db (deleted)") ?? false
            }
        }
    }

    private static func link(_ path: String) -> String? {
        var buffer = [CChar](repeating: 0, count: 4096)
        let n = readlink(path, &buffer, buffer.count)
        return n > 0 ? String(decoding: buffer.prefix(n).map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
    }

    private static func normal(_ path: String) -> String {
        if let real = realpath(path, nil) {
            defer { free(real) }
            return String(cString: real)
        }
        return "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
    }

    /// Ports with a listening TCP socket, as /proc/net lists them (state 0A).
    static func listening(_ proc: String = "/proc") -> Set<UInt16> {
        var ports: Set<UInt16> = []
        for file in ["\(proc)/net/tcp", "\(proc)/net/tcp6"] {
            for line in ((try? FileSystem.readText(file)) ?? "").split(separator: "\n").dropFirst() {
                let fields = line.split(separator: " ")
                guard fields.count > 3, fields[3] == "0A", let colon = fields[1].lastIndex(of: ":"),
                    let port = UInt16(fields[1][fields[1].index(after: colon)...], radix: 16)
                else { continue }
                ports.insert(port)
            }
        }
        return ports
    }

    /// The port of a URL like `https://host:2380`.
    static func port(_ url: String) -> UInt16? {
        guard let colon = url.lastIndex(of: ":") else { return nil }
        return UInt16(url[url.index(after: colon)...].prefix { $0 != "/" })
    }
}
