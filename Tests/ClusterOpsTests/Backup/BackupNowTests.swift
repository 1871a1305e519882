import Etcd
import Logging
import Platform
import Testing

@testable import ClusterOps

func quietLogger() -> Logger {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return logger
}

func fill(_ etcd: EtcdProcess, keys: Int, seed: UInt64 = 1) async throws {
    let http = HTTPClient(name: "fill")
    defer { http.shutdown() }
    let client = EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http)
    var random = SplitMix(seed)
    var done = 0
    while done < keys {
        let n = min(100, keys - done)
        let puts = (0..<n).map { i -> EtcdOperation in
            let number = done + i
            let value = (0..<(20 + Int(random.next() % 200))).map { _ in UInt8(97 + random.next() % 26) }
            return .put(key: Array("/registry/test/\(number)".utf8), value: value)
        }
        _ = try await client.transaction(puts)
        done += n
    }
}

struct SplitMix {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

func service(_ etcd: EtcdProcess, _ destinations: [any Destination], _ change: (inout BackupOptions) -> Void = { _ in })
    -> BackupService
{
    var options = BackupOptions()
    options.cluster = "test"
    options.include = []
    for destination in destinations {
        let place = DestinationOptions.Place.local(LocalOptions(path: destination.location))
        options.destinations.append(DestinationOptions(name: destination.name, place: place))
    }
    change(&options)
    var access = EtcdOptions()
    access.endpoints = [etcd.endpoint]
    access.ca = nil
    access.cert = nil
    access.key = nil
    return BackupService(
        options: options, etcd: access, destinations: destinations, registry: MetricRegistry(),
        logger: quietLogger(), toolVersion: "test")
}

func isBefore36(_ version: String) -> Bool {
    version.split(separator: ".").prefix(2).compactMap { Int($0) }.lexicographicallyPrecedes([3, 6])
}

@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct BackupNowTests {
    @Test func aBackupIsWhatEtcdctlWouldSave() async throws {
        let etcd = try EtcdProcess()
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 3000)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let backup = try await service(etcd, [place]).backupNow(onDemand: false)
        #expect(backup.manifest.revision == 31)
        #expect(backup.manifest.totalKeys >= 3000)

        let names = try await place.list().map(\.name)
        #expect(names == [backup.manifest.name + ".json", backup.manifest.name + ".snapshot.gz"])
        let raw = etcd.directory + "/raw.db"
        #expect(try runProgram(["/bin/sh", "-c", "gunzip < \(backup.path) > \(raw)"]).status == 0)
        let saved = etcd.directory + "/saved.db"
        try runProgram(["etcdctl", "--endpoints", etcd.endpoint, "snapshot", "save", saved])
        // From 3.6 on only etcdutl has it.
        func status(_ path: String) throws -> String {
            let program = etcdutl ?? "ETCDCTL_API=3 etcdctl"
            let run = try runProgram(["/bin/sh", "-c", "\(program) snapshot status \(path)"])
            #expect(run.status == 0, "\(run.output)")
            return run.output
        }
        #expect(try status(raw) == status(saved))
        let hash = try #require(UInt32(backup.manifest.statusHash, radix: 16))
        // 3.6 counts the keys that live, those before the entries of all buckets.
        let counted = isBefore36(backup.manifest.etcdVersion) ? backup.manifest.totalKeys : 3000
        #expect(try status(raw).hasPrefix("\(String(hash, radix: 16)), 31, \(counted),"))
        #expect(backup.manifest.hashKV?.revision == 31)
        etcd.kill()
        try FileSystem.removeTree(etcd.directory)
    }

    @Test func retentionByCountKeepsTheNewest() async throws {
        let etcd = try EtcdProcess()
        try await etcd.waitUntilServing()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.destinations[0].retention.keepLast = 2 }
        var names: [String] = []
        for i in 0..<4 {
            try await fill(etcd, keys: 10, seed: UInt64(i))
            names.append(try await service.backupNow(onDemand: false).manifest.name)
        }
        let left = try await BackupCatalogue.read(place).map { "\($0.name)" }
        #expect(left == Array(names.suffix(2)))
        etcd.kill()
        try FileSystem.removeTree(etcd.directory)
    }

    @Test func noEtcdIsOneClearErrorAndLeavesNothing() async throws {
        let etcd = try EtcdProcess()
        etcd.kill()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        await #expect(throws: BackupError(.etcd, "")) {
            try await service(etcd, [place]).backupNow(onDemand: false)
        }
        #expect(try await place.list().isEmpty)
        try FileSystem.removeTree(etcd.directory)
    }

    /// A sidecar of another machine that backs the same cluster up in the same second to the same store.
    @Test func aNameThatSomeoneElseTookMeanwhileIsNotTakenAgain() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 10)
        let place = SharedStore(LocalDestination(name: "store", path: etcd.directory + "/store"))
        let now = WallClock.system.nowMilliseconds()
        let made = service(etcd, [place]) { $0.workDirectory = etcd.directory + "/work" }
        let mine = BackupService(
            options: made.options, etcd: made.etcd, destinations: [place], registry: MetricRegistry(),
            logger: quietLogger(), clock: WallClock { now }, toolVersion: "test")
        // It comes there after the places were looked at and before this one is brought there.
        let name = "\(BackupName(cluster: "test", time: now, revision: 2))"
        place.onList.withLock { $0 = { n in n == 2 ? "\(name).snapshot.gz" : nil } }
        #expect(try await mine.backupNow(onDemand: true).manifest.name == name + "-2")
        // And where it comes at the very same time, this one does not count what lies there as its own.
        place.onList.withLock { $0 = { _ in nil } }
        place.replacesManifests.withLock { $0 = true }
        let error = await #expect(throws: BackupError(.destination, "")) { try await mine.backupNow(onDemand: true) }
        #expect(error?.message.contains("at the same time") == true)
        etcd.kill()
    }
}

/// A store that others write to as well.
private final class SharedStore: Destination {
    let name: String
    let location: String
    private let behind: LocalDestination
    private let lists = Lock(0)
    /// With the number of the listing; a file that has come there by then.
    let onList = Lock<@Sendable (Int) -> String?>({ _ in nil })
    let replacesManifests = Lock(false)

    init(_ behind: LocalDestination) {
        self.behind = behind
        name = behind.name
        location = behind.location
    }

    func list() async throws -> [StoredFile] {
        let number = lists.withLock {
            $0 += 1
            return $0
        }
        if let file = onList.withLock({ $0 })(number) {
            try FileSystem.makeDirectories(behind.path)
            try AtomicFile.write([1], to: behind.path + "/" + file)
        }
        return try await behind.list()
    }

    func put(file path: String, as name: String, progress: ByteProgress?) async throws {
        try await putNew(file: path, as: name, progress: progress)
    }

    func putNew(file path: String, as name: String, progress: ByteProgress?) async throws {
        try await behind.putNew(file: path, as: name, progress: progress)
        if name.hasSuffix(".json"), replacesManifests.withLock({ $0 }) {
            let text = try FileSystem.readText(behind.path + "/" + name)
            try AtomicFile.write(Array((text + " ").utf8), to: behind.path + "/" + name)
        }
    }

    func get(_ name: String, to path: String, progress: ByteProgress?) async throws {
        try await behind.get(name, to: path, progress: progress)
    }
    func read(_ name: String, limit: Int) async throws -> [UInt8] { try await behind.read(name, limit: limit) }
    func remove(_ name: String) async throws { try await behind.remove(name) }
    func removeLeftovers(olderThan: Int64) async throws { try await behind.removeLeftovers(olderThan: olderThan) }
}
