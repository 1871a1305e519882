import Glibc
import Logging
import Platform

/// A file of a backup that lies ready under a temporary name.
struct BackupPart {
    var path: String
    var role: BackupManifest.Role
    var bytes: Int64
    var sha256: [UInt8]
    /// What follows the backup's name.
    var suffix: String
}

/// The backup that an increment builds on was removed while it was made, by another sidecar's retention.
struct ParentRemoved: Error {}

/// Somebody else had the name first, at a place where nothing of this backup is yet.
private struct NameTaken: Error {
    let reason: any Error
}

/// Bringing a finished backup to where it is kept.
extension BackupService {
    private static let maxNames = 20

    /// Brings the parts to each destination under one name, which `manifest` then has. Control planes on one schedule come
    /// with the same name in the same second: who is second takes the next number.
    func deliver(
        _ manifest: inout BackupManifest, _ parts: [BackupPart], as wanted: BackupName, _ staging: BackupStaging,
        _ known: [Survey], _ progress: BackupProgressHandler?
    ) async throws -> [DestinationOutcome] {
        var name = wanted
        for attempt in 1... {
            name = try await freeName(name, known)
            manifest.name = "\(name)"
            manifest.files = parts.map { part in
                .init(
                    role: part.role, name: "\(name)" + part.suffix, bytes: part.bytes,
                    sha256: hexadecimal(part.sha256))
            }
            do {
                return try await bring(
                    manifest, parts.map { ($0.path, "\(name)" + $0.suffix) }, staging, progress)
            } catch let taken as NameTaken {
                guard attempt < Self.maxNames else {
                    throw BackupError(.destination, "no destination took the backup: \(taken.reason)")
                }
                // A place that may not be listed cannot say which are free.
                name.number += 1
            }
        }
        return []
    }

    /// Brings the files to each destination: the first directory gets them by renaming, the others by copying.
    private func bring(
        _ manifest: BackupManifest, _ files: [(path: String, name: String)], _ staging: BackupStaging,
        _ progress: BackupProgressHandler?
    ) async throws -> [DestinationOutcome] {
        let manifestName = manifest.name + BackupCatalogue.manifestSuffix
        let manifestPath = staging.directory + "/.kops-\(getpid())-\(manifestName)" + LocalDestination.partSuffix
        try AtomicFile.write(try manifest.encoded(), to: manifestPath, mode: 0o600)
        defer { unlink(manifestPath) }
        var all = files
        let ownerPath =
            staging.directory + "/.kops-\(getpid())-\(manifest.name)" + EventLogOwner.suffix
            + LocalDestination.partSuffix
        defer { unlink(ownerPath) }
        if EventLogOwner.isWanted(options.workDirectory) {
            try AtomicFile.write(Array(try EventLogOwner.own(options.workDirectory).utf8), to: ownerPath, mode: 0o600)
            all.append((ownerPath, manifest.name + EventLogOwner.suffix))
        }
        all.append((manifestPath, manifestName))
        var outcomes: [DestinationOutcome] = []
        // Where the files are renamed away comes last.
        let order = destinations.filter { !staging.isIn($0) } + destinations.filter(staging.isIn)
        for destination in order {
            var outcome = DestinationOutcome(destination: destination.name, location: destination.location)
            var brought: [String] = []
            do {
                for (path, name) in all {
                    try Task.checkCancellation()
                    if staging.isIn(destination), let place = staging.place {
                        try place.moveNew(path, as: name)
                    } else {
                        try await destination.putNew(file: path, as: name) { done, total in
                            progress?(
                                BackupProgress(
                                    phase: .upload, subject: "\(destination.name): \(name)", done: done, total: total))
                        }
                    }
                    brought.append(name)
                }
                if !staging.isIn(destination) { try await isOurs(manifest, at: destination) }
                try await proveParent(of: manifest, at: destination)
                metrics.succeeded(destination.name, time: manifest.time, bytes: manifest.storedBytes)
            } catch {
                let error = SnapshotWriter.explain(error)
                if (error as? BackupError)?.code == .cancelled { throw error }
                let isFirst = !outcomes.contains { $0.problem == nil }
                // Of two backups of one name this one came second: what it brought before it saw that is nobody's.
                if (error as? BackupError)?.code == .busy {
                    for (path, name) in all where brought.contains(name) {
                        if staging.isIn(destination) {
                            try? FileSystem.rename(destination.location + "/" + name, to: path)
                        } else {
                            try? await destination.remove(name)
                        }
                    }
                    if isFirst { throw NameTaken(reason: error) }
                }
                if error is ParentRemoved {
                    for name in brought.reversed() { try? await destination.remove(name) }
                    if isFirst { throw error }
                }
                outcome.problem =
                    error is ParentRemoved ? "\(manifest.parent ?? "") was removed there meanwhile" : "\(error)"
                metrics.failed(destination.name)
                logger.error(
                    "destination failed", metadata: ["destination": "\(destination.name)", "error": "\(error)"])
            }
            outcomes.append(outcome)
        }
        let configured = destinations.map(\.name)
        outcomes.sort {
            (configured.firstIndex(of: $0.destination) ?? 0) < (configured.firstIndex(of: $1.destination) ?? 0)
        }
        guard outcomes.contains(where: { $0.problem == nil }) else {
            throw BackupError(
                .destination,
                "no destination took the backup: "
                    + outcomes.map { "\($0.destination): \($0.problem ?? "")" }.joined(separator: "; "))
        }
        return outcomes
    }

    /// What an increment builds on is still there now that the increment is: whoever removes it later has seen the increment
    /// before (see `prune`), or puts it back.
    private func proveParent(of manifest: BackupManifest, at destination: any Destination) async throws {
        guard let parent = manifest.parent, let files = try? await destination.list() else { return }
        guard files.contains(where: { $0.name == parent + BackupCatalogue.manifestSuffix }) else {
            throw ParentRemoved()
        }
    }
}
