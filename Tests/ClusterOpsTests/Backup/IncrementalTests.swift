import Etcd
import Platform
import Testing

@testable import ClusterOps

/// The snapshot a backup stands for, as a file.
func snapshotBytes(_ path: String, keys: SealingKeys? = nil) async throws -> [UInt8] {
    let source = try await SnapshotSourceFinder.find(
        path, from: nil, cluster: nil, destinations: [], fetchInto: "/nowhere")
    var bytes: [UInt8] = []
    let result = try StoredSnapshot.read(
        source.parts, keys: keys, isCancelled: { false }, consume: { bytes.append(contentsOf: $0) })
    #expect(result.summary.problems.isEmpty)
    return bytes
}

@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct IncrementalTests {
    @Test func aChainGivesEachSnapshotBackToTheByte() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.incrementalChain = 3 }
        var backups: [BackupManifest] = []
        try await fill(etcd, keys: 5000)
        for round in 0..<6 {
            try await fill(etcd, keys: 50, seed: UInt64(round))
            let result = try await service.backupNow(onDemand: false)
            backups.append(result.manifest)
            let bytes = try await snapshotBytes(result.path)
            #expect(hexadecimal(Digest.hash(.sha256, Array(bytes.dropLast(32)))) == result.manifest.databaseSHA256)
            // What changed on its way to an increment, which is not hashed, is found when it is read.
            var checker = SnapshotChecker()
            var changed = bytes
            changed[Int(changed.count / 2)] ^= 1
            changed.withUnsafeBytes { checker.feed($0) }
            #expect(checker.finish().problems.first == "the snapshot does not match its SHA-256")
            let outcome = try await BackupVerifier.verify(
                result.path, destinations: [], workDirectory: etcd.directory)
            #expect(outcome.problem == nil)
            #expect(outcome.revision == result.manifest.revision)
        }
        // Three increments, then the bound on the chain asks for a full one.
        #expect(backups.map(\.chainLength) == [0, 1, 2, 3, 0, 1])
        #expect(backups[1].parent == backups[0].name)
        let full = try #require(backups[0].file(.snapshot)?.bytes)
        let delta = try #require(backups[1].file(.delta)?.bytes)
        #expect(delta * 4 < full, "\(delta) of \(full)")
    }

    @Test func withoutItsParentAnIncrementIsNoBackupAndTheNextIsFull() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.incrementalChain = 5 }
        try await fill(etcd, keys: 2000)
        let full = try await service.backupNow(onDemand: false)
        try await fill(etcd, keys: 10, seed: 2)
        let increment = try await service.backupNow(onDemand: false)
        #expect(increment.manifest.kind == .incremental)
        try FileSystem.removeFile(full.path)
        let entries = try await BackupCatalogue.read(place)
        #expect(entries.allSatisfy { !$0.isGood })
        #expect(entries[1].problem?.contains(full.manifest.name) == true)
        let outcome = try await BackupVerifier.verify(
            increment.path, destinations: [], workDirectory: etcd.directory)
        #expect(outcome.problem?.contains(full.manifest.name) == true)
        try await fill(etcd, keys: 10, seed: 3)
        #expect(try await service.backupNow(onDemand: false).manifest.kind == .full)
    }

    @Test func whatNeverChangesIsNotBackedUpTwice() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.skipUnchanged = true }
        try await fill(etcd, keys: 100)
        let first = try await service.backupNow(onDemand: false)
        let second = try await service.backupNow(onDemand: false)
        #expect(second.skipped && second.manifest.name == first.manifest.name)
        // By hand it is made whatever the revision says.
        #expect(try await !service.backupNow(onDemand: true).skipped)
        try await fill(etcd, keys: 1, seed: 9)
        #expect(try await !service.backupNow(onDemand: false).skipped)
    }

    @Test func aChangedIndexOfPagesCostsAFullBackupOnly() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { $0.incrementalChain = 5 }
        try await fill(etcd, keys: 500)
        _ = try await service.backupNow(onDemand: false)
        let path = PageIndex.path(
            BackupStaging.path(in: place, workDirectory: service.options.workDirectory), "test")
        var bytes = try FileSystem.read(path)
        bytes[bytes.count / 2] ^= 1
        try AtomicFile.write(bytes, to: path)
        try await fill(etcd, keys: 5, seed: 4)
        #expect(try await service.backupNow(onDemand: false).manifest.kind == .full)
    }

    /// Random databases, grown and cut, with random pages changed, against the merge of streams; no etcd needed.
    @Test func randomPagesMergeAsCopiesDo() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        var random = SplitMix(7)
        for _ in 0..<40 {
            let size = SnapshotWriter.pageSize
            var old = (0..<(1 + Int(random.next() % 40))).map { _ in
                [UInt8](repeating: UInt8(random.next() % 3), count: size)
            }
            var layers: [[[UInt8]]] = [old]
            var source: any ByteSource = Pieces(old.flatMap { $0 } + [UInt8](repeating: 9, count: 32), &random)
            for _ in 0..<(1 + Int(random.next() % 3)) {
                var new = old
                if random.next() % 3 == 0, new.count > 2 { new.removeLast(Int(random.next() % UInt64(new.count - 1))) }
                for _ in 0..<(random.next() % 6) {
                    new[Int(random.next() % UInt64(new.count))] = [UInt8](
                        repeating: UInt8(random.next() % 250), count: size)
                }
                for _ in 0..<(random.next() % 4) {
                    new.append([UInt8](repeating: UInt8(random.next() % 250), count: size))
                }
                let index = directory + "/index"
                let writer = try PageIndexWriter(index, pageSize: size)
                let hasher = try PageHasher(key: writer.key)
                for page in old { try page.withUnsafeBytes { try writer.append(try hasher.hash($0)) } }
                let sha256 = Digest.hash(.sha256, old.flatMap { $0 })
                try writer.commit(databaseSHA256: sha256)
                let known = try #require(PageIndexReader(index))
                var delta: [UInt8] = []
                let newer = Digest.hash(.sha256, new.flatMap { $0 })
                let header = PageDelta.Header(
                    pageSize: size, parentBytes: Int64(old.count * size), parentSHA256: sha256)
                let deltas = try PageDeltaWriter(header, parent: known, index: nil, maxChanged: .max) {
                    delta.append(contentsOf: $0)
                }
                let stream = Pieces(new.flatMap { $0 } + newer, &random)
                while true {
                    let piece = try stream.next()
                    if piece.isEmpty { break }
                    try deltas.write(piece)
                }
                try deltas.finish()
                #expect(deltas.changedPages <= Int64(new.count))
                source = PageDeltaMerge(
                    below: source, delta: try PageDeltaReader(Pieces(delta, &random), path: "delta"))
                layers.append(new)
                old = new
            }
            var out: [UInt8] = []
            while true {
                let piece = try source.next()
                if piece.isEmpty { break }
                out.append(contentsOf: piece)
            }
            let wanted = old.flatMap { $0 }
            #expect(out == wanted + Digest.hash(.sha256, wanted))
        }
    }
}

/// Bytes in pieces of random lengths.
private final class Pieces: ByteSource {
    private let bytes: [UInt8]
    private var position = 0
    private var random: SplitMix
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 20_000, alignment: 8)

    init(_ bytes: [UInt8], _ random: inout SplitMix) {
        self.bytes = bytes
        self.random = SplitMix(random.next())
    }

    deinit { buffer.deallocate() }

    func next() throws -> UnsafeRawBufferPointer {
        let n = min(bytes.count - position, 1 + Int(random.next() % 19_999))
        buffer.copyBytes(from: bytes[position..<position + n])
        position += n
        return UnsafeRawBufferPointer(rebasing: buffer[..<n])
    }
}
