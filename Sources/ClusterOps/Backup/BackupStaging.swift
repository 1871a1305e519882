import Glibc
import Logging
import Platform

/// Where one sidecar puts its backups together: a hidden directory of its own in the first destination that is a directory, so
/// that finished files need only be renamed, else one below its work directory. Sidecars that share a directory do not meet
/// in it; what they bring to the same place is kept apart by names that are taken once.
struct BackupStaging: Sendable {
    var directory: String
    /// The destination that it lies in.
    var place: LocalDestination?

    static let prefix = ".kops-staging-"
    /// Milliseconds after which the directory of a sidecar that has not come back is removed.
    private static let memory: Int64 = 30 * 86_400_000

    static func make(_ destinations: [any Destination], workDirectory: String, _ logger: Logger) throws -> BackupStaging
    {
        for case let local as LocalDestination in destinations {
            do {
                try FileSystem.makeDirectories(local.path, mode: 0o700)
                guard access(local.path, W_OK | X_OK) == 0 else { continue }
                let staging = BackupStaging(directory: path(in: local, workDirectory: workDirectory), place: local)
                try FileSystem.makeDirectories(staging.directory, mode: 0o700)
                return staging
            } catch {
                logger.warning("destination cannot be written to", metadata: ["destination": "\(local.name)"])
            }
        }
        let path = workDirectory + "/staging"
        try FileSystem.makeDirectories(path, mode: 0o700)
        return BackupStaging(directory: path)
    }

    /// The same for every process with this work directory on this machine, and no other's.
    static func path(in place: LocalDestination, workDirectory: String) -> String {
        let machine = (try? FileSystem.readText("/etc/machine-id", maxBytes: 256)) ?? ""
        let text = [machine, hostName(), workDirectory].joined(separator: "\n")
        return place.path + "/" + prefix + hexadecimal(Digest.hash(.sha256, Array(text.utf8)).prefix(8))
    }

    func isIn(_ destination: any Destination) -> Bool {
        place != nil && (destination as? LocalDestination)?.path == place?.path
    }

    /// What a killed run left: only files of ours, and the lock is held.
    func removeLeftovers() {
        for name in (try? FileSystem.list(directory)) ?? []
        where name.hasPrefix(".kops-") && name.hasSuffix(LocalDestination.partSuffix) {
            unlink(directory + "/" + name)
        }
    }

    /// Looks after directories of sidecars that are at work no more: unfinished files older than that go, and the whole after
    /// a month. `olderThan` in milliseconds since 1970 UTC.
    static func removeAbandoned(in place: String, olderThan: Int64) throws {
        for name in try FileSystem.list(place) where name.hasPrefix(prefix) {
            let directory = place + "/" + name
            guard let lock = try? FileLock(BackupLock.path(directory)) else { continue }
            defer { withExtendedLifetime(lock) {} }
            var newest: Int64 = 0
            for file in try FileSystem.list(directory) {
                guard let status = try FileSystem.status(directory + "/" + file) else { continue }
                newest = max(newest, status.modified)
                if file.hasSuffix(LocalDestination.partSuffix), status.modified < olderThan {
                    try FileSystem.removeFile(directory + "/" + file)
                }
            }
            if newest < olderThan - memory { try FileSystem.removeTree(directory) }
        }
    }
}
