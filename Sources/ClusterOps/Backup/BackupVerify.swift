import Etcd
import Platform

/// What reading a whole backup showed.
package struct VerifyOutcome: Sendable {
    package var title: String
    /// The backup's name; nil for a file without a manifest.
    package var name: String?
    package var revision: Int64 = 0
    package var totalKeys: Int64 = 0
    package var databaseBytes: Int64 = 0
    package var statusHash = ""
    /// Files of the node in the bundle.
    package var bundleFiles = 0
    /// Of the log of changes: its files, and the last revision in it.
    package var logSegments = 0
    package var logRevision: Int64?
    /// It is sealed and no key was at hand: the files' hashes were compared with the manifest, what is in them was not seen.
    package var wasNotOpened = false
    /// Nil where it is whole.
    package var problem: String?
}

package enum BackupVerifier {
    /// Reads a backup, or a snapshot file of any other tool, to its last byte: its files' hashes against the manifests, seals,
    /// gzip's checksums, the snapshot's own SHA-256, every page, key and revision of the database, the bundle and the
    /// log of changes. No etcd takes part.
    ///
    /// `source` is a path, a backup's name or `latest`. Throws only where the backup cannot be found, fetched or opened.
    package static func verify(
        _ source: String, from: String? = nil, cluster: String? = nil, destinations: [any Destination],
        workDirectory: String, keys: SealingKeys? = nil, progress: BackupProgressHandler? = nil
    ) async throws -> VerifyOutcome {
        let fetch = workDirectory + "/.kops-verify"
        if source == "latest", let outcome = await damagedNewest(from, cluster, destinations) { return outcome }
        let found: SnapshotSource
        do {
            found = try await SnapshotSourceFinder.find(
                source, from: from, cluster: cluster, atTime: .max, destinations: destinations, fetchInto: fetch)
        } catch let error as BackupError where error.code == .damaged {
            var outcome = VerifyOutcome(title: source)
            outcome.problem = error.message
            return outcome
        }
        defer { if found.needsFetching { try? FileSystem.removeTree(fetch) } }
        if found.needsFetching {
            try FileSystem.makeDirectories(fetch, mode: 0o700)
            for part in found.files {
                guard let name = part.destination, let place = destinations.first(where: { $0.name == name }) else {
                    continue
                }
                try await place.get(part.file, to: part.path) { done, total in
                    progress?(BackupProgress(phase: .download, subject: part.file, done: done, total: total))
                }
            }
        }
        return try await cancellable { isCancelled in
            var outcome = VerifyOutcome(title: found.title)
            outcome.name = found.manifest?.name
            do {
                if keys == nil, found.manifest?.sealing != nil {
                    try compareHashes(found, &outcome, isCancelled)
                } else {
                    try open(found, keys, &outcome, isCancelled) { done, total in
                        progress?(BackupProgress(phase: .verify, subject: found.title, done: done, total: total))
                    }
                }
            } catch let error as BackupError where error.code == .damaged {
                outcome.problem = error.message
            }
            return outcome
        }
    }

    /// A restore takes the newest good backup; who asks whether the newest is whole must not be told of an older one.
    private static func damagedNewest(_ from: String?, _ cluster: String?, _ destinations: [any Destination]) async
        -> VerifyOutcome?
    {
        for place in destinations where from == nil || place.name == from {
            guard let newest = try? await BackupCatalogue.read(place, cluster: cluster).last,
                let problem = newest.problem
            else { continue }
            var outcome = VerifyOutcome(title: "\(newest.name) (\(place.location))")
            outcome.problem = "\(newest.name) at \(place.location): \(problem)"
            return outcome
        }
        return nil
    }

    private static func open(
        _ found: SnapshotSource, _ keys: SealingKeys?, _ outcome: inout VerifyOutcome,
        _ isCancelled: @escaping @Sendable () -> Bool, progress: @escaping ByteProgress
    ) throws {
        let result = try StoredSnapshot.read(found.parts, keys: keys, isCancelled: isCancelled, progress: progress)
        outcome.revision = result.summary.revision
        outcome.totalKeys = result.summary.totalKeys
        outcome.databaseBytes = result.summary.databaseBytes
        outcome.statusHash = result.summary.hash.map(hex8) ?? ""
        if let problem = result.summary.problems.first {
            throw BackupError(.damaged, "\(found.title): \(problem)")
        }
        if let bundle = found.bundle {
            var paths: [String] = []
            try BundleReader.forEach(bundle, keys: keys, isCancelled: isCancelled) { entry, _ in
                if entry.kind != .directory { paths.append(entry.path) }
            }
            guard paths == bundle.manifest?.bundle else {
                throw BackupError(.damaged, "\(bundle.path) holds other files than its manifest says")
            }
            outcome.bundleFiles = paths.count
        }
        if let events = found.events, !events.isEmpty, let manifest = found.manifest {
            let log = try EventLog.read(
                events, base: manifest, limit: EventLimit(), keys: keys, isCancelled: isCancelled
            ) { _ in }
            outcome.logSegments = log.segments
            outcome.logRevision = log.revision
        }
    }

    /// Of sealed files without a key: they are what their manifests say.
    private static func compareHashes(
        _ found: SnapshotSource, _ outcome: inout VerifyOutcome, _ isCancelled: () -> Bool
    ) throws {
        outcome.wasNotOpened = true
        outcome.revision = found.manifest?.revision ?? 0
        outcome.totalKeys = found.manifest?.totalKeys ?? 0
        outcome.databaseBytes = found.manifest?.databaseBytes ?? 0
        outcome.statusHash = found.manifest?.statusHash ?? ""
        for part in found.parts + (found.bundle.map { [$0] } ?? []) {
            let file = try StoredFileReader(part.path, keys: nil, opensNothing: true)
            try file.forEach { _ in
                if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(part.path)") }
            }
            try StoredSnapshot.check(part, file)
        }
        guard let name = found.manifest?.name else { return }
        for part in found.events ?? [] {
            guard let file = EventFile(part.file, backup: name) else { continue }
            try file.checkHash(part.path, isCancelled: isCancelled)
            outcome.logSegments += Int(clamping: file.last - file.first + 1)
        }
    }
}
