import Glibc
import Platform
import TestSupport
import Testing

@testable import ClusterOps
@testable import Etcd

/// `etcdutl` where there is one: not in Debian 12.
let etcdutl = programInPath("etcdutl")

@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct NativeRestoreTests {
    private func snapshot(_ etcd: EtcdProcess) throws -> String {
        let path = etcd.directory + "/saved.db"
        try runProgram(["etcdctl", "--endpoints", etcd.endpoint, "snapshot", "save", path])
        return path
    }

    private func make(_ directory: String, from snapshot: String, _ request: DataDirectory.Request) throws
        -> DataDirectory.Result
    {
        try DataDirectory.make(directory, request) { path in
            let bytes = try FileSystem.read(snapshot, maxBytes: 1 << 30)
            try AtomicFile.write(Array(bytes.dropLast(SnapshotFile.checksumBytes)), to: path)
        }
    }

    private func scan(_ path: String) throws -> SnapshotSummary {
        let bytes = try FileSystem.read(path, maxBytes: 1 << 30)
        var scanner = SnapshotScanner()
        bytes.withUnsafeBytes { scanner.feed($0) }
        return scanner.finish()
    }

    private func version(_ etcd: EtcdProcess) async throws -> String {
        let http = HTTPClient(name: "version")
        defer { http.shutdown() }
        return try await EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http).status(etcd.endpoint)
            .version
    }

    /// Whether a snapshot is of etcd 3.6 or later.
    private func isLater(_ snapshot: String) throws -> Bool {
        let file = try BoltFile(snapshot)
        let bucket = try #require(try file.buckets().first { $0.name == Array("meta".utf8) })
        return try file.entries(bucket).contains { $0.key == Array("storageVersion".utf8) }
    }

    /// The members' identifiers in the order of the events in a `.snap` file: etcdutl 3.6 enters them in a random one.
    private func entered(_ snap: [UInt8]) -> [UInt64] {
        let text = String(decoding: snap, as: UTF8.self)
        return text.split(separator: "\"key\":\"/0/members/").dropFirst().compactMap {
            UInt64($0.prefix { $0 != "/" }, radix: 16)
        }
    }

    @Test(.enabled(if: etcdutl != nil, "there is no etcdutl in PATH"), arguments: [1, 3, 5], [false, true])
    func directoriesAreEtcdutls(_ members: Int, _ bump: Bool) async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 2000)
        var saved = try snapshot(etcd)
        // 3.6 writes that it is one into its database some seconds after its start.
        if try await !isBefore36(version(etcd)) {
            try await eventually("etcd's storage version") {
                saved = try snapshot(etcd)
                return try isLater(saved)
            }
        }
        let list = (1...members).map { "cp\($0)=https://10.0.0.\($0):2380" }.joined(separator: ",")
        let cluster = try ClusterIdentity(initialCluster: list, token: "tok")
        let local = try cluster.member(named: "cp1")
        let mine = etcd.directory + "/mine"
        _ = try make(mine, from: saved, .init(cluster: cluster, local: local, bumpRevision: bump ? 1000 : nil))
        let theirs = etcd.directory + "/theirs"
        let run = try runProgram(
            [
                etcdutl ?? "", "snapshot", "restore", saved, "--data-dir", theirs, "--name", "cp1",
                "--initial-cluster", list, "--initial-cluster-token", "tok", "--initial-advertise-peer-urls",
                "https://10.0.0.1:2380",
            ] + (bump ? ["--bump-revision", "1000", "--mark-compacted"] : []))
        #expect(run.status == 0, "\(run.output)")
        for directory in ["/member/wal", "/member/snap"] {
            let names = try FileSystem.list(mine + directory)
            #expect(names == (try FileSystem.list(theirs + directory)))
            for name in names where name != "db" {
                let (a, b) = ("\(mine)\(directory)/\(name)", "\(theirs)\(directory)/\(name)")
                if name.hasSuffix(".snap"), try isLater(saved) {
                    let written = try FileSystem.read(b)
                    let order = entered(written)
                    #expect(Set(order) == Set(cluster.members.map(\.id)))
                    #expect(RaftSnapshot.file(cluster, form: .v36, order: order) == written, "\(name)")
                    #expect(try RaftSnapshot.file(cluster, form: .v36) == FileSystem.read(a), "\(name)")
                } else {
                    #expect(try runProgram(["cmp", a, b]).status == 0, "\(name)")
                }
                #expect(try FileSystem.status(a)?.mode == FileSystem.status(b)?.mode)
            }
        }
        func status(_ directory: String) throws -> String {
            try runProgram([etcdutl ?? "", "snapshot", "status", directory + "/member/snap/db"]).output
        }
        // The sizes differ; hash, revision and number of keys do not.
        let (a, b) = (try status(mine), try status(theirs))
        #expect(a.split(separator: ",").prefix(3) == b.split(separator: ",").prefix(3))
        let summary = try scan(mine + "/member/snap/db")
        #expect(summary.problems.isEmpty)
        #expect(summary.hash == (try scan(theirs + "/member/snap/db").hash))
        etcd.kill()
    }

    @Test func aRestoredMemberServesTheSameKeys() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 10_000)
        let before = try await dump(etcd)
        let saved = try snapshot(etcd)
        etcd.kill()
        try FileSystem.removeTree(etcd.dataDirectory)
        let cluster = try ClusterIdentity(initialCluster: "\(etcd.name)=\(etcd.peerURL)", token: "again")
        let made = try make(
            etcd.dataDirectory, from: saved, .init(cluster: cluster, local: cluster.members[0]))
        #expect(made.revision == made.snapshotRevision + 1_000_000_000)
        try etcd.start()
        try await etcd.waitUntilServing()
        #expect(try await dump(etcd) == before)
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http)
        #expect(try await client.transaction([.put(key: [1], value: [2])]) == made.revision + 1)
        // Old revisions are gone, so that watchers begin anew.
        await #expect(throws: EtcdError(.compacted, "")) {
            try await client.range([1], revision: made.snapshotRevision)
        }
        etcd.kill()
    }

    /// etcd 3.6 writes the version of its storage into the database, and reads it when it starts: a restore leaves it, as
    /// etcdutl does. (Put there by hand where the etcd in PATH is an earlier one: Debian 12 has 3.4.)
    @Test func whatEtcd36KeepsInTheDatabaseStays() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 100)
        let saved = try snapshot(etcd)
        etcd.kill()
        let cluster = try ClusterIdentity(initialCluster: "\(etcd.name)=\(etcd.peerURL)", token: "t")
        let wanted = (Array("storageVersion".utf8), Array("3.6.0".utf8))
        let made = try DataDirectory.make(
            etcd.directory + "/made", .init(cluster: cluster, local: cluster.members[0])
        ) { path in
            let bytes = try FileSystem.read(saved, maxBytes: 1 << 30)
            try AtomicFile.write(Array(bytes.dropLast(SnapshotFile.checksumBytes)), to: path)
            let edit = try BoltEdit(BoltFile(path, writable: true))
            try edit.set("meta", [wanted])
            try edit.commit()
        }
        let file = try BoltFile(DataDirectory.databasePath(etcd.directory + "/made"))
        let bucket = try #require(try file.buckets().first { $0.name == Array("meta".utf8) })
        let entries = try file.entries(bucket)
        #expect(entries.first { $0.key == wanted.0 }?.value == wanted.1)
        // Raft's snapshot is then as that etcdutl writes it.
        let snap = try FileSystem.read("\(etcd.directory)/made/member/snap/\(RaftSnapshot.fileName(cluster))")
        #expect(snap == RaftSnapshot.file(cluster, form: .v36))
        #expect(
            Set(entries.map { String(decoding: $0.key, as: UTF8.self) }).isSuperset(of: ["consistent_index", "term"]))
        #expect(try file.revision() == made.revision)
        #expect(try scan(DataDirectory.databasePath(etcd.directory + "/made")).problems.isEmpty)
    }

    @Test func threeRestoredMembersFormACluster() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 1000)
        let before = try await dump(etcd)
        let saved = try snapshot(etcd)
        etcd.kill()
        let ports = try (0..<3).map { _ in (client: try freePort(), peer: try freePort()) }
        let list = (0..<3).map { "n\($0)=http://127.0.0.1:\(ports[$0].peer)" }.joined(separator: ",")
        let cluster = try ClusterIdentity(initialCluster: list, token: "three")
        var members: [EtcdProcess] = []
        for i in 0..<3 {
            let directory = try temporaryDirectory()
            let local = try cluster.member(named: "n\(i)")
            _ = try make(directory + "/data", from: saved, .init(cluster: cluster, local: local))
            members.append(
                try EtcdProcess(name: "n\(i)", directory: directory, ports: ports[i], initialCluster: list))
        }
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: members.map(\.endpoint), tls: TLSSettings(), http: http)
        for member in members {
            try await member.waitUntilServing()
            #expect(try await dump(member) == before)
        }
        #expect(try await client.memberList(linear: true).count == 3)
        var hashes: Set<UInt32> = []
        let revision = try await client.transaction([.put(key: [1], value: [1])])
        for member in members {
            try await eventually("\(member.name) has it") {
                try await client.status(member.endpoint).header.revision >= revision
            }
            hashes.insert(try await client.hashKV(member.endpoint, revision: revision).hash)
        }
        #expect(hashes.count == 1)
        for member in members {
            member.kill()
            try? FileSystem.removeTree(member.directory)
        }
    }
}

/// Every key with its value, in order.
func dump(_ etcd: EtcdProcess) async throws -> [[[UInt8]]] {
    let http = HTTPClient(name: "dump")
    defer { http.shutdown() }
    let client = EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http)
    var all: [[[UInt8]]] = []
    var from: [UInt8] = [0]
    while true {
        let range = try await client.range(from, end: [0], limit: 2000)
        all += range.keyValues.map { [$0.key, $0.value] }
        guard range.more, let last = range.keyValues.last else { return all }
        from = last.key + [0]
    }
}
