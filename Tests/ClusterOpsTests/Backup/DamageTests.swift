import Glibc
import Platform
import Testing

@testable import ClusterOps

/// Every file of a backup, damaged in every way there is: verify must find each. KOPS_DAMAGE_ROUNDS makes it longer.
@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct DamageTests {
    private static let rounds = getenv("KOPS_DAMAGE_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 48

    @Test(arguments: [false, true])
    func verifyFindsEveryDamage(sealed: Bool) async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let node = etcd.directory + "/kubernetes"
        try FileSystem.makeDirectories(node + "/pki")
        try AtomicFile.write(Array("a key".utf8), to: node + "/pki/ca.key", mode: 0o600)
        let keyFile = etcd.directory + "/backup.key"
        try AtomicFile.write(Array(try SealingKeys.generate(now: 0).text.utf8), to: keyFile, mode: 0o600)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let service = service(etcd, [place]) { options in
            options.incrementalChain = 5
            options.include = [.pki, .versions]
            options.kubernetesDirectory = node
            if sealed {
                var sealing = SealingOptions()
                sealing.keyFile = keyFile
                options.sealing = sealing
            }
        }
        try await fill(etcd, keys: 300)
        var chain: [BackupResult] = []
        for seed in 0..<3 {
            try await fill(etcd, keys: 20, seed: UInt64(seed))
            chain.append(try await service.backupNow(onDemand: false))
        }
        let newest = try #require(chain.last)
        #expect(newest.manifest.chainLength == 2)
        let keys = sealed ? try SealingKeys(file: keyFile) : nil
        func verify() async throws -> String? {
            do {
                return try await BackupVerifier.verify(
                    newest.path, destinations: [], workDirectory: etcd.directory, keys: keys
                ).problem
            } catch let error as BackupError {
                return error.message
            }
        }
        let log = try writeLog(newest.manifest, place.path, keys)
        #expect(try await verify() == nil)

        // The chain's files and manifests, the bundle and the log beside the newest.
        var files: [String] = []
        for backup in chain {
            let own = backup.manifest.files.filter { $0.role != .bundle || backup.manifest == newest.manifest }
            files += [backup.manifest.name + ".json"] + own.map(\.name)
        }
        files += log
        var random = SplitMix(sealed ? 2 : 1)
        for round in 0..<DamageTests.rounds {
            let file = place.path + "/" + files[round % files.count]
            let whole = try FileSystem.read(file)
            var damaged = whole
            var what = ""
            switch random.next() % 8 {
            case 0:
                let length = Int(random.next() % UInt64(whole.count))
                damaged.removeLast(whole.count - length)
                what = "cut to \(length)"
            case 1:
                let other = files[Int(random.next() % UInt64(files.count))]
                damaged = try FileSystem.read(place.path + "/" + other)
                if damaged == whole { continue }
                what = "replaced by \(other)"
            case 2:
                damaged.append(0)
                what = "a byte appended"
            default:
                let bit = Int(random.next() % UInt64(whole.count * 8))
                damaged[bit / 8] ^= 1 << UInt8(bit % 8)
                what = "bit \(bit) of \(whole.count * 8) flipped"
            }
            try AtomicFile.write(damaged, to: file)
            #expect(try await verify() != nil, "\(file): \(what) went unnoticed")
            // Restore refuses as well.
            #expect(throws: (any Error).self, "\(file): \(what) was restored") {
                try build(newest.path, etcd.directory + "/restored", keys)
            }
            try AtomicFile.write(whole, to: file)
        }
        // A missing file of each kind.
        for file in files {
            try FileSystem.rename(place.path + "/" + file, to: etcd.directory + "/away")
            if !log.contains(file) || file == log[0] {
                #expect(try await verify() != nil, "\(file) is missing and that went unnoticed")
            }
            try FileSystem.rename(etcd.directory + "/away", to: place.path + "/" + file)
        }
        #expect(try await verify() == nil)
    }

    private func build(_ path: String, _ target: String, _ keys: SealingKeys?) throws {
        let found = try SnapshotSourceFinder.file(path, until: EventLimit(time: .max))
        if let bundle = found.bundle { try BundleReader.forEach(bundle, keys: keys) { _, _ in } }
        _ = try DatabaseBuilder.build(
            found, to: target, keys: keys, allowUnchecked: false, isCancelled: { false }, progress: nil)
    }

    /// Three segments of changes behind the backup, two of them in a pack.
    private func writeLog(_ base: BackupManifest, _ directory: String, _ keys: SealingKeys?) throws -> [String] {
        var names: [String] = []
        var position = try EventLogPosition(base: base)
        for _ in 0..<3 {
            let writer = try EventSegmentWriter(
                position, backup: base.name, directory: directory, recipients: keys?.recipients ?? [], now: 1000)
            for _ in 0..<3 {
                let revision = writer.revision + 1
                let keyValue = [0x0a, 1, 0x61, 0x10, UInt8(revision), 0x18, UInt8(revision), 0x20, 1, 0x2a, 1, 0x62]
                try writer.append(
                    .init(revision: revision, time: 2000, changes: [.init(isDelete: false, keyValue: keyValue)]))
            }
            let finished = try writer.finish(now: 3000)
            try FileSystem.rename(finished.temporary, to: directory + "/" + finished.name)
            position = finished.position
            names.append(finished.name)
        }
        let packer = EventPacker(directory: directory + "/kept", packing: EventPacking())
        for name in names.prefix(2) { try packer.keep(directory + "/" + name, backup: base.name) }
        let pack = try #require(try packer.pack(base.name, into: directory, all: true))
        try FileSystem.removeTree(packer.directory)
        return [FileSystem.name(of: pack), names[2]]
    }
}
