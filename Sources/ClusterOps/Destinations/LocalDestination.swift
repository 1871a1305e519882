import Glibc
import Platform

/// A directory. Files are written as `<name>.part`, synced and renamed.
package struct LocalDestination: Destination {
    package let name: String
    package let path: String
    package var location: String { path }

    package init(name: String, path: String) {
        self.name = name
        self.path = path
    }

    static let partSuffix = ".part"

    package func list() async throws -> [StoredFile] {
        let path = path
        return try await WorkerPool.blocking.run {
            guard try FileSystem.status(path) != nil else { return [] }
            return try FileSystem.list(path).compactMap { name in
                guard !name.hasPrefix("."), !name.hasSuffix(LocalDestination.partSuffix),
                    let status = try FileSystem.status(path + "/" + name), status.isRegular
                else { return nil }
                return StoredFile(name: name, bytes: status.size, modified: status.modified)
            }
        }
    }

    package func put(file source: String, as name: String, progress: ByteProgress?) async throws {
        try await write(source, name, isNew: false, progress)
    }

    package func putNew(file source: String, as name: String, progress: ByteProgress?) async throws {
        try await write(source, name, isNew: true, progress)
    }

    /// Renames a finished file of this file system to a name that must be free here.
    func moveNew(_ source: String, as name: String) throws {
        try check(name)
        do { try FileSystem.renameToFree(source, to: path + "/" + name) } catch let error where error.code == EEXIST {
            throw DestinationName.taken(name, self.name)
        }
        try AtomicFile.syncDirectory(path)
    }

    private func write(_ source: String, _ name: String, isNew: Bool, _ progress: ByteProgress?) async throws {
        try check(name)
        let target = path + "/" + name
        let directory = path
        try await cancellable { isCancelled in
            try FileSystem.makeDirectories(directory, mode: 0o700)
            do {
                try FileCopy.copy(
                    from: source, to: target, mode: 0o600, isNew: isNew, progress: progress, isCancelled: isCancelled)
            } catch let error as FileError where isNew && error.code == EEXIST {
                throw DestinationName.taken(name, self.name)
            }
        }
    }

    package func get(_ name: String, to target: String, progress: ByteProgress?) async throws {
        try check(name)
        let source = path + "/" + name
        try await cancellable { isCancelled in
            try FileCopy.copy(from: source, to: target, mode: 0o600, progress: progress, isCancelled: isCancelled)
        }
    }

    package func read(_ name: String, limit: Int) async throws -> [UInt8] {
        try check(name)
        let source = path + "/" + name
        do {
            return try await WorkerPool.blocking.run { try FileSystem.read(source, maxBytes: limit) }
        } catch let error as FileError where error.code == ENOENT {
            throw BackupError(.notFound, "\(self.name): there is no \(name)")
        }
    }

    package func remove(_ name: String) async throws {
        try check(name)
        let target = path + "/" + name
        let directory = path
        try await WorkerPool.blocking.run {
            guard try FileSystem.status(target, followLinks: false) != nil else { return }
            try FileSystem.removeFile(target)
            try AtomicFile.syncDirectory(directory)
        }
    }

    package func removeLeftovers(olderThan: Int64) async throws {
        let path = path
        try await WorkerPool.blocking.run {
            guard try FileSystem.status(path) != nil else { return }
            for name in try FileSystem.list(path) where name.hasSuffix(LocalDestination.partSuffix) {
                if let status = try FileSystem.status(path + "/" + name), status.modified < olderThan {
                    try FileSystem.removeFile(path + "/" + name)
                }
            }
            try BackupStaging.removeAbandoned(in: path, olderThan: olderThan)
        }
    }

    private func check(_ name: String) throws {
        guard !name.isEmpty, !name.hasPrefix("."), !name.contains("/") else {
            throw BackupError(.invalid, "\(name) is no name for a file in \(path)")
        }
    }
}

/// Runs blocking work on the pool for it; `isCancelled` turns true when the task is cancelled.
func cancellable<R: Sendable>(_ body: @escaping @Sendable (@escaping @Sendable () -> Bool) throws -> R) async throws
    -> R
{
    let flag = Lock(false)
    return try await withTaskCancellationHandler {
        try await WorkerPool.blocking.run { try body { flag.withLock { $0 } } }
    } onCancel: {
        flag.withLock { $0 = true }
    }
}

enum FileCopy {
    /// Copies by way of `<target>.part`: synced and renamed, nothing left behind on failure. With `isNew` the name must be free,
    /// and the unfinished file has a name that no other writer takes.
    static func copy(
        from source: String, to target: String, mode: mode_t, isNew: Bool = false, progress: ByteProgress?,
        isCancelled: () -> Bool
    ) throws {
        let input = open(source, O_RDONLY | O_CLOEXEC)
        guard input >= 0 else { throw FileError("read", source) }
        defer { close(input) }
        let total = Int64(lseek(input, 0, SEEK_END))
        lseek(input, 0, SEEK_SET)
        let unfinished = isNew ? "\(target).\(DestinationName.token())\(LocalDestination.partSuffix)" : nil
        let file = try FileBeingWritten(target, temporary: unfinished, mode: mode)
        do {
            var buffer = [UInt8](repeating: 0, count: 1 << 20)
            var done: Int64 = 0
            while true {
                if isCancelled() { throw BackupError(.cancelled, "cancelled while copying \(source)") }
                let n = read(input, &buffer, buffer.count)
                if n < 0 {
                    if errno == EINTR { continue }
                    throw FileError("read", source)
                }
                if n == 0 { break }
                try buffer.withUnsafeBytes { try file.write(UnsafeRawBufferPointer(rebasing: $0[..<n])) }
                done += Int64(n)
                progress?(done, total)
            }
            try file.commit(isNew: isNew)
        } catch {
            file.discard()
            throw error
        }
    }
}
