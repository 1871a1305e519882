import Logging
import MetricModel
import Platform
import Testing

@testable import TSDB

/// Following the store's log: everything once, in order, over flushes, restarts and kills.
@Suite struct StoreLogTests {
    let scratch = ScratchDirectory()
    let now: Int64 = 1_764_000_000_000

    func open() throws -> Store {
        var options = StoreOptions(path: scratch.path)
        options.retentionTime = 0
        options.minimumFree = 0
        let now = now
        var log = Logger(label: "test")
        log.logLevel = .critical
        return try Store(options: options, clock: WallClock { now }, metrics: MetricRegistry(), log: log)
    }

    func append(_ store: Store, _ series: ClosedRange<Int>, _ time: Int64) throws {
        let labels = series.map { Labels([("__name__", "m"), ("n", "\($0)")]) }
        var batch = SampleBatch()
        for (ref, n) in zip(try store.resolve(labels), series) {
            batch.append(ref: ref, timestamp: now + time, value: Double(n) * 1000 + Double(time))
        }
        _ = try store.append(batch)
    }

    /// Reads to the end; the values by series, in the order they came.
    func drain(
        _ reader: any SampleLogReader, _ names: inout [UInt64: Labels], most: Int = 10
    ) throws -> [String: [Double]] {
        var out: [String: [Double]] = [:]
        while let found = try reader.next(maxSamples: most) {
            if found.isNewLog { names = [:] }
            for (id, labels) in found.definitions { names[id] = labels }
            for i in found.ids.indices {
                let name = try #require(names[found.ids[i]]?["n"], "a sample of a series that was not defined")
                out[name, default: []].append(found.values[i])
            }
        }
        return out
    }

    @Test func followsOverFlushesAndGoesOnFromAPosition() throws {
        let store = try open()
        try append(store, 1...3, 0)
        store.commit()
        let reader = store.follow(from: nil)
        var names: [UInt64: Labels] = [:]
        #expect(try drain(reader, &names).isEmpty, "a new follower begins with what comes after it")
        let start = reader.position
        store.keepLogs(maxBytes: 1 << 30) { start.log }
        for step in 1...5 {
            try append(store, 1...4, Int64(step))
            store.commit()
            if step == 2 || step == 4 { store.flush() }
        }
        let expected = Dictionary(
            uniqueKeysWithValues: (1...4).map { n in ("\(n)", (1...5).map { Double(n) * 1000 + Double($0) }) })
        #expect(try drain(reader, &names) == expected)
        let middle = reader.position
        try append(store, 2...2, 9)
        store.commit()
        #expect(try drain(reader, &names) == ["2": [2009]])
        // Another follower from the same places, as after a restart.
        var others: [UInt64: Labels] = [:]
        #expect(
            try drain(store.follow(from: start), &others, most: 1)
                == expected.merging(["2": [2001, 2002, 2003, 2004, 2005, 2009]]) { $1 })
        #expect(try drain(store.follow(from: middle), &others) == ["2": [2009]])
        store.close()
    }

    @Test func survivesAKill() throws {
        var store = try open()
        let position = store.follow(from: nil).position
        try append(store, 1...2, 1)
        store.commit()
        try append(store, 1...2, 2)
        store.abandon()
        store = try open()
        store.keepLogs(maxBytes: 1 << 30) { position.log }
        try append(store, 1...2, 3)
        store.commit()
        store.flush()
        try append(store, 1...2, 4)
        store.commit()
        var names: [UInt64: Labels] = [:]
        // What was not committed is lost to the store too.
        #expect(
            try drain(store.follow(from: position), &names) == ["1": [1001, 1003, 1004], "2": [2001, 2003, 2004]])
        store.close()
    }

    @Test func keepsWhatIsNeededAndNoMoreThanItMay() throws {
        let store = try open()
        let reader = store.follow(from: nil)
        let limit = Lock<Int64>(1 << 30)
        func keep() { store.keepLogs(maxBytes: limit.withLock { $0 }) { reader.position.log } }
        keep()
        for step in 1...3 {
            try append(store, 1...2, Int64(step))
            store.commit()
            store.flush()
        }
        #expect(store.keptLogBytes > 0)
        var names: [UInt64: Labels] = [:]
        #expect(try drain(reader, &names)["1"]?.count == 3)
        store.trimKeptLogs()
        #expect(store.keptLogBytes == 0, "what everybody has read goes")
        limit.withLock { $0 = 1 }
        keep()
        for step in 4...6 {
            try append(store, 1...2, Int64(step))
            store.commit()
            store.flush()
        }
        #expect(store.keptLogBytes == 0, "beyond the bound the oldest goes")
        try append(store, 1...2, 7)
        store.commit()
        var lost = 0
        var values: [Double] = []
        while let found = try reader.next(maxSamples: 10) {
            lost += found.lostLogs
            values += found.values
        }
        #expect(lost > 0, "and whoever missed it is told")
        #expect(values == [1007, 2007])
        store.close()
    }
}
