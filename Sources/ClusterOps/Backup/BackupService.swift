import Etcd
import Glibc
package import Logging
package import Platform

/// What became of one destination.
package struct DestinationOutcome: Sendable {
    package var destination: String
    package var location: String
    /// Nil when the backup is there.
    package var problem: String?
}

/// A finished backup.
package struct BackupResult: Sendable {
    package var manifest: BackupManifest
    /// The snapshot (or delta) file where a destination is a directory, else its URL.
    package var path: String
    package var outcomes: [DestinationOutcome]
    package var pruned: [String] = []
    /// True where etcd's revision had not moved, so that nothing was made and `manifest` is the newest one's.
    package var skipped = false
}

/// Makes, lists, checks and removes backups of one etcd cluster. Thread-safe; each call stands for itself and is what a job
/// of the scheduler calls. Cancelling the task ends the work, and nothing unfinished stays under a final name.
package final class BackupService: Sendable {
    package let options: BackupOptions
    package let destinations: [any Destination]
    package let metrics: BackupMetrics
    let etcd: EtcdOptions
    let logger: Logger
    let clock: WallClock
    let toolVersion: String

    package init(
        options: BackupOptions, etcd: EtcdOptions, destinations: [any Destination], registry: MetricRegistry,
        logger: Logger, clock: WallClock = .system, toolVersion: String
    ) {
        self.options = options
        self.etcd = etcd
        self.destinations = destinations
        self.logger = logger
        self.clock = clock
        self.toolVersion = toolVersion
        metrics = BackupMetrics(registry)
        for destination in destinations { metrics.failures(destination.name).add(0) }
    }

    // MARK: making one

    /// Takes a snapshot, checks it as read back, brings it to every destination and prunes each by its own rules. Throws when
    /// no good backup came to be anywhere; a destination that failed is told in the outcomes.
    package func backupNow(onDemand: Bool, progress: BackupProgressHandler? = nil) async throws -> BackupResult {
        do {
            return try await makeBackup(onDemand: onDemand, progress)
        } catch {
            let error = SnapshotWriter.explain(error)
            for destination in destinations { metrics.failed(destination.name) }
            logger.error("backup failed", metadata: ["error": "\(error)"])
            throw error
        }
    }

    private func makeBackup(onDemand: Bool, _ progress: BackupProgressHandler?) async throws -> BackupResult {
        guard !destinations.isEmpty else {
            throw BackupError(.invalid, "no destination is configured: name one under backup.destinations")
        }
        let started = clock.nowMilliseconds()
        let began = monotonicNanoseconds()
        let staging = try makeStaging()
        let lock = try BackupLock(directory: staging)
        defer { withExtendedLifetime(lock) {} }
        removeLeftovers(staging)

        let http = HTTPClient(name: "kops-etcd")
        defer { http.shutdown() }
        let client = EtcdClient(
            endpoints: etcd.endpoints, tls: etcd.tls, http: http, timeout: .milliseconds(etcd.timeout))
        let members = try await candidates(client)
        try checkRoom(staging, databaseBytes: members[0].status.databaseSize)

        let temporary = staging + "/.kops-\(getpid())-\(started).snapshot.gz" + LocalDestination.partSuffix
        defer { unlink(temporary) }
        let (staged, chosen) = try await takeSnapshot(client, members, temporary, progress)
        let read = try await readBack(staged, progress)

        var manifest = BackupManifest()
        manifest.cluster = options.cluster
        manifest.created = formatRFC3339(started, fraction: false)
        manifest.clusterID = hex16(chosen.status.header.clusterID)
        manifest.memberID = hex16(chosen.status.header.memberID)
        manifest.endpoint = chosen.endpoint
        manifest.etcdVersion = chosen.status.version
        manifest.toolVersion = toolVersion
        manifest.revision = read.summary.revision
        manifest.totalKeys = read.summary.totalKeys
        manifest.statusHash = read.summary.hash.map { hex8($0) } ?? ""
        manifest.databaseBytes = read.summary.databaseBytes
        manifest.snapshotBytes = staged.stream.bytes
        manifest.databaseSHA256 = hexadecimal(staged.stream.sha256)
        manifest.pageSize = read.summary.pageSize
        manifest.onDemand = onDemand
        if let list = try? await client.memberList(chosen.endpoint) {
            manifest.members = list.map {
                .init(id: hex16($0.id), name: $0.name, peerURLs: $0.peerURLs, clientURLs: $0.clientURLs)
            }
            manifest.memberName = list.first { $0.id == chosen.status.header.memberID }?.name ?? ""
        }
        if let hash = try? await client.hashKV(chosen.endpoint, revision: manifest.revision) {
            manifest.hashKV = .init(
                hash: hash.hash, revision: manifest.revision, compactRevision: hash.compactRevision)
        }
        manifest.verified = formatRFC3339(clock.nowMilliseconds(), fraction: false)
        let name = try freeName(
            BackupName(cluster: options.cluster, time: started, revision: manifest.revision), staging)
        manifest.name = "\(name)"
        manifest.files = [
            .init(
                role: .snapshot, name: "\(name).snapshot.gz", bytes: staged.fileBytes,
                sha256: hexadecimal(staged.fileSHA256))
        ]
        manifest.durationMilliseconds = (monotonicNanoseconds() - began) / 1_000_000
        let outcomes = try await deliver(manifest, [(temporary, manifest.files[0].name)], staging, progress)
        var result = BackupResult(manifest: manifest, path: "", outcomes: outcomes)
        if let first = outcomes.first(where: { $0.problem == nil }) {
            result.path = first.location + "/" + manifest.files[0].name
        }
        metrics.duration.set(Double(monotonicNanoseconds() - began) / 1e9)
        metrics.revision.set(Double(manifest.revision))
        logger.info(
            "backup made",
            metadata: [
                "name": "\(manifest.name)", "revision": "\(manifest.revision)", "bytes": "\(manifest.storedBytes)",
                "member": "\(chosen.endpoint)",
            ])
        result.pruned = await pruneAll(dryRun: false).flatMap(\.removed)
        return result
    }

    /// The members to ask, best first.
    private func candidates(_ client: EtcdClient) async throws -> [(endpoint: String, status: EtcdStatus)] {
        let states = await client.survey()
        let ordered = EtcdClient.order(states)
        guard ordered.isEmpty else { return ordered }
        try Task.checkCancellation()
        let reasons = states.map { state -> String in
            switch state.status {
            case .failure(let error): return "\(error)"
            case .success(let status):
                return "\(state.endpoint): \(status.isLearner ? "is a learner" : status.errors.joined(separator: ", "))"
            }
        }
        throw BackupError(.etcd, "no etcd member can give a snapshot: " + reasons.joined(separator: "; "))
    }

    private func takeSnapshot(
        _ client: EtcdClient, _ members: [(endpoint: String, status: EtcdStatus)], _ temporary: String,
        _ progress: BackupProgressHandler?
    ) async throws -> (StagedSnapshot, (endpoint: String, status: EtcdStatus)) {
        var last: any Error = BackupError(.etcd, "no etcd member can give a snapshot")
        for attempt in 0...max(0, options.retries) {
            let member = members[attempt % members.count]
            do {
                let staged = try await SnapshotWriter.write(
                    client: client, endpoint: member.endpoint, to: temporary, level: options.compressionLevel,
                    idleLimit: options.idleLimit, progress: progress)
                return (staged, member)
            } catch let error as EtcdError {
                logger.warning("snapshot failed", metadata: ["member": "\(member.endpoint)", "error": "\(error)"])
                last = error
            }
        }
        throw last
    }

    private func readBack(_ staged: StagedSnapshot, _ progress: BackupProgressHandler?) async throws
        -> StoredSnapshot.Result
    {
        let read = try await cancellable { isCancelled in
            try StoredSnapshot.read(
                [.init(path: staged.temporary, destination: nil, file: "", manifest: nil, role: .snapshot)],
                keys: nil, isCancelled: isCancelled,
                progress: { progress?(BackupProgress(phase: .verify, subject: staged.temporary, done: $0, total: $1)) })
        }
        if let problem = read.summary.problems.first {
            throw BackupError(.damaged, "the snapshot that etcd gave is damaged: \(problem)")
        }
        return read
    }

    /// Brings the files to each destination: the first directory gets them by renaming, the others by copying.
    private func deliver(
        _ manifest: BackupManifest, _ files: [(path: String, name: String)], _ staging: String,
        _ progress: BackupProgressHandler?
    ) async throws -> [DestinationOutcome] {
        let manifestName = manifest.name + BackupCatalogue.manifestSuffix
        let manifestPath = staging + "/.kops-\(getpid())-\(manifestName)" + LocalDestination.partSuffix
        try AtomicFile.write(try manifest.encoded(), to: manifestPath, mode: 0o600)
        defer { unlink(manifestPath) }
        let all = files + [(manifestPath, manifestName)]
        var outcomes: [DestinationOutcome] = []
        // Where the files are renamed away comes last.
        let order = destinations.filter { !isStaging($0, staging) } + destinations.filter { isStaging($0, staging) }
        for destination in order {
            var outcome = DestinationOutcome(destination: destination.name, location: destination.location)
            do {
                for (path, name) in all {
                    try Task.checkCancellation()
                    if isStaging(destination, staging) {
                        try FileSystem.rename(path, to: staging + "/" + name)
                        try AtomicFile.syncDirectory(staging)
                    } else {
                        try await destination.put(file: path, as: name) { done, total in
                            progress?(
                                BackupProgress(
                                    phase: .upload, subject: "\(destination.name): \(name)", done: done, total: total))
                        }
                    }
                }
                metrics.succeeded(destination.name, time: manifest.time, bytes: manifest.storedBytes)
            } catch {
                let error = SnapshotWriter.explain(error)
                if (error as? BackupError)?.code == .cancelled { throw error }
                outcome.problem = "\(error)"
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

    // MARK: staging

    private func isStaging(_ destination: any Destination, _ staging: String) -> Bool {
        (destination as? LocalDestination)?.path == staging
    }

    /// The first destination that is a directory, else one below the work directory.
    private func makeStaging() throws -> String {
        let local = destinations.lazy.compactMap { $0 as? LocalDestination }.first?.path
        let path = local ?? options.workDirectory + "/staging"
        try FileSystem.makeDirectories(path, mode: 0o700)
        return path
    }

    /// What a killed run left: only files of ours, and the lock is held.
    private func removeLeftovers(_ staging: String) {
        for name in (try? FileSystem.list(staging)) ?? []
        where name.hasPrefix(".kops-") && name.hasSuffix(LocalDestination.partSuffix) {
            unlink(staging + "/" + name)
        }
    }

    private func checkRoom(_ directory: String, databaseBytes: Int64) throws {
        let free = try FileSystem.freeBytes(directory)
        // Compressed, Kubernetes' objects take a quarter; half leaves room for those that compress worse.
        let needed = databaseBytes / 2 + (16 << 20)
        guard free >= needed else {
            throw BackupError(
                .noSpace,
                "\(directory) has \(free >> 20) MiB free and the backup may need \(needed >> 20): make room there, or name another destination"
            )
        }
    }

    private func freeName(_ name: BackupName, _ staging: String) throws -> BackupName {
        var name = name
        let taken = Set(try FileSystem.list(staging).compactMap { BackupCatalogue.backupName(ofFile: $0) })
        while taken.contains(name) { name.number += 1 }
        return name
    }
}

func hex16(_ value: UInt64) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 16 - text.utf8.count) + text
}

func hex8(_ value: UInt32) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 8 - text.utf8.count) + text
}
