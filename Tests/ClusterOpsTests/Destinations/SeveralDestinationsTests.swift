import Etcd
import Glibc
import Platform
import Testing

@testable import ClusterOps

/// Backups of a real etcd at places of every kind at once.
@Suite(.enabled(if: EtcdProcess.isThere && S3Server.isThere && SSHServer.isThere), .serialized)
struct SeveralDestinationsTests {
    private func etcd() async throws -> EtcdProcess {
        let etcd = try EtcdProcess(name: "cp1")
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 500)
        return etcd
    }

    private func backups(
        _ etcd: EtcdProcess, _ destinations: [any Destination], _ retention: RetentionOptions = RetentionOptions()
    ) -> BackupService {
        let made = service(etcd, destinations) { options in
            for i in options.destinations.indices { options.destinations[i].retention = retention }
            options.workDirectory = etcd.directory + "/work"
        }
        return BackupService(
            options: made.options, etcd: made.etcd, destinations: destinations, registry: MetricRegistry(),
            logger: quietLogger(),
            clock: WallClock {
                Self.time.withLock {
                    $0 += 1000; return $0
                }
            }, toolVersion: "test")
    }

    /// A clock that goes on by a second whenever it is looked at: names differ.
    private static let time = Lock(WallClock.system.nowMilliseconds())

    @Test func onePlaceThatFailsStopsNoOther() async throws {
        let etcd = try await etcd()
        defer { try? FileSystem.removeTree(etcd.directory) }
        let local = try await PlaceKind.local.make()
        let sftp = try await PlaceKind.sftp.make()
        let s3 = FailingDestination(try await PlaceKind.s3.make(), failing: ["put"])
        let result = try await backups(etcd, [s3, local, sftp]).backupNow(onDemand: false)
        #expect(result.outcomes.filter { $0.problem != nil }.map(\.destination) == ["s3"])
        for place in [local, sftp] { #expect(try await BackupCatalogue.read(place).count(where: \.isGood) == 1) }
        #expect(try await s3.behind.list().isEmpty)
        // Prune goes on past a place that does not answer.
        s3.failing.withLock { $0 = ["list"] }
        let outcomes = await backups(etcd, [s3, local]).pruneAll(dryRun: false)
        #expect(outcomes.map { $0.problem == nil } == [false, true])
        etcd.kill()
    }

    /// A machine without any state of its own sees what is there, and removes by each place's rules.
    @Test(arguments: PlaceKind.allCases) func pruneRemovesThereAndNeverTheLastGoodOne(_ kind: PlaceKind) async throws {
        let etcd = try await etcd()
        defer { try? FileSystem.removeTree(etcd.directory) }
        let place = try await kind.make()
        let asked = try await backups(etcd, [place]).backupNow(onDemand: true).manifest.name
        var names: [String] = []
        for _ in 0..<3 { names.append(try await backups(etcd, [place]).backupNow(onDemand: false).manifest.name) }
        var rules = RetentionOptions()
        rules.keepLast = 1
        let outcome = await backups(etcd, [place], rules).pruneAll(dryRun: false)[0]
        #expect(outcome.problem == nil)
        #expect(Set(outcome.removed) == Set(names.dropLast()))
        #expect(Set(try await BackupCatalogue.read(place).map { "\($0.name)" }) == [asked, names[2]])
        #expect(try await place.list().allSatisfy { $0.name.hasPrefix(asked) || $0.name.hasPrefix(names[2]) })
        rules.maxAge = 1
        rules.maxSize = 1
        rules.pruneOnDemand = true
        _ = await backups(etcd, [place], rules).pruneAll(dryRun: false)
        #expect(try await BackupCatalogue.read(place).map { "\($0.name)" } == [names[2]])
        etcd.kill()
    }

    @Test func whatIsLockedStaysAndTheOthersGo() async throws {
        let etcd = try await etcd()
        defer { try? FileSystem.removeTree(etcd.directory) }
        let server = try #require(S3Server.shared)
        var options = try await server.bucket(headers: [("x-amz-bucket-object-lock-enabled", "true")])
        let free = try await backups(etcd, [server.destination(options)]).backupNow(onDemand: false).manifest.name
        options.objectLockMode = "COMPLIANCE"
        options.objectLockFor = 86_400_000
        let place = server.destination(options)
        let locked = try await backups(etcd, [place]).backupNow(onDemand: false).manifest.name
        let newest = try await backups(etcd, [place]).backupNow(onDemand: false).manifest.name
        var rules = RetentionOptions()
        rules.keepLast = 1
        let outcome = await backups(etcd, [place], rules).pruneAll(dryRun: false)[0]
        #expect(outcome.problem == nil)
        #expect(outcome.removed == [free])
        let left = try await BackupCatalogue.read(place)
        #expect(left.map { "\($0.name)" } == [locked, newest])
        for entry in left { #expect(entry.isGood) }
        etcd.kill()
    }

    @Test(arguments: [PlaceKind.s3, .sftp]) func aRestoreFetchesWhatItNeeds(_ kind: PlaceKind) async throws {
        let etcd = try await etcd()
        defer { try? FileSystem.removeTree(etcd.directory) }
        let place = try await kind.make()
        let backup = try await backups(etcd, [place]).backupNow(onDemand: false)
        etcd.kill()
        try FileSystem.removeTree(etcd.dataDirectory)
        var options = RestoreOptions()
        options.dataDirectory = etcd.dataDirectory
        options.etcd.endpoints = [etcd.endpoint]
        let failing = FailingDestination(place, failing: ["get"])
        let plan = try await RestorePlan.make(options, destinations: [failing])
        await #expect(throws: BackupError(.destination, "")) { try await plan.execute() }
        failing.failing.withLock { $0 = [] }
        let report = try await RestorePlan.resume(dataDirectory: etcd.dataDirectory, destinations: [failing])
        #expect(report.revision == backup.manifest.revision + 1_000_000_000)
        let left = try FileSystem.list(etcd.directory).filter { $0.hasPrefix(".kops-restore-data") }
        #expect(!left.contains(".kops-restore-data"))
    }

    /// The member that gives the snapshot is killed in the midst of it.
    @Test func anotherMemberTakesOverInTheMidst() async throws {
        let ports = try (0..<3).map { _ in (client: try freePort(), peer: try freePort()) }
        let list = (0..<3).map { "n\($0)=http://127.0.0.1:\(ports[$0].peer)" }.joined(separator: ",")
        let members = try (0..<3).map { try EtcdProcess(name: "n\($0)", ports: ports[$0], initialCluster: list) }
        defer { for member in members { try? FileSystem.removeTree(member.directory) } }
        for member in members { try await member.waitUntilServing() }
        try await fill(members[0], keys: 60_000)
        let place = try await PlaceKind.local.make()
        let backup = backups(members[0], [place])
        var access = backup.etcd
        access.endpoints = members.map(\.endpoint)
        let all = BackupService(
            options: backup.options, etcd: access, destinations: [place], registry: MetricRegistry(),
            logger: quietLogger(), toolVersion: "test")
        let killed = Lock<String?>(nil)
        let result = try await all.backupNow(onDemand: false) { progress in
            guard progress.phase == .snapshot, progress.done > 0 else { return }
            killed.withLock { killed in
                guard killed == nil, let member = members.first(where: { $0.endpoint == progress.subject }) else {
                    return
                }
                killed = member.endpoint
                kill(member.pid, SIGKILL)
            }
        }
        let first = try #require(killed.withLock { $0 })
        #expect(result.manifest.endpoint != first)
        #expect(try await BackupCatalogue.read(place).count(where: \.isGood) == 1)
        for member in members { member.kill() }
    }
}
