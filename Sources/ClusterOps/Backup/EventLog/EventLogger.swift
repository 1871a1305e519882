import Etcd
import Glibc
import Logging
package import Platform

/// Writes the log of changes beside the newest backup, so that a restore loses seconds and not hours. One task runs it; it
/// ends by cancellation. docs/backup-and-restore.md, "Lose seconds, not hours".
///
///     etcd's watch → segment under a temporary name → (every few seconds) synced, renamed → each destination
///                                                                     └→ many of them put together → each destination
///
/// Bounded: a segment holds at most `maxSegmentBytes` before it is closed, and what destinations have not taken yet at most
/// `maxPendingBytes`; beyond that the log of this backup ends, which is told, and the next backup begins a new one.
package final class EventLogger: Sendable {
    static let maxSegmentBytes: Int64 = 8 << 20
    static let maxPendingBytes: Int64 = 256 << 20

    let service: BackupService
    let metrics: EventLogMetrics
    /// Milliseconds between two segments.
    let interval: Int64
    /// Asks for a backup, where the log cannot go on without one.
    let requestBackup: @Sendable () async -> Void
    private let directory: String
    private let packer: EventPacker
    /// By place and backup; a mark never changes.
    private let owners = Lock<[String: [String: String]]>([:])

    package convenience init(
        service: BackupService, interval: Int64, registry: MetricRegistry,
        requestBackup: @escaping @Sendable () async -> Void
    ) {
        self.init(
            service: service, interval: interval, registry: registry, packing: EventPacking(),
            requestBackup: requestBackup)
    }

    init(
        service: BackupService, interval: Int64, registry: MetricRegistry, packing: EventPacking,
        requestBackup: @escaping @Sendable () async -> Void
    ) {
        self.service = service
        self.interval = max(1000, interval)
        self.requestBackup = requestBackup
        metrics = EventLogMetrics(registry)
        directory = service.options.workDirectory + "/event-log"
        packer = EventPacker(directory: directory + "/kept", packing: packing)
    }

    /// Runs until the task is cancelled. Whatever fails is logged, counted and tried again.
    package func run() async {
        var askedAt: Int64?
        var lastProblem = ""
        while !Task.isCancelled {
            do {
                try FileSystem.makeDirectories(directory, mode: 0o700)
                _ = try EventLogOwner.own(service.options.workDirectory)
                try removeUnfinished()
                if let base = try await newestBackup() {
                    try await follow(base)
                    lastProblem = ""
                } else {
                    throw NeedsBackup(why: "there is no good backup of this cluster yet that is this sidecar's")
                }
            } catch is CancellationError {
                break
            } catch let need as NeedsBackup {
                metrics.isFollowing(false)
                let now = service.clock.nowMilliseconds()
                // One request at a time, and not again within ten minutes: the backup may be what fails.
                if askedAt.map({ now - $0 > 600_000 || now < $0 }) ?? true {
                    askedAt = now
                    service.logger.notice("the log of changes needs a new backup", metadata: ["why": "\(need.why)"])
                    await requestBackup()
                    continue
                }
            } catch {
                metrics.isFollowing(false)
                if Task.isCancelled { break }
                metrics.failed()
                if "\(error)" != lastProblem {
                    lastProblem = "\(error)"
                    service.logger.warning("the log of changes stands still", metadata: ["error": "\(error)"])
                }
            }
            try? await Task.sleep(for: .milliseconds(min(interval, 5000)))
        }
        metrics.end()
    }

    /// The log cannot go on from where it stands.
    private struct NeedsBackup: Error {
        let why: String
    }

    /// The newest good backup that is this sidecar's or nobody's, and the places that hold it.
    private struct Base {
        var manifest: BackupManifest
        var places: [any Destination]
    }

    /// On the way, what packs stand for is removed.
    private func newestBackup() async throws -> Base? {
        var newest: Base?
        var last: (any Error)?
        for destination in service.destinations {
            do {
                let entries = try await BackupCatalogue.read(destination, cluster: service.options.cluster)
                try await sweep(entries, destination)
                guard let manifest = try await newestOwn(entries, destination) else { continue }
                if let found = newest, found.manifest.name == manifest.name {
                    newest?.places.append(destination)
                } else if newest.map({ $0.manifest.time < manifest.time }) ?? true {
                    newest = Base(manifest: manifest, places: [destination])
                }
            } catch {
                last = error
            }
        }
        if newest == nil, let last { throw last }
        return newest
    }

    /// One that nobody has marked is taken: of two who try, one gets it.
    private func newestOwn(_ entries: [BackupEntry], _ place: any Destination) async throws -> BackupManifest? {
        let mark = try EventLogOwner.own(service.options.workDirectory)
        var known = owners.withLock { $0[place.name] ?? [:] }
        let names = Set(entries.map { "\($0.name)" })
        known = known.filter { names.contains($0.key) }
        defer { owners.withLock { [known] in $0[place.name] = known } }
        for entry in entries.reversed() where entry.isGood {
            let name = "\(entry.name)"
            if let owner = known[name] {
                if owner == mark { return entry.manifest }
                continue
            }
            if let owner = try await EventLogOwner.read(entry, at: place) {
                known[name] = owner
                if owner == mark { return entry.manifest }
            } else if try await EventLogOwner.take(name, at: place, service.options.workDirectory) {
                known[name] = mark
                return entry.manifest
            }
        }
        return nil
    }

    // MARK: following

    /// Follows etcd behind one backup; returns when a newer one has taken over.
    private func follow(_ base: Base) async throws {
        let sealing = try SealingSetup(service.options.sealing)
        let position = try await self.position(base, sealing)
        try packer.clear(keeping: base.manifest.name)
        do { try await packer.adopt(base.places[0], backup: base.manifest.name) } catch {
            // Only what is not here stays in pieces.
            service.logger.info("segments stay as they are", metadata: ["error": "\(error)"])
        }
        let state = SegmentBuilder(
            position, base: base.manifest, directory: directory, recipients: sealing.recipients,
            clock: service.clock)
        let http = HTTPClient(name: "kops-watch")
        defer { http.shutdown() }
        let client = EtcdClient(
            endpoints: service.etcd.endpoints, tls: service.etcd.tls, http: http,
            timeout: .milliseconds(service.etcd.timeout))
        guard let member = EtcdClient.order(await client.survey()).first else {
            throw BackupError(.etcd, "no etcd member can be followed")
        }
        guard hex16(member.status.header.clusterID) == base.manifest.clusterID else {
            throw NeedsBackup(why: "etcd is another cluster than that of the newest backup")
        }
        metrics.isFollowing(true)
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await client.watchAll(
                        from: member.endpoint, startRevision: position.after + 1, http: http
                    ) { try state.take($0) }
                }
                group.addTask { try await self.tick(base, state, client, member.endpoint) }
                defer { group.cancelAll() }
                try await group.next()
            }
        } catch let error as EtcdError where error.code == .compacted {
            throw NeedsBackup(why: error.message)
        }
    }

    /// Every interval: closes the segment, brings what is closed to the destinations, looks for a newer backup and for a
    /// watch that has gone silent.
    private func tick(_ base: Base, _ state: SegmentBuilder, _ client: EtcdClient, _ endpoint: String) async throws {
        var silentSince: Int64?
        var surveyed = service.clock.nowMilliseconds()
        while true {
            try await Task.sleep(for: .milliseconds(interval))
            let status = try await client.status(endpoint)
            let covered = state.covered
            metrics.follows(revision: covered, lag: max(0, status.header.revision - covered))
            if status.header.revision > covered {
                let now = service.clock.nowMilliseconds()
                let since = silentSince ?? now
                silentSince = state.moved() ? nil : since
                if silentSince != nil, now - since > max(30_000, interval * 3) {
                    throw BackupError(.etcd, "\(endpoint): the watch is silent while etcd goes on")
                }
            } else {
                silentSince = nil
            }
            if let finished = try await WorkerPool.blocking.run({ try state.close() }) {
                metrics.wrote(bytes: finished.bytes)
            }
            try await deliver(base)
            try await pack(base)
            // Reading catalogues costs requests: at once after a backup of this process, else once a minute.
            let now = service.clock.nowMilliseconds()
            let made = service.newestMade.withLock { $0 }
            guard made.map({ $0 != base.manifest.name }) ?? false || now - surveyed > 60_000 || now < surveyed else {
                continue
            }
            surveyed = now
            if let newer = try await newestBackup(), newer.manifest.time > base.manifest.time,
                newer.manifest.clusterID == base.manifest.clusterID, state.written >= newer.manifest.revision
            {
                // All up to the newer backup is in this log; the newer one's goes on from there.
                try await pack(base, all: true)
                try removePending(keeping: newer.manifest.name)
                return
            }
        }
    }

    // MARK: state

    /// Where the log of the backup stands: from the state of the last run, else from the segments that lie beside it.
    private func position(_ base: Base, _ sealing: SealingSetup) async throws -> EventLogPosition {
        try removePending(keeping: base.manifest.name)
        let own = LocalDestination(name: "event-log", path: directory)
        let waiting = try pending().compactMap { EventFile($0, backup: base.manifest.name)?.last }.max()
        if let saved = SavedPosition.load(directory), let position = saved.position(base.manifest),
            // A segment that is there already: the run before ended between the two.
            waiting.map({ $0 < position.number }) ?? true
        {
            return position
        }
        var last: (place: any Destination, file: StoredFile, name: EventFile)?
        for place in [own as any Destination] + base.places {
            for file in try await place.list() {
                guard let name = EventFile(file.name, backup: base.manifest.name) else { continue }
                if last.map({ $0.name.last < name.last }) ?? true { last = (place, file, name) }
            }
        }
        guard let last else { return try EventLogPosition(base: base.manifest) }
        if base.manifest.sealing != nil, sealing.keys == nil {
            throw NeedsBackup(why: "the log beside \(base.manifest.name) is sealed and its position is lost")
        }
        let copy = directory + "/.kops-last" + LocalDestination.partSuffix
        defer { unlink(copy) }
        try await last.place.get(last.file.name, to: copy, progress: nil)
        do {
            guard let piece = try last.name.pieces(copy).last else {
                throw BackupError(.damaged, "\(last.file.name) is empty")
            }
            let (header, end) = try EventSegment.read(copy, piece, keys: sealing.keys) { _ in }
            return EventLogPosition(
                clusterID: header.clusterID, number: last.name.last + 1, after: end.revision, previous: end.sha256)
        } catch let error as BackupError where error.code == .damaged {
            throw NeedsBackup(why: error.message)
        }
    }

    // MARK: delivery

    /// What a killed run left.
    private func removeUnfinished() throws {
        for file in try FileSystem.list(directory) where file.hasSuffix(LocalDestination.partSuffix) {
            try FileSystem.removeFile(directory + "/" + file)
        }
    }

    /// Segments that wait, in order.
    private func pending() throws -> [String] {
        try FileSystem.list(directory).filter {
            BackupCatalogue.backupName(ofFile: $0) != nil && !$0.hasSuffix(".part")
        }
    }

    private func removePending(keeping backup: String) throws {
        for file in try pending() where EventFile(file, backup: backup) == nil {
            try FileSystem.removeFile(directory + "/" + file)
        }
    }

    /// Brings waiting segments to every place of the backup, in order; one that fails does not stop the others, but a segment
    /// waits until all have it.
    private func deliver(_ base: Base) async throws {
        let waiting = try pending()
        var failed: Set<String> = []
        var size: Int64 = 0
        for file in waiting {
            let path = directory + "/" + file
            for place in base.places where !failed.contains(place.name) {
                do {
                    try await place.put(file: path, as: file, progress: nil)
                } catch {
                    if Task.isCancelled { throw CancellationError() }
                    failed.insert(place.name)
                    metrics.notDelivered(place.name)
                    service.logger.warning(
                        "segment not delivered", metadata: ["destination": "\(place.name)", "error": "\(error)"])
                }
            }
            if failed.isEmpty {
                try packer.keep(path, backup: base.manifest.name)
            } else {
                size += try FileSystem.status(path)?.size ?? 0
            }
        }
        metrics.pending(bytes: size)
        guard size <= EventLogger.maxPendingBytes else {
            try removePending(keeping: "")
            throw NeedsBackup(
                why: "destinations did not take the log for too long: \(failed.sorted().joined(separator: ", "))")
        }
    }

    // MARK: packs

    /// Puts small segments together where it pays and brings the pack to the destinations.
    private func pack(_ base: Base, all: Bool = false) async throws {
        let (packer, directory) = (packer, directory)
        let made = try await cancellable {
            try packer.pack(base.manifest.name, into: directory, all: all, isCancelled: $0)
        }
        if made != nil { try await deliver(base) }
    }

    /// One that fails is told, and tried again the next time.
    private func sweep(_ entries: [BackupEntry], _ place: any Destination) async throws {
        for entry in entries where !entry.packedSegments.isEmpty {
            do { try await packer.sweep(entry, at: place, now: service.clock.nowMilliseconds()) } catch {
                if Task.isCancelled { throw CancellationError() }
                service.logger.info(
                    "packed segments stay", metadata: ["destination": "\(place.name)", "error": "\(error)"])
                return
            }
        }
    }
}
