import Platform
import TestSupport
import Testing

@testable import ClusterOps

/// A store where others do something just when this one does.
private final class BusyStore: Destination {
    let behind: LocalDestination
    let afterPut = Lock<@Sendable (String) throws -> Void>({ _ in })
    let afterRemove = Lock<@Sendable (String) throws -> Void>({ _ in })

    init(_ path: String) { behind = LocalDestination(name: "store", path: path) }

    var name: String { behind.name }
    var location: String { behind.location }
    func list() async throws -> [StoredFile] { try await behind.list() }
    func put(file path: String, as name: String, progress: ByteProgress?) async throws {
        try await behind.put(file: path, as: name, progress: progress)
    }
    func putNew(file path: String, as name: String, progress: ByteProgress?) async throws {
        try await behind.putNew(file: path, as: name, progress: progress)
        try afterPut.withLock { $0 }(name)
    }
    func get(_ name: String, to path: String, progress: ByteProgress?) async throws {
        try await behind.get(name, to: path, progress: progress)
    }
    func read(_ name: String, limit: Int) async throws -> [UInt8] { try await behind.read(name, limit: limit) }
    func remove(_ name: String) async throws {
        try await behind.remove(name)
        try afterRemove.withLock { $0 }(name)
    }
    func removeLeftovers(olderThan: Int64) async throws { try await behind.removeLeftovers(olderThan: olderThan) }
}

/// Sidecars that make, bring and remove backups at the same place at the same time.
@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct SeveralWritersTests {
    private func scene() async throws -> (etcd: EtcdProcess, store: BusyStore, sidecar: BackupService) {
        let etcd = try EtcdProcess()
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 2000)
        let store = BusyStore(etcd.directory + "/store")
        let sidecar = service(etcd, [store]) {
            $0.workDirectory = etcd.directory + "/work"
            $0.incrementalChain = 5
        }
        return (etcd, store, sidecar)
    }

    /// Another one's retention removes what an increment builds on while it is brought: it would be no backup.
    @Test func anIncrementWhoseParentGoesMeanwhileIsMadeFull() async throws {
        let (etcd, store, sidecar) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        let first = try await sidecar.backupNow(onDemand: false).manifest
        try await fill(etcd, keys: 10, seed: 2)
        let path = store.behind.path
        store.afterPut.withLock {
            $0 = { if $0.hasSuffix(".delta.gz") { try FileSystem.removeFile("\(path)/\(first.name).json") } }
        }
        let second = try await sidecar.backupNow(onDemand: false)
        #expect(second.manifest.kind == .full)
        #expect(try await BackupCatalogue.read(store).filter(\.isGood).map { "\($0.name)" } == [second.manifest.name])
        #expect(try FileSystem.list(path).allSatisfy { !$0.hasSuffix(".delta.gz") })
        etcd.kill()
    }

    /// Another one's increment comes after this one's retention has looked: what it builds on stays, and what that builds on.
    @Test func whatAnIncrementBuildsOnIsPutBack() async throws {
        let (etcd, store, sidecar) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        var made: [BackupManifest] = []
        for seed in UInt64(2)..<4 {
            made.append(try await sidecar.backupNow(onDemand: false).manifest)
            try await fill(etcd, keys: 10, seed: seed)
        }
        #expect(made[1].parent == made[0].name)
        // An increment of another one on the second of them, that is there only from the moment on when that is removed.
        let increment = try await sidecar.backupNow(onDemand: false).manifest
        #expect(increment.parent == made[1].name)
        let (path, aside) = (store.behind.path, etcd.directory + "/aside")
        try FileSystem.makeDirectories(aside)
        let files = try FileSystem.list(path).filter { $0.hasPrefix(increment.name) }
        for file in files { try FileSystem.rename("\(path)/\(file)", to: "\(aside)/\(file)") }
        let second = made[1].name
        store.afterRemove.withLock {
            $0 = { name in
                guard name == second + ".json" else { return }
                for file in files { try FileSystem.rename("\(aside)/\(file)", to: "\(path)/\(file)") }
            }
        }
        let other = service(etcd, [store]) {
            $0.workDirectory = etcd.directory + "/other"
            $0.destinations[0].retention.keepLast = 1
        }
        // Or it would have the increment's name, in the same second.
        try await fill(etcd, keys: 10, seed: 9)
        let full = try await other.backupNow(onDemand: false)
        #expect(full.manifest.kind == .full && full.pruned.isEmpty)
        let left = try await BackupCatalogue.read(store)
        #expect(Set(left.map { "\($0.name)" }) == Set((made + [increment, full.manifest]).map(\.name)))
        #expect(left.allSatisfy { $0.isGood })
        let outcome = try await BackupVerifier.verify(
            path + "/" + (increment.file(.delta)?.name ?? ""), destinations: [], workDirectory: etcd.directory)
        #expect(outcome.problem == nil)
        etcd.kill()
    }

    /// Each control plane builds on its own newest backup, whoever has made a newer one.
    @Test func sidecarsSideBySideKeepTheirChains() async throws {
        let (etcd, store, _) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        // In a small database ten keys may change half of the pages, and a full backup pays.
        try await fill(etcd, keys: 20_000, seed: 77)
        let sidecars = (1...3).map { i in
            service(etcd, [store]) {
                $0.workDirectory = etcd.directory + "/work-\(i)"
                $0.incrementalChain = 5
                // Fewer than two for each would take away what the last one is about to build on: a full one then.
                $0.destinations[0].retention.keepLast = 6
            }
        }
        for round in UInt64(1)...3 {
            try await fill(etcd, keys: 10, seed: round)
            try await withThrowingTaskGroup(of: BackupResult.self) { group in
                for sidecar in sidecars { group.addTask { try await sidecar.backupNow(onDemand: false) } }
                for try await result in group {
                    #expect(round == 1 || result.manifest.kind == .incremental, "\(round) \(result.manifest.name)")
                }
            }
        }
        let left = try await BackupCatalogue.read(store)
        #expect(left.allSatisfy { $0.isGood }, "\(left.compactMap { $0.problem })")
        etcd.kill()
    }

    /// Each follows etcd behind its own backup: two logs beside one would be a log of changes that nobody can follow.
    @Test func logsOfChangesSideBySideAreWhole() async throws {
        let (etcd, store, _) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        let sidecars = (1...3).map { i in service(etcd, [store]) { $0.workDirectory = etcd.directory + "/work-\(i)" } }
        let tasks = sidecars.map { sidecar in
            Task {
                await EventLogger(service: sidecar, interval: 1000, registry: MetricRegistry()) {
                    _ = try? await sidecar.backupNow(onDemand: false)
                }.run()
            }
        }
        try await eventually("three logs of three segments") {
            try await fill(etcd, keys: 1, seed: 9)
            let entries = try await BackupCatalogue.read(store)
            return entries.count(where: { $0.eventSegments.count >= 3 }) == 3
        }
        for task in tasks {
            task.cancel()
            await task.value
        }
        for entry in try await BackupCatalogue.read(store) {
            let file = try #require(entry.manifest?.file(.snapshot)?.name)
            let outcome = try await BackupVerifier.verify(
                store.behind.path + "/" + file, destinations: [], workDirectory: etcd.directory)
            #expect(outcome.problem == nil && outcome.logSegments >= 3, "\(outcome.problem ?? "")")
        }
        etcd.kill()
    }

    /// When more than half of the pages changed, the attempt at an increment is given up; its page hashes must not take those of
    /// the full backup with them.
    @Test func afterAnIncrementThatWasGivenUpTheNextIsOne() async throws {
        let (etcd, store, sidecar) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        _ = try await sidecar.backupNow(onDemand: false)
        try await fill(etcd, keys: 20_000, seed: 5)
        #expect(try await sidecar.backupNow(onDemand: false).manifest.kind == .full)
        try await fill(etcd, keys: 10, seed: 6)
        #expect(try await sidecar.backupNow(onDemand: false).manifest.kind == .incremental)
        #expect(try await BackupCatalogue.read(store).allSatisfy(\.isGood))
        etcd.kill()
    }
}

/// Backups of several clusters under one name.
@Suite struct LineageTests {
    private let now: Int64 = 1_790_000_000_000

    private func item(_ hours: Int64, _ id: String?) -> Retention.Item {
        Retention.Item(
            name: BackupName(cluster: "c", time: now - hours * 3_600_000, revision: 10_000 - hours), bytes: 1,
            clusterID: id)
    }

    private func hours(_ items: [Retention.Item], keepLast: Int = 2) -> [Int64] {
        var rules = RetentionOptions()
        rules.keepLast = keepLast
        return Retention.prune(items, rules, now: now).compactMap { BackupName($0) }.map { (now - $0.time) / 3_600_000 }
    }

    @Test func clustersSideBySideDoNotPushEachOtherOut() {
        let a = [90, 60, 30, 2].map { item($0, "a") }
        let b = [80, 50, 20, 10, 1].map { item($0, "b") }
        #expect(hours(a + b) == [90, 80, 60, 50, 20])
        // Each for itself the same.
        #expect(hours(a) == [90, 60] && hours(b) == [80, 50, 20])
    }

    @Test func aRestoredClusterGoesOnFromItsOldBackups() {
        let old = [900, 600, 500].map { item($0, "a") }
        let new = [3, 2, 1].map { item($0, "b") }
        #expect(hours(old + new) == [900, 600, 500, 3])
        // Another cluster's first backups look just like that: for a week the last one of before stays.
        let recent = [90, 60, 50].map { item($0, "a") }
        #expect(hours(recent + new) == [90, 60, 3])
        // And when both have gone on, they are two.
        #expect(hours(recent + new + [item(0, "a")]) == [90, 60, 3])
    }

    /// A node whose sidecar has died keeps its last backup for three months, which alone has its files: the others go on.
    @Test func aNodesNewestBackupOutlivesTheOthersGoingOn() {
        func item(_ days: Int64, _ node: String?, parent: Int64? = nil) -> Retention.Item {
            func name(_ days: Int64) -> BackupName {
                BackupName(cluster: "c", time: now - days * 86_400_000, revision: 10_000 - days)
            }
            return Retention.Item(
                name: name(days), bytes: 1, parent: parent.map { "\(name($0))" }, clusterID: "a", node: node)
        }
        func removed(_ items: [Retention.Item]) -> [Int64] {
            var rules = RetentionOptions()
            rules.keepLast = 2
            rules.maxAge = 20 * 86_400_000
            return Retention.prune(items, rules, now: now).compactMap { BackupName($0) }.map {
                (now - $0.time) / 86_400_000
            }
        }
        // With what it builds on; of its other ones, and of backups that do not say whose they are, none.
        let living = [5, 4, 3, 2, 1].map { item($0, $0 % 2 == 0 ? "cp1" : "cp3") }
        let dead = [item(60, "cp2"), item(50, "cp2"), item(40, "cp2", parent: 50), item(30, nil)]
        #expect(removed(dead + living) == [60, 30, 5, 4, 3])
        #expect(removed([item(95, "cp2")] + living) == [95, 5, 4, 3])
    }

    @Test func whatHasNoManifestIsNobodys() {
        let items = [item(9, "a"), item(5, "b"), item(4, "a"), item(3, "b")]
        var lost = item(2, nil)
        lost.good = false
        #expect(hours(items + [lost], keepLast: 1) == [9, 5])
        var older = item(20, nil)
        older.good = false
        #expect(hours(items + [older], keepLast: 1) == [20, 9, 5])
    }
}
