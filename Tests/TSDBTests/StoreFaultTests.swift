import GRDBSQLite
import Glibc
import MetricModel
import Platform
import Testing

@testable import TSDB

/// Files that are damaged, cut off, foreign or half of something: the store opens, says so, and serves what the other files hold.
@Suite struct StoreFaultTests {
    enum Fault: CaseIterable {
        case emptied, oneByte, half, text, foreignDatabase, directory, header, middle, bits, zeros
    }

    /// Two days in files and a log with the newest samples, written and left as a kill leaves them.
    private func fill(_ bench: StoreBench) throws -> [Labels: [Int64: Double]] {
        let store = try bench.open()
        var model: [Labels: [Int64: Double]] = [:]
        func add(_ count: Int, _ time: Int64) throws {
            for n in 0..<count {
                let value = Double(n) * 1.5 + Double(time % 1000)
                try bench.append(store, bench.labels("a", n), time, value)
                model[bench.labels("a", n), default: [:]][time] = value
            }
        }
        for step in 0..<5 { try add(200, bench.now - 86_400_000 + Int64(step) * 15_000) }
        for step in 0..<5 { try add(200, bench.now - 600_000 + Int64(step) * 15_000) }
        store.flush()
        for step in 0..<5 { try add(200, bench.now - 300_000 + Int64(step) * 15_000) }
        store.commit()
        store.abandon()
        return model
    }

    private func damage(_ path: String, _ fault: Fault, _ random: inout SeededGenerator) throws {
        for suffix in ["-wal", "-shm"] where fault != .bits { unlink(path + suffix) }
        let bytes = try FileSystem.read(path)
        func write(_ bytes: [UInt8]) throws { try AtomicFile.write(bytes, to: path) }
        switch fault {
        case .emptied: try write([])
        case .oneByte: try write([UInt8(ascii: "S")])
        case .half: try write(Array(bytes[..<(bytes.count / 2)]))
        case .text: try write(Array("nothing that SQLite knows".utf8))
        case .directory:
            unlink(path)
            mkdir(path, 0o755)
        case .foreignDatabase:
            unlink(path)
            let file = try SQLiteFile(path, .readWrite)
            try file.execute("CREATE TABLE batch(x); CREATE TABLE meta(a, b); INSERT INTO meta VALUES(1, 2)")
            file.close()
        case .header: try write(Array(repeating: 0xff, count: 100) + bytes.dropFirst(100))
        case .middle:
            var changed = bytes
            let from = changed.count / 3
            for at in from..<min(changed.count, from + 5000) { changed[at] = UInt8.random(in: 0...255, using: &random) }
            try write(changed)
        case .bits:
            var changed = bytes
            for _ in 0..<20 {
                changed[Int.random(in: 0..<changed.count, using: &random)] ^=
                    1 << UInt8.random(in: 0...7, using: &random)
            }
            try write(changed)
        case .zeros: try write(Array(repeating: 0, count: bytes.count))
        }
    }

    @Test(arguments: Fault.allCases, 0..<3)
    func theServiceStartsAndServesTheRest(_ fault: Fault, _ which: Int) throws {
        let bench = StoreBench()
        let model = try fill(bench)
        // Everything into the main files first, so that the damage meets what matters.
        let names = try FileSystem.list(bench.scratch.path).filter { $0.hasSuffix(".sqlite") }
        for name in names {
            let file = try SQLiteFile(bench.scratch.path + "/" + name, .readWrite)
            try file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            file.close()
        }
        let target = try #require(names.count == 3 ? names[which] : nil)
        var random = SeededGenerator(UInt64(which))
        try damage(bench.scratch.path + "/" + target, fault, &random)

        let store = try bench.open()
        let found = try bench.everything(store)
        for (labels, samples) in found {
            for (time, value) in samples { #expect(model[labels]?[time] == value, "a value nobody wrote") }
        }
        let day = Partition.start(target)
        for (labels, samples) in model {
            for (time, _) in samples {
                let inLog = time >= bench.now - 300_000
                let isElsewhere = day == nil ? !inLog : inLog || dayStart(time) != day
                if isElsewhere { #expect(found[labels]?[time] != nil, "lost though its file is whole") }
            }
        }
        // It goes on, and what it is given from now on stays.
        try bench.append(store, bench.labels("new"), bench.now, 7)
        store.close()
        store.abandon()
        let again = try bench.open()
        #expect(try bench.everything(again)[bench.labels("new")] == [bench.now: 7])
        if ![Fault.bits, .emptied].contains(fault) {
            let aside = try FileSystem.list(bench.scratch.path).contains { $0.contains(".damaged-") }
            let damaged = store.metrics.damagedFiles.value + store.metrics.damagedRows.value
            #expect(aside || damaged > 0, "it should be named and counted")
        }
    }

    /// What a kill leaves that falls into the making of a log: half a database and SQLite's journal beside it.
    @Test func aHalfMadeLogKeepsNobodyFromReading() throws {
        let bench = StoreBench()
        let store = try bench.open()
        try bench.append(store, bench.labels("a"), bench.now - 10_000, 1)
        store.commit()
        let number = store.back.withLock { $0.logNumber }
        store.abandon()
        let half = bench.scratch.path + "/" + LogFile.name(number + 1)
        let making = bench.scratch.path + "/making"
        let file = try SQLiteFile(making, .readWrite)
        try file.execute(
            """
            PRAGMA cache_size = 1;
            BEGIN;
            CREATE TABLE batch(seq INTEGER PRIMARY KEY, data BLOB NOT NULL);
            INSERT INTO batch(data) VALUES(zeroblob(40000)), (zeroblob(40000));
            """)
        for suffix in ["", "-journal"] { try AtomicFile.write(FileSystem.read(making + suffix), to: half + suffix) }
        file.close()
        SQLiteFileSet.remove(making)
        #expect(try FileSystem.read(half).count > 0 && FileSystem.read(half + "-journal").count > 0)
        let reader = try bench.open { $0.readOnly = true }
        #expect(try bench.everything(reader).count == 1)
        #expect(reader.metrics.damagedFiles.value == 0)
        reader.close()
        let again = try bench.open()
        #expect(try bench.everything(again).count == 1)
        again.close()
    }

    /// SQLite itself says that the disk is full: its own bound on pages stands in for the disk.
    @Test func aFullDiskCostsNothingOnceThereIsRoom() throws {
        let bench = StoreBench()
        var store = try bench.open()
        try bench.append(store, bench.labels("a"), bench.now - 10_000, 1)
        store.commit()
        store.back.withLock { $0.log?.limit(pages: 1) }
        for n in 0..<500 { try bench.append(store, bench.labels("full", n), bench.now - 9_000, Double(n)) }
        store.commit()
        #expect(store.metrics.commitFailures.value == 1)
        // Queries see all of it, and more comes in.
        #expect(try bench.everything(store).count == 501)
        for n in 0..<500 { try bench.append(store, bench.labels("full", n), bench.now - 8_000, Double(n)) }
        store.commit()
        #expect(store.front.withLock { $0.waitingBytes } > 0)
        store.back.withLock { $0.log?.limit(pages: 1 << 30) }
        store.commit()
        #expect(store.front.withLock { $0.waitingBytes } == 0)
        store.abandon()
        store = try bench.open()
        let found = try bench.everything(store)
        #expect(found.count == 501)
        #expect(found[bench.labels("full", 3)]?.count == 2)
    }

    @Test func aDiskFullForTooLongIsBoundedInMemory() throws {
        let bench = StoreBench()
        let store = try bench.open {
            $0.maxPendingBytes = 20_000
            $0.maxChunkMemory = 100_000
        }
        store.back.withLock { $0.log?.limit(pages: 1) }
        for step in 0..<200 {
            for n in 0..<50 {
                try bench.append(
                    store, bench.labels("a", n), bench.now - 600_000 + Int64(step) * 1000, Double(step * n) * 1.1)
            }
            store.tick()
            #expect(store.front.withLock { $0.waitingBytes } <= 40_000)
            #expect(store.front.withLock { $0.head.chunkBytes } <= 250_000)
        }
        // The newest are there, whatever had to go.
        let newest = bench.now - 600_000 + 199_000
        #expect(try bench.everything(store)[bench.labels("a", 3)]?[newest] != nil)
        store.back.withLock { $0.log?.limit(pages: 1 << 30) }
        store.tick()
        try bench.append(store, bench.labels("after"), bench.now, 1)
        store.commit()
        store.abandon()
        let again = try bench.open()
        #expect(try bench.everything(again)[bench.labels("after")] == [bench.now: 1])
    }

    @Test func checkFindsAnIndexThatLies() throws {
        let bench = StoreBench()
        _ = try fill(bench)
        let store = try bench.open()
        #expect(store.check().isEmpty)
        let partition = try #require(store.partitions.first)
        try partition.write { try $0.execute("UPDATE posting SET ids = x'05' WHERE name = 'n' AND value = '17'") }
        #expect(store.check().map(\.message) == ["the index of n=\"17\" is damaged"])
        try partition.write { try $0.execute("UPDATE chunk SET end = end - 1 WHERE id = 1") }
        #expect(store.check().count == 2)
    }
}
