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
            do {
                return try await makeBackup(onDemand: onDemand, progress)
            } catch is ParentRemoved {
                logger.info("what the increment builds on was removed meanwhile: a full backup is made")
                return try await makeBackup(onDemand: onDemand, isFull: true, progress)
            }
        } catch {
            let error = SnapshotWriter.explain(error)
            // Told to end is not failed: the service goes down, or somebody has changed their mind.
            if Task.isCancelled || (error as? BackupError)?.code == .cancelled {
                logger.notice("backup broken off", metadata: ["reason": "\(error)"])
                throw error
            }
            for destination in destinations { metrics.failed(destination.name) }
            logger.error("backup failed", metadata: ["error": "\(error)"])
            throw error
        }
    }

    private func makeBackup(onDemand: Bool, isFull: Bool = false, _ progress: BackupProgressHandler?) async throws
        -> BackupResult
    {
        guard !destinations.isEmpty else {
            throw BackupError(.invalid, "no destination is configured: name one under backup.destinations")
        }
        let started = clock.nowMilliseconds()
        let began = monotonicNanoseconds()
        let staging = try BackupStaging.make(destinations, workDirectory: options.workDirectory, logger)
        let lock = try BackupLock.take(staging.directory)
        defer { withExtendedLifetime(lock) {} }
        staging.removeLeftovers()
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
        try checkRoom(staging.directory, databaseBytes: members[0].status.databaseSize)
        checkClock(started, known)

        let indexPath = options.incrementalChain > 0 ? PageIndex.path(staging.directory, options.cluster) : nil
        let parent = isFull ? nil : indexPath.flatMap { incrementalParent($0, members[0].status, known) }
        let stem = "\(staging.directory)/.kops-\(getpid())-\(started)"
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
        let suffix = sealing.recipients.isEmpty ? "" : SealedFile.suffix
        if !sealing.recipients.isEmpty {
            manifest.sealing = .init(
                format: SealedFile.format, recipients: sealing.recipients.map(\.fingerprint))
        }
        var parts = [
            BackupPart(
                path: temporary, role: isDelta ? .delta : .snapshot, bytes: staged.fileBytes, sha256: staged.fileSHA256,
                suffix: (isDelta ? ".delta.gz" : ".snapshot.gz") + suffix)
        ]
        if let bundle {
            manifest.bundle = bundle.paths
            parts.append(
                BackupPart(
                    path: bundlePath, role: .bundle, bytes: bundle.bytes, sha256: bundle.sha256,
                    suffix: ".files.tar.gz" + suffix))
        }
        manifest.durationMilliseconds = (monotonicNanoseconds() - began) / 1_000_000
        let name = BackupName(cluster: options.cluster, time: started, revision: manifest.revision)
        let outcomes = try await deliver(&manifest, parts, as: name, staging, known, progress)
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
        manifest.node = StaticPod.nodeName(options.kubernetesDirectory)
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
}

func hex16(_ value: UInt64) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 16 - text.utf8.count) + text
}

func hex8(_ value: UInt32) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: 8 - text.utf8.count) + text
}
