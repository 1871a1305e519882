import Etcd
import Platform

/// What reading a whole backup showed.
package struct VerifyOutcome: Sendable {
    package var title: String
    package var revision: Int64 = 0
    package var totalKeys: Int64 = 0
    package var databaseBytes: Int64 = 0
    package var statusHash = ""
    /// Nil where it is whole.
    package var problem: String?
}

package enum BackupVerifier {
    /// Reads a backup, or a snapshot file of any other tool, to its last byte: its hash against the manifest, gzip's
    /// checksum, the snapshot's own SHA-256, and every page, key and revision of the database. No etcd takes part.
    ///
    /// `source` is a path, a backup's name or `latest`. Throws only where the backup cannot be found or fetched.
    package static func verify(
        _ source: String, from: String? = nil, cluster: String? = nil, destinations: [any Destination],
        workDirectory: String, keys: SealingKeys? = nil, progress: BackupProgressHandler? = nil
    ) async throws -> VerifyOutcome {
        let fetch = workDirectory + "/.kops-verify"
        let found = try await SnapshotSourceFinder.find(
            source, from: from, cluster: cluster, destinations: destinations, fetchInto: fetch)
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
        var outcome = VerifyOutcome(title: found.title)
        do {
            let result = try await cancellable { isCancelled in
                try StoredSnapshot.read(
                    found.parts, keys: keys, isCancelled: isCancelled,
                    progress: { progress?(BackupProgress(phase: .verify, subject: found.title, done: $0, total: $1)) })
            }
            outcome.revision = result.summary.revision
            outcome.totalKeys = result.summary.totalKeys
            outcome.databaseBytes = result.summary.databaseBytes
            outcome.statusHash = result.summary.hash.map(hex8) ?? ""
            if let problem = result.summary.problems.first { outcome.problem = "\(found.title): \(problem)" }
        } catch let error as BackupError where error.code == .damaged {
            outcome.problem = error.message
        }
        return outcome
    }
}
