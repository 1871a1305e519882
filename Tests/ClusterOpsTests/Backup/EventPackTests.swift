import Etcd
import Platform
import Testing

@testable import ClusterOps

/// Packs of segments, without etcd.
@Suite struct EventPackTests {
    private let base: BackupManifest = {
        var manifest = BackupManifest()
        manifest.name = "etcd-test-20261125T100000Z-r10"
        manifest.clusterID = hex16(7)
        manifest.revision = 10
        manifest.databaseSHA256 = String(repeating: "ab", count: 32)
        return manifest
    }()

    /// Segments of random size in `directory`, as the logger names them.
    private func segments(_ count: Int, _ directory: String, from: EventLogPosition? = nil, padding: Int = 0) throws
        -> (names: [String], position: EventLogPosition)
    {
        var position = try from ?? EventLogPosition(base: base)
        var names: [String] = []
        var random = SplitMix(position.number)
        for _ in 0..<count {
            let writer = try EventSegmentWriter(
                position, backup: base.name, directory: directory, recipients: [], now: Int64(position.number) * 1000)
            for _ in 0...(random.next() % 3) {
                let value = (0..<(Int(random.next() % 300) + padding)).map { _ in UInt8(random.next() & 255) }
                try writer.append(
                    .init(
                        revision: writer.revision + 1, time: Int64(position.number) * 1000 + 500,
                        changes: [.init(isDelete: false, keyValue: value)]))
            }
            let finished = try writer.finish(now: Int64(position.number) * 1000 + 900)
            try FileSystem.rename(finished.temporary, to: directory + "/" + finished.name)
            names.append(finished.name)
            position = finished.position
        }
        return (names, position)
    }

    private func read(_ place: LocalDestination, _ limit: EventLimit = EventLimit()) async throws -> (
        files: Int, summary: EventLogSummary, records: [EventSegment.Record]
    ) {
        let files = try await place.list()
        let entry = BackupEntry(
            destination: "x", name: try #require(BackupName(base.name)), manifest: base, problem: nil, files: files)
        var records: [EventSegment.Record] = []
        let parts = SnapshotSourceFinder.events(entry, place, "")
        let summary = try EventLog.read(parts, base: base, limit: limit, keys: nil) { records.append($0) }
        return (parts.count, summary, records)
    }

    @Test func aPackIsReadAsTheSegmentsThatItStandsFor() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let place = LocalDestination(name: "x", path: directory)
        let (names, _) = try segments(10, directory)
        let loose = try await read(place)
        #expect(loose.files == 10 && loose.summary.segments == 10)
        let packer = EventPacker(directory: directory + "/kept", packing: EventPacking(count: 6))
        func hand(_ names: ArraySlice<String>) throws {
            for name in names {
                try FileCopy.copy(
                    from: directory + "/" + name, to: directory + "/copy", mode: 0o600, progress: nil,
                    isCancelled: { false })
                try FileSystem.makeDirectories(directory + "/in")
                try FileSystem.rename(directory + "/copy", to: directory + "/in/" + name)
                try packer.keep(directory + "/in/" + name, backup: base.name)
            }
        }
        try hand(names[..<5])
        #expect(try packer.pack(base.name, into: directory, all: false) == nil)
        try hand(names[5..<6])
        let pack = try #require(try packer.pack(base.name, into: directory, all: false))
        // Beside what it stands for it is read in its place; and so it is when that is gone.
        #expect(try await read(place).files == 5)
        for name in names[..<6] { try FileSystem.removeFile(directory + "/" + name) }
        let packed = try await read(place)
        #expect(packed.files == 5)
        #expect(packed.summary == loose.summary && packed.records == loose.records)
        for limit in [EventLimit(time: 4600), EventLimit(revision: 13)] {
            #expect(try await read(place, limit).summary.stopped)
        }
        // It is delivered, and the next one takes it in.
        try FileCopy.copy(
            from: pack, to: directory + "/in/" + FileSystem.name(of: pack), mode: 0o600, progress: nil,
            isCancelled: { false })
        try packer.keep(directory + "/in/" + FileSystem.name(of: pack), backup: base.name)
        #expect(try FileSystem.list(packer.directory) == [FileSystem.name(of: pack)])
        try hand(names[6...])
        let larger = try #require(try packer.pack(base.name, into: directory, all: true))
        #expect(FileSystem.name(of: larger).contains("events-00000001-00000010-"))
        for name in names[6...] + [FileSystem.name(of: pack)] { try FileSystem.removeFile(directory + "/" + name) }
        let all = try await read(place)
        #expect(all.files == 1)
        #expect(all.summary == loose.summary && all.records == loose.records)
    }

    @Test func everyChangedByteOfAPackIsFound() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let place = LocalDestination(name: "x", path: directory)
        let (names, _) = try segments(3, directory)
        let packer = EventPacker(directory: directory + "/kept", packing: EventPacking())
        for name in names { try packer.keep(directory + "/" + name, backup: base.name) }
        let pack = try #require(try packer.pack(base.name, into: directory, all: true))
        let whole = try FileSystem.read(pack)
        for at in 0..<whole.count {
            var bytes = whole
            bytes[at] ^= 1 << UInt8(at % 8)
            try AtomicFile.write(bytes, to: pack)
            await #expect(throws: BackupError(.damaged, ""), "byte \(at)") { try await read(place) }
        }
        for length in stride(from: 0, to: whole.count, by: 7) {
            try AtomicFile.write(Array(whole[..<length]), to: pack)
            await #expect(throws: BackupError(.damaged, ""), "cut to \(length)") { try await read(place) }
        }
        try AtomicFile.write(whole, to: pack)
        #expect(try await read(place).summary.segments == 3)
    }

    /// A full pack is begun anew behind; the copies stay few whatever the log's length.
    @Test func copiesStayFew() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let packing = EventPacking(count: 8, bytes: 20_000)
        let packer = EventPacker(directory: directory + "/kept", packing: packing)
        var position: EventLogPosition?
        var packs = 0
        for _ in 0..<200 {
            let made = try segments(1, directory, from: position, padding: 500)
            position = made.position
            try packer.keep(directory + "/" + made.names[0], backup: base.name)
            if let pack = try packer.pack(base.name, into: directory, all: false) {
                packs += 1
                try packer.keep(pack, backup: base.name)
            }
            let kept = try FileSystem.list(packer.directory)
            #expect(kept.count <= packing.count + 1)
        }
        #expect(packs >= 24)
        #expect(try FileSystem.list(directory) == ["kept"])
    }

    @Test func namesOfOtherFilesAreNone() {
        let name = base.name
        let hash = String(repeating: "0", count: 32)
        #expect(EventFile("\(name).events-00000001-\(hash).log.gz", backup: name)?.isPack == false)
        #expect(EventFile("\(name).events-00000001-\(hash).log.gz.sealed", backup: name)?.last == 1)
        #expect(EventFile("\(name).events-00000001-00000064-\(hash).pack", backup: name)?.last == 64)
        for other in [
            "\(name).events-00000001-\(hash).pack", "\(name).events-00000064-00000001-\(hash).pack",
            "\(name).events-00000000-\(hash).log.gz", "\(name).events-1-2.log.gz", "\(name).json",
            "\(name).events-00000001-\(hash).log", "other.events-00000001-\(hash).log.gz",
            "\(name).events-00000001-18446744073709551615-\(hash).pack",
        ] { #expect(EventFile(other, backup: name) == nil, "\(other)") }
    }
}
