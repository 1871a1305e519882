import Glibc
import Logging
import MetricModel
import Platform
import Testing

@testable import TSDB

@Suite struct StoreTests {
    let bench = StoreBench()
    var scratch: ScratchDirectory { bench.scratch }
    var now: Int64 { bench.now }

    func open(_ change: (inout StoreOptions) -> Void = { _ in }) throws -> Store { try bench.open(change) }

    func everything(_ store: Store, from: Int64 = .min, through: Int64 = .max) throws -> [Labels: [Int64: UInt64]] {
        var out: [Labels: [Int64: UInt64]] = [:]
        let matcher = try LabelMatcher("__name__", .regex, ".+")
        for series in try store.select([matcher], from: from, through: through, control: QueryControl()) {
            #expect(series.timestamps == series.timestamps.sorted())
            #expect(Set(series.timestamps).count == series.timestamps.count)
            out[series.labels] = Dictionary(
                uniqueKeysWithValues: zip(series.timestamps, series.values.map(\.bitPattern)))
        }
        return out
    }

    /// The newest samples within bounds are those of all.
    func checkNewest(_ store: Store, _ model: [Labels: [Int64: UInt64]], from: Int64, through: Int64) throws {
        let matcher = try LabelMatcher("__name__", .regex, ".+")
        var found: [Labels: [UInt64]] = [:]
        for series in try store.selectNewest([matcher], from: from, through: through, control: QueryControl()) {
            #expect(series.timestamps.allSatisfy { $0 >= from && $0 <= through })
            if let time = series.timestamps.last, let value = series.values.last {
                found[series.labels] = [UInt64(time), value.bitPattern]
            }
        }
        let expected = model.compactMapValues { samples in
            samples.filter { $0.key >= from && $0.key <= through }.max { $0.key < $1.key }
                .map { [UInt64($0.key), $0.value] }
        }
        #expect(found == expected)
    }

    @discardableResult
    func append(_ store: Store, _ labels: Labels, _ time: Int64, _ value: Double) throws -> AppendOutcome {
        try bench.append(store, labels, time, value)
    }

    func labels(_ n: Int) -> Labels {
        Labels([("__name__", "metric_\(n % 7)"), ("instance", "host-\(n % 5)"), ("n", "\(n)")])
    }

    /// Whatever was asked before, a question about the last minutes gets just what a question about everything has of them.
    @Test func readsFromMarksWhatIsThere() throws {
        let store = try open()
        var random = SystemRandomNumberGenerator()
        for step in 0..<1500 {
            for n in 0..<4 where step % (n + 1) == 0 {
                let value =
                    switch n {
                    case 0: Double(step / 40)
                    case 1: Double(step) * 0.1
                    case 2: Double.random(in: 0...1, using: &random)
                    default: step % 100 == 0 ? Double.staleMarker : Double(Int.random(in: 0...100_000, using: &random))
                    }
                try append(
                    store, labels(n), now + Int64(step) * 15_000 + Int64.random(in: 0...2, using: &random), value)
            }
            if step % 97 == 0 || step % 101 == 7 {
                let all = try everything(store)
                for back in [Int64](arrayLiteral: 1, 60, 300, 3600, 20_000) + [Int64.random(in: 1...20_000)] {
                    let from = now + Int64(step) * 15_000 - back * 1000
                    let expected = all.mapValues { $0.filter { $0.key >= from } }.filter { !$0.value.isEmpty }
                    #expect(try everything(store, from: from) == expected)
                    try checkNewest(store, all, from: from, through: .max)
                    try checkNewest(store, all, from: from - 60_000, through: from)
                }
            }
            if step == 700 { store.flush() }
        }
        store.close()
    }

    /// Random appends, commits, flushes, kills and clean restarts, against a dictionary that must hold the same.
    @Test(arguments: 0..<12)
    func keepsWhatADictionaryKeeps(_ seed: Int) throws {
        var random = SeededGenerator(UInt64(seed))
        var store = try open { $0.outOfOrderWindow = 600_000 }
        var model: [Labels: [Int64: UInt64]] = [:]
        var time = now - 3 * 86_400_000
        for _ in 0..<60 {
            switch Int.random(in: 0...9, using: &random) {
            case 0: store.commit()
            case 1: store.flush()
            case 2:
                // A kill right after a commit: the object goes without closing.
                store.commit()
                store.abandon()
                store = try open { $0.outOfOrderWindow = 600_000 }
            case 3:
                store.close()
                store.abandon()
                store = try open { $0.outOfOrderWindow = 600_000 }
            default:
                for _ in 0..<20 {
                    time += Int64.random(in: 0...1, using: &random) == 0 ? 15_000 : 15_000 * 40
                    for _ in 0..<10 {
                        let set = labels(Int.random(in: 0..<40, using: &random))
                        let value = Double(Int.random(in: 0...5, using: &random))
                        let late = Int.random(in: 0...9, using: &random) == 0
                        let at = late ? time - Int64.random(in: 1...30, using: &random) * 15_000 : time
                        let outcome = try append(store, set, at, value)
                        if outcome.appended == 1, model[set]?[at] == nil {
                            model[set, default: [:]][at] = value.bitPattern
                        }
                    }
                }
            }
            for back in [Int64(0), 600] {
                let through = time - Int64.random(in: 0...back, using: &random) * 1000
                try checkNewest(store, model, from: through - 600_000, through: through)
            }
        }
        let found = try everything(store)
        for (set, samples) in model where found[set] != samples {
            let missing = samples.keys.filter { found[set]?[$0] == nil }
            let wrong = samples.filter { found[set]?[$0.key] != nil && found[set]?[$0.key] != $0.value }
            let extra = (found[set] ?? [:]).filter { samples[$0.key] == nil }
            Issue.record("\(set): missing \(missing.count), wrong \(wrong.count), extra \(extra.count)")
        }
        #expect(found.count == model.count)
        let middle = now - 2 * 86_400_000
        let part = model.mapValues { $0.filter { $0.key >= middle && $0.key <= middle + 7_200_000 } }
            .filter { !$0.value.isEmpty }
        #expect(try everything(store, from: middle, through: middle + 7_200_000) == part)
        #expect(store.check().isEmpty)
    }

    @Test func aKillLosesOnlyWhatWasNotCommitted() throws {
        var store = try open()
        for index in 0..<100 { try append(store, labels(index), now - 60_000, 1) }
        store.commit()
        try append(store, labels(0), now - 30_000, 2)
        store.abandon()
        store = try open()
        let found = try everything(store)
        #expect(found.count == 100)
        #expect(found[labels(0)] == [now - 60_000: (1.0).bitPattern])
        // The log goes on after the replay and a second kill.
        try append(store, labels(0), now - 15_000, 3)
        store.commit()
        store.abandon()
        store = try open()
        #expect(try everything(store)[labels(0)]?.count == 2)
    }

    @Test func aFlushCutOffBeforeTheLogIsDeletedDoublesNothing() throws {
        var store = try open()
        for step in 0..<50 { try append(store, labels(1), now - 1_000_000 + Int64(step) * 15_000, Double(step)) }
        store.commit()
        let log = try #require(
            try FileSystem.list(scratch.path).first { $0.hasPrefix("log-") && $0.hasSuffix(".sqlite") })
        let copy = try FileSystem.read(scratch.path + "/" + log)
        let wal = try FileSystem.read(scratch.path + "/" + log + "-wal")
        store.close()
        store.abandon()
        store = try open()
        store.close()
        // As if the deletion had not come to pass.
        try AtomicFile.write(copy, to: scratch.path + "/" + log)
        try AtomicFile.write(wal, to: scratch.path + "/" + log + "-wal")
        store.abandon()
        store = try open()
        let stats = store.stats(limit: 10)
        #expect(stats.headSamples == 0)
        #expect(try everything(store)[labels(1)]?.count == 50)
    }

    @Test func samplesAreJudgedAsPrometheusDoes() throws {
        let store = try open { $0.outOfOrderWindow = 0 }
        try append(store, labels(1), now, 1)
        #expect(try append(store, labels(1), now, 1).appended == 1)
        #expect(try append(store, labels(1), now, 2).duplicate == 1)
        #expect(try append(store, labels(1), now - 1, 2).outOfOrder == 1)
        #expect(try append(store, labels(1), now + 3_600_000, 2).tooNew == 1)
        // Without a window an hour is the limit for a new series too; with one the window is.
        #expect(try append(store, labels(2), now - 3_600_000, 2).appended == 1)
        #expect(try append(store, labels(3), now - 3_600_001, 2).tooOld == 1)
        #expect(try append(store, labels(2), now - 3_600_001, 2).tooOld == 1)
        #expect(try append(store, labels(2), now - 3_600_000, 3).duplicate == 1)
        var batch = SampleBatch()
        batch.append(ref: 77 << 32 | 5, timestamp: now, value: 1)
        #expect(try store.append(batch).unknownRefs == [0])
        store.close()
        store.abandon()
        // Nor does a restart open what was closed.
        let again = try open { $0.outOfOrderWindow = 7_200_000 }
        #expect(try append(again, labels(1), now - 7_200_000, 5).appended == 1)
        #expect(try append(again, labels(4), now - 7_200_001, 5).tooOld == 1)
        #expect(try append(again, labels(4), now - 7_200_000, 5).appended == 1)
        #expect(try append(again, labels(4), now - 7_200_000, 6).duplicate == 1)
        #expect(try append(again, labels(4), now, 6).appended == 1)
        let found = try everything(again)
        #expect(found[labels(4)]?.count == 2)
        #expect(found[labels(1)]?.count == 2)
    }

    @Test func matchersSelectInHeadAndPartitionAlike() throws {
        let store = try open()
        for n in 0..<50 { try append(store, labels(n), now - 1000, Double(n)) }
        try append(store, Labels([("__name__", "bare")]), now - 1000, 1)
        func count(_ matchers: [(String, MatchOperator, String)]) throws -> Int {
            let list = try matchers.map { try LabelMatcher($0.0, $0.1, $0.2) }
            return try store.select(list, from: now - 5000, through: now, control: QueryControl()).count
        }
        let cases: [([(String, MatchOperator, String)], Int)] = [
            ([("__name__", .equal, "metric_1")], 7),
            ([("__name__", .regex, "metric_[12]"), ("instance", .notEqual, "host-1")], 11),
            ([("__name__", .regex, ".+"), ("instance", .equal, "")], 1),
            ([("__name__", .regex, ".+"), ("instance", .notEqual, "")], 50),
            ([("__name__", .regex, ".+"), ("instance", .notRegex, "host-[0-3]")], 11),
            ([("__name__", .regex, ".+"), ("none", .notRegex, "x")], 51),
            ([("n", .regex, "1|2|3")], 3),
            ([("__name__", .equal, "absent")], 0),
        ]
        for flushed in [false, true] {
            if flushed { store.flush() }
            for (matchers, expected) in cases { #expect(try count(matchers) == expected, "\(matchers) \(flushed)") }
            #expect(try store.labelNames([], from: .min, through: .max, limit: 0) == ["__name__", "instance", "n"])
            #expect(try store.labelValues("instance", [], from: .min, through: .max, limit: 2) == ["host-0", "host-1"])
        }
    }

    @Test func aDamagedDayIsSetAsideAndTheRestServed() throws {
        var store = try open()
        for day in 0..<3 { try append(store, labels(1), now - Int64(day) * 86_400_000, 1) }
        for day in (0..<3).reversed() { try append(store, labels(2), now - Int64(day) * 86_400_000, 1) }
        store.close()
        let middle = scratch.path + "/" + Partition.name(dayStart(now - 86_400_000))
        try AtomicFile.write(Array("this is no database, whatever its name says".utf8), to: middle)
        store.abandon()
        store = try open()
        #expect(try everything(store)[labels(2)]?.count == 2)
        #expect(try FileSystem.list(scratch.path).contains { $0.contains(".damaged-") })
        try append(store, labels(2), now + 1000, 5)
        store.flush()
        #expect(try everything(store)[labels(2)]?.count == 3)
    }

    @Test func aTruncatedDayIsSetAsideWhenItIsRead() throws {
        var store = try open()
        for n in 0..<2000 { try append(store, labels(n), now - 86_400_000, Double(n) * 1.1) }
        for n in 0..<10 { try append(store, labels(n), now, Double(n)) }
        store.close()
        let path = scratch.path + "/" + Partition.name(dayStart(now - 86_400_000))
        truncate(path, 8192)
        store.abandon()
        store = try open()
        #expect(try everything(store).count == 10)
    }

    @Test func oneProcessAtATime() throws {
        let store = try open()
        #expect(throws: StoreError(.locked, "")) { try open() }
        #expect(store.options.path == scratch.path)
    }

    @Test func readingBesideTheService() throws {
        let store = try open()
        try append(store, labels(1), now - 86_400_000, 1)
        store.flush()
        try append(store, labels(1), now, 2)
        store.commit()
        let reader = try open { $0.readOnly = true }
        #expect(try everything(reader)[labels(1)]?.count == 2)
        #expect(throws: StoreError(.readOnly, "")) { try reader.resolve([labels(1)]) }
    }

    @Test func retentionDropsWholeDays() throws {
        let store = try open { $0.retentionTime = 2 * 86_400_000 }
        for day in (0..<2).reversed() { try append(store, labels(1), now - Int64(day) * 86_400_000, 1) }
        #expect(try append(store, labels(2), now - 3 * 86_400_000, 1).tooOld == 1)
        store.flush()
        var old = StoreOptions(path: scratch.path)
        old.retentionTime = 0
        store.applyRetention()
        #expect(store.partitions.count == 2)
        store.close()
        let later = now + 3 * 86_400_000
        var log = Logger(label: "test")
        log.logLevel = .critical
        let options = store.options
        let aged = try Store(options: options, clock: WallClock { later }, metrics: MetricRegistry(), log: log)
        aged.applyRetention()
        #expect(aged.partitions.isEmpty)
    }

    @Test func idleSeriesLeaveTheHeadAndComeBack() throws {
        let store = try open()
        let ref = try store.resolve([labels(1)])[0]
        var batch = SampleBatch()
        batch.append(ref: ref, timestamp: now - 1000, value: 1)
        #expect(try store.append(batch).appended == 1)
        store.flush()
        store.flush()
        batch.removeAll()
        batch.append(ref: ref, timestamp: now, value: 2)
        #expect(try store.append(batch).unknownRefs == [0])
        try append(store, labels(1), now, 2)
        #expect(try everything(store)[labels(1)]?.count == 2)
    }

    /// What a selection found is kept while no series comes or goes.
    @Test func selectionsFollowSeriesThatComeAndGo() throws {
        let store = try open()
        let matchers = [try LabelMatcher("__name__", .regex, "metric_.*"), LabelMatcher("instance", equals: "host-1")]
        func found(from: Int64 = .min) throws -> [Labels] {
            try store.select(matchers, from: from, through: .max, control: QueryControl()).map(\.labels)
        }
        var expected: [Labels] = []
        #expect(try found().isEmpty)
        for (step, n) in [41, 3, 21, 16, 6, 1, 99, 2, 11, 26].enumerated() {
            let time = now + Int64(step) * 1000
            try append(store, labels(n), time, 1)
            if n % 5 == 1 { expected = (expected + [labels(n)]).sorted() }
            // Series without a sample in the range are found again where there is one.
            #expect(try found(from: time) == (n % 5 == 1 ? [labels(n)] : []))
            for _ in 0..<2 { #expect(try found() == expected) }
        }
        store.flush()
        #expect(try found() == expected, "from the file")
        try append(store, labels(21), now + 20_000, 2)
        #expect(try found() == expected, "from both")
        #expect(try found(from: now + 20_000) == [labels(21)])
    }

    @Test func whoMayNotWaitIsAnsweredFromMemoryOrNotAtAll() throws {
        let store = try open()
        try append(store, labels(1), now - 100_000, 1)
        store.flush()
        try append(store, labels(1), now, 2)
        func find(from: Int64, mayWait: Bool = false) throws -> [Double] {
            try store.select(
                [LabelMatcher("n", equals: "1")], from: from, through: now, control: QueryControl(mayWait: mayWait)
            ).flatMap(\.values)
        }
        #expect(throws: QueryStop.wouldWait) { try find(from: now - 100_000) }
        // What the file reaches to is not known before it has been read.
        #expect(throws: QueryStop.wouldWait) { try find(from: now - 1000) }
        #expect(try find(from: now - 1000, mayWait: true) == [2])
        #expect(try find(from: now - 1000) == [2])
        #expect(throws: QueryStop.wouldWait) { try find(from: now - 100_000) }
        #expect(try find(from: now - 100_000, mayWait: true) == [1, 2])
    }

    @Test func nativeHistogramsComeBack() throws {
        var histogram = NativeHistogram()
        histogram.schema = 3
        histogram.count = 5
        histogram.sum = 12.5
        histogram.positiveSpans = [.init(offset: -2, length: 2)]
        histogram.positiveBuckets = [2, 3]
        var store = try open()
        var batch = SampleBatch()
        batch.append(ref: try store.resolve([labels(1)])[0], timestamp: now, value: 0)
        batch.histograms = [(0, histogram)]
        #expect(try store.append(batch).appended == 1)
        store.commit()
        store.abandon()
        store = try open()
        for _ in 0..<2 {
            let matcher = LabelMatcher("n", equals: "1")
            let found = try store.select([matcher], from: now, through: now, control: QueryControl())
            #expect(found.first?.histograms?.first == histogram)
            store.flush()
        }
    }
}
