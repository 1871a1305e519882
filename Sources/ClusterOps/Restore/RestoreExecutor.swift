import Etcd
import FoundationEssentials
import Glibc
package import Platform

/// What a restore made.
package struct RestoreReport: Sendable {
    package var dataDirectory: String
    /// Where the old directory is kept.
    package var asideDirectory: String?
    package var memberID = ""
    package var clusterID = ""
    package var snapshotRevision: Int64 = 0
    package var revision: Int64 = 0
    package var seconds: Double = 0
    /// What should be looked at now.
    package var notes: [String] = []
}

extension RestorePlan {
    /// Does all steps, each written down first. Where one fails, or the process is killed, `resume` goes on from there.
    /// `keepFetched` leaves what was brought here where it is, for who looks into it afterwards.
    package func execute(
        surroundings: RestoreSurroundings = .system, keepFetched: Bool = false,
        announce: (@Sendable (Int, RestoreStep) -> Void)? = nil, tell: (@Sendable (String) -> Void)? = nil,
        progress: BackupProgressHandler? = nil
    ) async throws -> RestoreReport {
        let started = formatRFC3339(clock.nowMilliseconds(), fraction: false)
        let journal = RestoreJournal(started: started, plan: record)
        var executor = RestoreExecutor(
            journal: journal, destinations: destinations, clock: clock, surroundings: surroundings,
            announce: announce, progress: progress)
        executor.keepFetched = keepFetched
        executor.tell = tell
        return try await executor.run()
    }

    /// Goes on with a restore into the directory that was interrupted. `keyFile` takes the place of the one it was begun with.
    /// `tell` gets the lines of other nodes.
    package static func resume(
        dataDirectory: String, keyFile: String? = nil, destinations: [any Destination] = [],
        clock: WallClock = .system, surroundings: RestoreSurroundings = .system,
        announce: (@Sendable (Int, RestoreStep) -> Void)? = nil, tell: (@Sendable (String) -> Void)? = nil,
        progress: BackupProgressHandler? = nil
    ) async throws -> RestoreReport {
        guard var journal = try RestoreExecutor.readJournal(dataDirectory), journal.state == .running else {
            throw BackupError(.notFound, "no restore into \(dataDirectory) waits to be resumed")
        }
        journal.plan.options.keyFile = keyFile ?? journal.plan.options.keyFile
        var executor = RestoreExecutor(
            journal: journal, destinations: destinations, clock: clock, surroundings: surroundings,
            announce: announce, progress: progress)
        executor.tell = tell
        return try await executor.run()
    }
}

struct RestoreExecutor {
    var journal: RestoreJournal
    let destinations: [any Destination]
    let clock: WallClock
    let surroundings: RestoreSurroundings
    let announce: (@Sendable (Int, RestoreStep) -> Void)?
    let progress: BackupProgressHandler?
    var keepFetched = false
    var tell: (@Sendable (String) -> Void)?
    /// The other members' restores, from the first step that has to do with them.
    var remote: RemoteRestore?
    var record: RestorePlan.Record { journal.plan }
    var directory: String { record.options.dataDirectory }

    // MARK: journal

    static func journalPath(_ directory: String) -> String {
        "\(FileSystem.parent(of: directory))/.kops-restore-\(FileSystem.name(of: directory)).json"
    }

    static func readJournal(_ directory: String) throws -> RestoreJournal? {
        let path = journalPath(directory)
        guard try FileSystem.status(path) != nil else { return nil }
        let bytes = try FileSystem.read(path, maxBytes: 16 << 20)
        guard let journal = try? JSONDecoder().decode(RestoreJournal.self, from: Data(bytes)),
            journal.formatVersion == RestoreJournal.formatVersion
        else {
            throw BackupError(
                .damaged, "\(path) is no journal of a restore that this version reads: look at it and remove it")
        }
        return journal
    }

    private func writeJournal() throws { try write(journal) }

    func write(_ journal: RestoreJournal) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        try AtomicFile.write(Array(try encoder.encode(journal)), to: Self.journalPath(directory), mode: 0o600)
    }

    // MARK: steps

    mutating func run() async throws -> RestoreReport {
        let began = monotonicNanoseconds()
        try FileSystem.makeDirectories(FileSystem.parent(of: directory))
        let lock = try RestoreLock.take(directory)
        defer { withExtendedLifetime(lock) {} }
        var report = RestoreReport(dataDirectory: directory, asideDirectory: record.asideDirectory)
        try writeJournal()
        // Begun before a kill: they may have gone on, or not have been begun everywhere.
        if record.steps.prefix(journal.done).contains(where: { $0.action == .beginOthers }) { try others().begin() }
        while journal.done < record.steps.count {
            try Task.checkCancellation()
            let step = record.steps[journal.done]
            announce?(journal.done, step)
            try surroundings.interrupt?(step, false)
            do {
                let notes = try await perform(step.action, &report)
                journal.notes = (journal.notes ?? []) + notes
            } catch {
                journal.lastProblem = "\(error)"
                if step.action == .prepareOthers {
                    // Nothing was changed anywhere: the next attempt is a new one.
                    try? FileSystem.removeFile(Self.journalPath(directory))
                } else {
                    try? writeJournal()
                }
                // There this node's part is done, and the others have ended.
                if step.action != .judgeOthers { await leaveOthers() }
                throw error
            }
            try surroundings.interrupt?(step, true)
            journal.done += 1
            journal.lastProblem = nil
            try writeJournal()
        }
        journal.state = .finished
        try writeJournal()
        let seed = try ClusterIdentity(initialCluster: record.initialCluster, token: record.token)
        report.clusterID = hex16(seed.clusterID)
        report.memberID = hex16(try seed.member(named: record.memberName).id)
        report.notes = journal.notes ?? []
        if let aside = report.asideDirectory, !FileSystem.exists(aside) { report.asideDirectory = nil }
        if report.revision == 0 { report.revision = DataDirectory.survey(directory).revision ?? 0 }
        report.snapshotRevision = report.revision - (record.options.bumpRevision ?? 0)
        if !keepFetched { try? FileSystem.removeTree(record.fetchDirectory) }
        report.seconds = Double(monotonicNanoseconds() - began) / 1e9
        return report
    }

    /// Returns what there is to be said of the step.
    private mutating func perform(_ action: RestoreStep.Action, _ report: inout RestoreReport) async throws -> [String]
    {
        switch action {
        case .fetch: try await fetch()
        case .build: journal.builtRevision = try await build()
        case .putBack:
            let notes = try await putBack()
            if !notes.isEmpty { journal.hasPutBack = true }
            return notes
        case .stop(let component): try await stop(component)
        case .proveStopped: try await proveStopped()
        case .setAside: try await setAside()
        case .activate: try await activate()
        case .start(let component): try start(component)
        case .proveServing:
            if let revision = try await proveServing() {
                report.revision = revision
            } else {
                journal.waitsForOthers = true
                return [
                    "this node's part is done; etcd serves as soon as a majority of its members is restored: run the plan's commands on the others, the last one proves the cluster"
                ]
            }
        case .compareMembers, .disarm, .proveServer, .lookForStale:
            if journal.waitsForOthers == true { return [] }
            return try await provePart(action)
        case .prepareOthers: try await prepareOthers()
        case .beginOthers: try others().begin()
        case .awaitOthers: try await awaitOthers()
        case .judgeOthers: return try await judgeOthers()
        case .restartKubelet: try await surroundings.restartKubelet()
        case .reviveKubelet: try await reviveKubelet()
        }
        return []
    }

    /// Steps that need etcd to serve.
    private func provePart(_ action: RestoreStep.Action) async throws -> [String] {
        switch action {
        case .compareMembers: return try await compareMembers()
        case .disarm: return try await disarm()
        case .lookForStale: return await lookForStale()
        default:
            try await proveServer()
            return []
        }
    }

    private func fetch() async throws {
        try FileSystem.makeDirectories(record.fetchDirectory, mode: 0o700)
        for part in record.source.files {
            guard let name = part.destination else { continue }
            guard let destination = destinations.first(where: { $0.name == name }) else {
                throw BackupError(.notFound, "the backup lies at destination \(name), which is not configured any more")
            }
            let wanted = part.manifest?.files.first { $0.name == part.file }?.bytes
            if let status = try FileSystem.status(part.path), status.size == wanted { continue }
            try await destination.get(part.file, to: part.path) { done, total in
                progress?(BackupProgress(phase: .download, subject: part.file, done: done, total: total))
            }
        }
    }

    /// The newest revision of what was made.
    private func build() async throws -> Int64 {
        let record = record
        let progress = progress
        let keys = try record.options.keyFile.map { try SealingKeys(file: $0) }
        let seed = try ClusterIdentity(initialCluster: record.initialCluster, token: record.token)
        let request = DataDirectory.Request(
            cluster: seed, local: try seed.member(named: record.memberName),
            bumpRevision: record.options.bumpRevision)
        return try await cancellable { isCancelled in
            try FileSystem.removeTree(record.newDirectory)
            let made: DataDirectory.Result
            do {
                made = try DataDirectory.make(record.newDirectory, request) { path in
                    _ = try DatabaseBuilder.build(
                        record.source, to: path, keys: keys,
                        allowUnchecked: record.options.overrides.contains(.unchecked), isCancelled: isCancelled,
                        progress: {
                            progress?(
                                BackupProgress(phase: .restore, subject: record.source.title, done: $0, total: $1))
                        })
                }
                try Ownership.copy(from: record.options.dataDirectory, to: record.newDirectory)
            } catch {
                try? FileSystem.removeTree(record.newDirectory)
                throw error
            }
            try AtomicFile.syncDirectory(FileSystem.parent(of: record.newDirectory))
            return made.revision
        }
    }

    /// With a control plane's own etcd, one that kubelet was about to start once more gets the time to end again.
    private func proveStopped() async throws {
        let deadline = ContinuousClock.now + (record.options.controlPlane ? surroundings.stopLimit : .zero)
        while true {
            let evidence = EtcdPresence.evidence(dataDirectory: directory, ports: Set(record.ports))
            if evidence.isEmpty { return }
            guard ContinuousClock.now < deadline else {
                throw BackupError(.refused, "an etcd is running on \(directory): \(evidence.joined(separator: "; "))")
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    /// Done already where the directory is gone and the other there.
    private func setAside() async throws {
        guard let aside = record.asideDirectory else { return }
        if try FileSystem.status(aside) == nil, isUsed {
            try await proveStopped()
            try FileSystem.rename(directory, to: aside)
        }
        try AtomicFile.syncDirectory(FileSystem.parent(of: directory))
    }

    private func activate() async throws {
        if try FileSystem.status(record.newDirectory) != nil {
            try await proveStopped()
            // A kubelet that saw etcd's manifest once more had a directory made anew, of nothing: kept like the other.
            if let aside = record.asideDirectory, isUsed {
                try FileSystem.rename(directory, to: unusedPath(aside))
            }
            // Only an empty directory is in the way here, and only an empty one is removed.
            if rmdir(directory) != 0 && errno != ENOENT { throw FileError("replace", directory) }
            try FileSystem.rename(record.newDirectory, to: directory)
        } else if try FileSystem.status(DataDirectory.databasePath(directory)) == nil {
            throw BackupError(.failed, "\(record.newDirectory) is gone: begin the restore anew")
        }
        try AtomicFile.syncDirectory(FileSystem.parent(of: directory))
    }
}

extension RestoreExecutor {
    /// Whether the data directory is there and holds something.
    fileprivate var isUsed: Bool { !((try? FileSystem.list(directory)) ?? []).isEmpty }
}

enum RestoreLock {
    /// Only one restore at a time works on a directory: held while the returned lock lives.
    static func take(_ directory: String) throws -> FileLock {
        guard let lock = try FileLock(RestoreExecutor.journalPath(directory) + ".lock", patience: 200) else {
            throw BackupError(.busy, "another restore into \(directory) is under way")
        }
        return lock
    }
}

enum Ownership {
    /// Gives the new tree the owner of the old directory (of its parent, where there is none): etcd may run as another user.
    static func copy(from old: String, to new: String) throws {
        guard geteuid() == 0, let status = try FileSystem.status(old), status.owner != 0 || status.group != 0 else {
            return
        }
        try apply(new, status.owner, status.group)
    }

    private static func apply(_ path: String, _ owner: uid_t, _ group: gid_t) throws {
        if lchown(path, owner, group) != 0 { throw FileError("change the owner of", path) }
        if let status = try FileSystem.status(path, followLinks: false), status.isDirectory {
            for name in try FileSystem.list(path) { try apply(path + "/" + name, owner, group) }
        }
    }
}
