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
    /// Name of the newest backup that this object made.
    let newestMade = Lock<String?>(nil)

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
        let lock = try BackupLock.take(staging)
        defer { withExtendedLifetime(lock) {} }
        removeLeftovers(staging)
        // What needs no etcd comes first: it fails at once or not at all.
        let sealing = try SealingSetup(options.sealing)
        let found = try NodeFiles.find(options)
        for part in found.missing {
            logger.warning("nothing to include", metadata: ["part": "\(part.rawValue)"])
        }

        try checkCertificates(now: started)
        let http = HTTPClient(name: "kops-etcd")
        defer { http.shutdown() }
        let client = EtcdClient(
            endpoints: etcd.endpoints, tls: etcd.tls, http: http, timeout: .milliseconds(etcd.timeout))
        let members = try await candidates(client)
        let known = await survey()
        checkCluster(members[0].status, known)
        if !onDemand, options.skipUnchanged, let same = unchanged(members[0].status, known, found, now: started) {
            metrics.skipped()
            return BackupResult(manifest: same.manifest, path: same.location, outcomes: [], skipped: true)
        }
        try checkRoom(staging, databaseBytes: members[0].status.databaseSize)
        checkClock(started, known)

        let indexPath = options.incrementalChain > 0 ? PageIndex.path(staging, options.cluster) : nil
        let parent = indexPath.flatMap { incrementalParent($0, members[0].status, known) }
        let stem = "\(staging)/.kops-\(getpid())-\(started)"
        let temporary = stem + ".snapshot" + LocalDestination.partSuffix
        let bundlePath = stem + ".bundle" + LocalDestination.partSuffix
        defer {
            unlink(temporary)
            unlink(bundlePath)
        }
        let writer = SnapshotWriter(
            temporary: temporary, level: options.compressionLevel, recipients: sealing.recipients,
            indexPath: indexPath, parent: parent, idleLimit: options.idleLimit)
        let (staged, chosen) = try await takeSnapshot(client, members, writer, progress)
        if let problem = staged.summary.problems.first {
            throw BackupError(.damaged, "the snapshot that etcd gave is damaged: \(problem)")
        }
        let read = ReadBack(staged)
        try await cancellable { isCancelled in
            try read.staged.readBack(
                keys: sealing.keys, isCancelled: isCancelled,
                progress: {
                    progress?(BackupProgress(phase: .verify, subject: "what was written", done: $0, total: $1))
                })
        }
        let bundle = try await writeBundle(found, bundlePath, sealing, started)

        var manifest = await describe(staged, chosen, client, onDemand: onDemand, started: started)
        let isDelta = staged.changedPages != nil
        if isDelta, let parent {
            manifest.kind = .incremental
            manifest.parent = parent.name
            manifest.chainLength = parent.chainLength + 1
        }
        manifest.verified = formatRFC3339(clock.nowMilliseconds(), fraction: false)
        let name = try await freeName(
            BackupName(cluster: options.cluster, time: started, revision: manifest.revision), staging, known)
        manifest.name = "\(name)"
        let suffix = sealing.recipients.isEmpty ? "" : SealedFile.suffix
        manifest.files = [
            .init(
                role: isDelta ? .delta : .snapshot,
                name: "\(name)" + (isDelta ? ".delta.gz" : ".snapshot.gz") + suffix, bytes: staged.fileBytes,
                sha256: hexadecimal(staged.fileSHA256))
        ]
        if !sealing.recipients.isEmpty {
            manifest.sealing = .init(
                format: SealedFile.format, recipients: sealing.recipients.map(\.fingerprint))
        }
        var files = [(path: temporary, name: manifest.files[0].name)]
        if let bundle {
            let file = "\(name).files.tar.gz" + suffix
            manifest.files.append(
                .init(role: .bundle, name: file, bytes: bundle.bytes, sha256: hexadecimal(bundle.sha256)))
            manifest.bundle = bundle.paths
            files.append((bundlePath, file))
        }
        manifest.durationMilliseconds = (monotonicNanoseconds() - began) / 1_000_000
        let outcomes = try await deliver(manifest, files, staging, progress)
        // Only now: the next incremental backup builds on what is where it belongs.
        try staged.index?.commit(databaseSHA256: staged.stream.sha256)
        var result = BackupResult(manifest: manifest, path: "", outcomes: outcomes)
        if let first = outcomes.first(where: { $0.problem == nil }) {
            result.path = first.location + "/" + manifest.files[0].name
        }
        newestMade.withLock { $0 = manifest.name }
        metrics.made(manifest, seconds: Double(monotonicNanoseconds() - began) / 1e9)
        logger.info(
            "backup made",
            metadata: [
                "name": "\(manifest.name)", "kind": "\(manifest.kind.rawValue)", "revision": "\(manifest.revision)",
                "bytes": "\(manifest.storedBytes)", "member": "\(chosen.endpoint)",
            ])
        result.pruned = await pruneAll(dryRun: false, keeping: manifest.name).flatMap(\.removed)
        return result
    }

    /// Lets a staged snapshot be looked at on a worker's thread while the caller waits for it.
    private struct ReadBack: @unchecked Sendable {
        let staged: StagedSnapshot
        init(_ staged: StagedSnapshot) { self.staged = staged }
    }

    private func writeBundle(_ found: NodeFiles.Found, _ path: String, _ sealing: SealingSetup, _ time: Int64)
        async throws -> BundleWriter.Written?
    {
        let versions = options.include.contains(.versions)
        guard !found.items.isEmpty || versions else { return nil }
        return try await cancellable { [options, toolVersion] isCancelled in
            let written = try BundleWriter.write(
                found.items,
                versions: versions ? NodeVersions.collect(options, toolVersion: toolVersion).encoded() : nil,
                to: path, level: options.compressionLevel, recipients: sealing.recipients, time: time,
                isCancelled: isCancelled)
            let file = BackupManifest.File(
                role: .bundle, name: "", bytes: written.bytes, sha256: hexadecimal(written.sha256))
            try BundleReader.readBack(path, file, keys: sealing.keys, isSealed: !sealing.recipients.isEmpty)
            return written
        }
    }

    private func describe(
        _ staged: StagedSnapshot, _ chosen: (endpoint: String, status: EtcdStatus), _ client: EtcdClient,
        onDemand: Bool, started: Int64
    ) async -> BackupManifest {
        var manifest = BackupManifest()
        manifest.cluster = options.cluster
        manifest.created = formatRFC3339(started, fraction: false)
        manifest.clusterID = hex16(chosen.status.header.clusterID)
        manifest.memberID = hex16(chosen.status.header.memberID)
        manifest.endpoint = chosen.endpoint
        manifest.etcdVersion = chosen.status.version
        manifest.toolVersion = toolVersion
        manifest.revision = staged.summary.revision
        manifest.totalKeys = staged.summary.totalKeys
        manifest.statusHash = staged.summary.hash.map { hex8($0) } ?? ""
        manifest.databaseBytes = staged.summary.databaseBytes
        manifest.snapshotBytes = staged.stream.bytes
        manifest.databaseSHA256 = hexadecimal(staged.stream.sha256)
        manifest.pageSize = staged.summary.pageSize
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
        return manifest
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
        _ client: EtcdClient, _ members: [(endpoint: String, status: EtcdStatus)], _ writer: SnapshotWriter,
        _ progress: BackupProgressHandler?
    ) async throws -> (StagedSnapshot, (endpoint: String, status: EtcdStatus)) {
        var last: any Error = BackupError(.etcd, "no etcd member can give a snapshot")
        var writer = writer
        var attempt = 0
        while attempt <= max(0, options.retries) {
            let member = members[attempt % members.count]
            do {
                let staged = try await writer.write(client: client, endpoint: member.endpoint, progress: progress)
                return (staged, member)
            } catch is PageDeltaWriter.TooMuchChanged {
                logger.info("more than half of the pages changed: a full backup is made")
                writer.parent = nil
                continue
            } catch let error as EtcdError {
                logger.warning("snapshot failed", metadata: ["member": "\(member.endpoint)", "error": "\(error)"])
                last = error
            }
            attempt += 1
        }
        throw last
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
            var brought: [String] = []
            do {
                for (path, name) in all {
                    try Task.checkCancellation()
                    if isStaging(destination, staging), let local = destination as? LocalDestination {
                        try local.moveNew(path, as: name)
                    } else {
                        try await destination.putNew(file: path, as: name) { done, total in
                            progress?(
                                BackupProgress(
                                    phase: .upload, subject: "\(destination.name): \(name)", done: done, total: total))
                        }
                    }
                    brought.append(name)
                }
                if !isStaging(destination, staging) { try await isOurs(manifest, at: destination) }
                metrics.succeeded(destination.name, time: manifest.time, bytes: manifest.storedBytes)
            } catch {
                let error = SnapshotWriter.explain(error)
                if (error as? BackupError)?.code == .cancelled { throw error }
                // Of two backups of one name this one came second: what it brought before it saw that is nobody's.
                if (error as? BackupError)?.code == .busy {
                    for name in brought { try? await destination.remove(name) }
                }
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
}

func hex16(_ value: UInt64) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 16 - text.utf8.count) + text
}

func hex8(_ value: UInt32) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 8 - text.utf8.count) + text
}
