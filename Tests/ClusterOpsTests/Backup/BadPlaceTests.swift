import Glibc
import Platform
import Testing

@testable import ClusterOps

/// A file system of its own in memory, for what only a mount can show: no room, and no writing. Gone with `unmount`.
private struct MountedPlace {
    let path: String

    /// Whether this machine lets it be mounted: root's right, and not within every container.
    static let isThere: Bool = {
        guard geteuid() == 0, let place = try? MountedPlace(megabytes: 1) else { return false }
        place.unmount()
        return true
    }()

    init(megabytes: Int) throws {
        path = try temporaryDirectory()
        let run = try runProgram(["/bin/mount", "-t", "tmpfs", "-o", "size=\(megabytes)m", "tmpfs", path])
        guard run.status == 0 else { throw BackupError(.invalid, "mount: \(run.output)") }
    }

    func makeReadOnly() throws {
        #expect(try runProgram(["/bin/mount", "-o", "remount,ro", path]).status == 0)
    }

    func unmount() {
        _ = try? runProgram(["/bin/umount", path])
        try? FileSystem.removeTree(path)
    }
}

@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct BadPlaceTests {
    /// A disk that turned read-only under a good backup: told in one line, what is there stays, the other place gets its own.
    @Test(.enabled(if: MountedPlace.isThere)) func aReadOnlyPlaceIsToldAndStopsOnlyItself() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 100)
        let mounted = try MountedPlace(megabytes: 64)
        defer { mounted.unmount() }
        let fixed = LocalDestination(name: "fixed", path: mounted.path + "/backups")
        let good = LocalDestination(name: "good", path: etcd.directory + "/backups")
        let before = try await service(etcd, [fixed]).backupNow(onDemand: false).manifest.name
        try mounted.makeReadOnly()

        let result = try await service(etcd, [fixed, good]) { $0.workDirectory = etcd.directory + "/work" }
            .backupNow(onDemand: false)
        let problem = result.outcomes.first { $0.destination == "fixed" }?.problem ?? ""
        #expect(problem.contains(mounted.path) && problem.contains("Read-only"), "\(problem)")
        #expect(!problem.contains("\n"))
        #expect(result.outcomes.first { $0.destination == "good" }.map { $0.problem == nil } == true)

        do {
            _ = try await service(etcd, [fixed]) { $0.workDirectory = etcd.directory + "/work" }
                .backupNow(onDemand: false)
            Issue.record("a backup to a read-only place was taken as made")
        } catch let error as BackupError {
            #expect(error.code == .destination && error.message.contains("fixed"), "\(error)")
        }
        let left = try await BackupCatalogue.read(fixed)
        #expect(left.map { "\($0.name)" } == [before] && left.allSatisfy { $0.isGood })
    }

    /// Where the new data directory has no room, nothing is begun, and the line names the place and both sizes.
    @Test(.enabled(if: MountedPlace.isThere)) func aRestoreWithoutRoomIsSaidBeforehand() async throws {
        let etcd = try EtcdProcess(name: "cp1")
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 100)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        _ = try await service(etcd, [place]).backupNow(onDemand: false)
        etcd.kill()
        let small = try MountedPlace(megabytes: 32)
        defer { small.unmount() }
        var options = RestoreOptions()
        options.dataDirectory = small.path + "/below/etcd"
        options.etcd.endpoints = [etcd.endpoint]
        do {
            _ = try await RestorePlan.make(options, destinations: [place])
            Issue.record("a restore without room was planned")
        } catch let error as BackupError {
            #expect(error.code == .noSpace && error.message.contains(small.path), "\(error)")
            #expect(error.message.contains("MiB free") && error.message.contains("needs"), "\(error)")
        }
        #expect(try FileSystem.list(small.path).isEmpty)
    }

    /// Two sidecars at one moment, each with a directory of its own and one that both share: both bring theirs, under two names,
    /// and nothing else is there.
    @Test func twoSidecarsAtOnceSpoilNothingAtASharedPlace() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 500)
        let shared = LocalDestination(name: "shared", path: etcd.directory + "/shared")
        for round in 0..<3 {
            // One clock, and for one of both an increment, so that its first file has another name.
            let now = WallClock.system.nowMilliseconds() + Int64(round) * 1000
            let services = (1...2).map { i in
                let own = LocalDestination(name: "own", path: etcd.directory + "/own-\(i)")
                let made = service(etcd, [own, shared]) { if i == 1 { $0.incrementalChain = 5 } }
                return BackupService(
                    options: made.options, etcd: made.etcd, destinations: [own, shared], registry: MetricRegistry(),
                    logger: quietLogger(), clock: WallClock { now }, toolVersion: "test")
            }
            let results = try await withThrowingTaskGroup(of: BackupResult.self) { group in
                for sidecar in services { group.addTask { try await sidecar.backupNow(onDemand: false) } }
                return try await group.reduce(into: [BackupResult]()) { $0.append($1) }
            }
            let brought = results.filter { $0.outcomes.contains { $0.destination == "shared" && $0.problem == nil } }
            #expect(brought.count == results.count)
            for result in results {
                #expect(result.outcomes.first { $0.destination == "own" }.map { $0.problem == nil } == true)
            }
            let stored = try await BackupCatalogue.read(shared)
            let names = Set(stored.map { "\($0.name)" })
            #expect(stored.allSatisfy { $0.isGood } && names.isSuperset(of: brought.map(\.manifest.name)))
        }
        let files = try FileSystem.list(shared.path).filter { $0.hasSuffix(".snapshot.gz") }
        let deltas = try FileSystem.list(shared.path).filter { $0.hasSuffix(".delta.gz") }
        #expect(files.count + deltas.count == 6)
        #expect(try await BackupCatalogue.read(shared).count == 6)
        #expect(files.count >= 4)
        for file in files {
            let outcome = try await BackupVerifier.verify(
                shared.path + "/" + file, destinations: [], workDirectory: etcd.directory)
            #expect(outcome.problem == nil, "\(file): \(outcome.problem ?? "")")
        }
    }
}
