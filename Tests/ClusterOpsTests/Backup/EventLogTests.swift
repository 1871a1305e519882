import Etcd
import Platform
import TestSupport
import Testing

@testable import ClusterOps

@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct EventLogTests {
    /// Puts, overwrites, deletes, several changes in one revision, values under a lease.
    private func change(_ client: EtcdClient, _ rounds: Int, _ random: inout SplitMix) async throws -> Int64 {
        var revision: Int64 = 0
        for _ in 0..<rounds {
            var keys: Set<UInt64> = []
            var operations: [EtcdOperation] = []
            for _ in 0...(random.next() % 5) {
                let number = random.next() % 60
                guard keys.insert(number).inserted else { continue }
                let key = Array("/registry/log/\(number)".utf8)
                if random.next() % 4 == 0 {
                    operations.append(.delete(key: key))
                } else {
                    let value = [UInt8](repeating: 120, count: Int(random.next() % 9000))
                    operations.append(.put(key: key, value: value))
                }
            }
            revision = try await client.transaction(operations)
        }
        return revision
    }

    /// The keys at the newest revision, with all that etcd says of each.
    private func state(_ endpoint: String) async throws -> (range: EtcdRange, hash: EtcdHashKV) {
        let http = HTTPClient(name: "state")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [endpoint], tls: TLSSettings(), http: http)
        return (
            try await client.range([0], end: [0]),
            try await client.hashKV(endpoint)
        )
    }

    @Test func theLogBringsEtcdToAnyLaterRevision() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 2000)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.workDirectory = etcd.directory + "/work" }
        let backup = try await service.backupNow(onDemand: false)
        let registry = MetricRegistry()
        let logger = EventLogger(service: service, interval: 1000, registry: registry) {}
        let task = Task { await logger.run() }
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http)
        var random = SplitMix(3)
        let middle = try await change(client, 40, &random)
        let there = try await state(etcd.endpoint)
        let end = try await change(client, 40, &random)

        func covered() async throws -> Int64 {
            let source = try SnapshotSourceFinder.file(backup.path, until: EventLimit(time: .max))
            return try EventLog.read(
                source.events ?? [], base: backup.manifest, limit: EventLimit(), keys: nil
            ) { _ in }.revision
        }
        try await eventually("the log reaches \(end)") { try await covered() >= end }
        task.cancel()
        await task.value
        let last = try await state(etcd.endpoint)
        etcd.kill()

        for (revision, wanted) in [(middle, there), (end, last)] {
            let restored = try EtcdProcess(name: "back")
            defer { try? FileSystem.removeTree(restored.directory) }
            restored.kill()
            try FileSystem.removeTree(restored.dataDirectory)
            let source = try SnapshotSourceFinder.file(backup.path, until: EventLimit(revision: revision))
            let cluster = try ClusterIdentity(
                initialCluster: "back=\(restored.peerURL)", token: "t\(revision)")
            _ = try DataDirectory.make(
                restored.dataDirectory,
                .init(cluster: cluster, local: try cluster.member(named: "back"), bumpRevision: nil)
            ) { path in
                let summary = try DatabaseBuilder.build(
                    source, to: path, keys: nil, allowUnchecked: false, isCancelled: { false }, progress: nil)
                #expect(summary.revision == revision)
            }
            try restored.start()
            try await restored.waitUntilServing()
            let found = try await state(restored.endpoint)
            #expect(found.range.header.revision == revision)
            #expect(found.range.keyValues == wanted.range.keyValues)
            // etcd's own hash over every revision of every key.
            #expect(found.hash.hash == wanted.hash.hash)
            restored.kill()
        }
        #expect(throws: BackupError(.notFound, "")) {
            let source = try SnapshotSourceFinder.file(backup.path, until: EventLimit(revision: end + 1))
            _ = try DatabaseBuilder.build(
                source, to: etcd.directory + "/db", keys: nil, allowUnchecked: false, isCancelled: { false },
                progress: nil)
        }
    }

    @Test func aRestartedLogGoesOnAndANewBackupTakesOver() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 100)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.workDirectory = etcd.directory + "/work" }
        let first = try await service.backupNow(onDemand: false)
        func segments(_ backup: BackupManifest) async throws -> Int {
            try await BackupCatalogue.read(place).first { "\($0.name)" == backup.name }?.eventSegments.count ?? 0
        }
        for round in 1...2 {
            let logger = EventLogger(service: service, interval: 1000, registry: MetricRegistry()) {}
            let task = Task { await logger.run() }
            try await fill(etcd, keys: 10, seed: UInt64(round))
            try await eventually("segment \(round)") { try await segments(first.manifest) >= round }
            task.cancel()
            await task.value
            // What is written down last may be lost: it is found from the segments then.
            if round == 1 { try FileSystem.removeFile(etcd.directory + "/work/event-log/position.json") }
        }
        let outcome = try await BackupVerifier.verify(first.path, destinations: [], workDirectory: etcd.directory)
        #expect(outcome.problem == nil)
        #expect(outcome.logSegments >= 2)

        let logger = EventLogger(service: service, interval: 1000, registry: MetricRegistry()) {}
        let task = Task { await logger.run() }
        try await fill(etcd, keys: 10, seed: 8)
        let second = try await service.backupNow(onDemand: false)
        try await fill(etcd, keys: 10, seed: 9)
        try await eventually("the log of the newer backup") {
            if try await segments(second.manifest) > 0 { return true }
            try await fill(etcd, keys: 1, seed: 10)
            return false
        }
        task.cancel()
        await task.value
        for backup in [first, second] {
            let outcome = try await BackupVerifier.verify(backup.path, destinations: [], workDirectory: etcd.directory)
            #expect(outcome.problem == nil)
        }
        // Between the two nothing is missing: the older one's log reaches the newer one.
        let log = try await BackupVerifier.verify(first.path, destinations: [], workDirectory: etcd.directory)
        #expect(try #require(log.logRevision) >= second.manifest.revision)
    }

    @Test func afterACompactionTheLogAsksForABackup() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 100)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.workDirectory = etcd.directory + "/work" }
        let old = try await service.backupNow(onDemand: false)
        try await fill(etcd, keys: 500, seed: 2)
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http)
        try await client.compact(old.manifest.revision + 3, physical: true)
        let asked = Lock(0)
        let logger = EventLogger(service: service, interval: 1000, registry: MetricRegistry()) {
            asked.withLock { $0 += 1 }
            _ = try? await service.backupNow(onDemand: false)
        }
        let task = Task { await logger.run() }
        try await eventually("a log beside a new backup") {
            try await fill(etcd, keys: 1, seed: 3)
            let entries = try await BackupCatalogue.read(place)
            return entries.count == 2 && !(entries.last?.eventSegments.isEmpty ?? true)
        }
        task.cancel()
        await task.value
        #expect(asked.withLock { $0 } == 1)
    }

    /// An etcd that went on after its backup, with the log of it beside the backup; stopped.
    private func scene(keys: Int = 500) async throws -> (
        etcd: EtcdProcess, place: LocalDestination, backup: BackupResult, end: Int64
    ) {
        let etcd = try EtcdProcess(name: "cp1")
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: keys)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.workDirectory = etcd.directory + "/work" }
        let backup = try await service.backupNow(onDemand: false)
        let registry = MetricRegistry()
        let logger = EventLogger(
            service: service, interval: 1000, registry: registry, packing: EventPacking(count: 2, grace: 0)
        ) {}
        let task = Task { await logger.run() }
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http)
        var random = SplitMix(11)
        var end = backup.manifest.revision
        // Until the log is in more than one file, a pack among them.
        try await eventually("a pack and a segment") {
            end = try await change(client, 1, &random)
            let names = try await place.list().map(\.name)
            #expect(String(decoding: registry.expose(), as: UTF8.self).contains("kops_backup_log_following"))
            return names.contains { $0.hasSuffix(".pack") }
        }
        try await eventually("the log reaches \(end)") {
            let source = try SnapshotSourceFinder.file(backup.path, until: EventLimit(time: .max))
            return try EventLog.read(source.events ?? [], base: backup.manifest, limit: EventLimit(), keys: nil) { _ in
            }
            .revision >= end
        }
        task.cancel()
        await task.value
        // Nobody follows any more: an alert on it would fire for ever.
        #expect(!String(decoding: registry.expose(), as: UTF8.self).contains("kops_backup_log_following"))
        // A snapshot makes etcd write its database out.
        let other = LocalDestination(name: "x", path: etcd.directory + "/x")
        _ = try await ClusterOpsTests.service(etcd, [other]).backupNow(onDemand: true)
        etcd.kill()
        return (etcd, place, backup, end)
    }

    /// A backup is older than what is on disk only where its log does not reach as far either.
    @Test func theLogCountsForABackupsAge() async throws {
        let (etcd, place, backup, end) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        var options = RestoreOptions()
        options.dataDirectory = etcd.dataDirectory
        options.etcd.endpoints = []
        options.setAside = true
        let refusal = await #expect(throws: BackupError(.refused, "")) {
            try await RestorePlan.make(options, destinations: [place])
        }
        #expect(refusal?.message.contains("--at latest") == true)
        options.atTime = .max
        let plan = try await RestorePlan.make(options, destinations: [place])
        #expect(plan.describe().contains { $0.contains("log of changes, up to revision \(end)") })
        // The same where the log lies elsewhere and has to be looked into from here.
        let far = FailingDestination(place, failing: [])
        let fetched = try await RestorePlan.make(options, destinations: [far])
        #expect(fetched.describe().contains { $0.contains("log of changes, up to revision \(end)") })
        // A point of the log before its end loses what came behind.
        options.atTime = nil
        options.atRevision = end - 1
        await #expect(throws: BackupError(.refused, "")) { try await RestorePlan.make(options, destinations: [place]) }
        options.atRevision = nil
        options.atTime = backup.manifest.time
        await #expect(throws: BackupError(.refused, "")) { try await RestorePlan.make(options, destinations: [place]) }
        #expect(try await plan.execute().revision == end + 1_000_000_000)
    }

    /// The log of an etcd that nobody had written to when it was backed up.
    @Test func aLogBehindNothingIsDrilled() async throws {
        let (etcd, place, backup, end) = try await scene(keys: 0)
        defer { try? FileSystem.removeTree(etcd.directory) }
        #expect(backup.manifest.revision == 0)
        let drill = Drill(destinations: [place], workDirectory: etcd.directory + "/work")
        let report = try await drill.run(backup.manifest.name)
        #expect(report.served && report.revision == end)
    }

    /// The files that a pack stands for go once it has been there for a while, whether etcd can be followed or not.
    @Test func whatAPackStandsForGoes() async throws {
        let (etcd, place, backup, end) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        func covered() async throws -> Int {
            EventFile.cover(try await place.list()) { EventFile($0.name, backup: backup.manifest.name) }.covered.count
        }
        let before = try await covered()
        #expect(before > 0)
        let service = ClusterOpsTests.service(etcd, [place]) { $0.workDirectory = etcd.directory + "/work" }
        func run(grace: Int64, _ until: () async throws -> Bool) async throws {
            let logger = EventLogger(
                service: service, interval: 1000, registry: MetricRegistry(),
                packing: EventPacking(count: 2, grace: grace)
            ) {}
            let task = Task { await logger.run() }
            try await eventually("the sweep", until)
            task.cancel()
            await task.value
        }
        try await run(grace: 0) { try await covered() == 0 }
        let outcome = try await BackupVerifier.verify(backup.path, destinations: [], workDirectory: etcd.directory)
        #expect(outcome.problem == nil && outcome.logRevision == end)
    }

    @Test func aDrillReplaysTheLog() async throws {
        let (etcd, place, backup, end) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        var drill = Drill(destinations: [place], workDirectory: etcd.directory + "/work")
        let served = try await drill.run(backup.manifest.name)
        // etcd's hash at the backup's own revision is the same, and it serves the log's last one.
        #expect(served.served && served.hashCompared)
        #expect(served.revision == end && served.logFiles > 0)
        #expect(served.summary.contains("log of changes"))
        drill.etcdProgram = "/no/such/etcd"
        #expect(try await drill.run(backup.manifest.name).revision == end)
        // A log with a hole fails the drill.
        let first = try await place.list().map(\.name).filter { $0.contains(".events-") }
        let pack = try #require(first.first { $0.hasSuffix(".pack") })
        try FileSystem.removeFile(place.path + "/" + pack)
        for name in first where name.contains(".events-00000001-") && name != pack {
            try FileSystem.removeFile(place.path + "/" + name)
        }
        await #expect(throws: BackupError(.damaged, "")) { try await drill.run(backup.manifest.name) }
    }
}
