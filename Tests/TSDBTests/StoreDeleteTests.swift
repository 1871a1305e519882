import Logging
import MetricModel
import Platform
import Testing

@testable import TSDB

@Suite struct StoreDeleteTests {
    let bench = StoreBench()

    @Test func deletedSamplesAreGoneAtOnceAndStayGone() throws {
        var store = try bench.open()
        let (hour, now) = (Int64(3_600_000), bench.now)
        for step in 0..<48 {
            for n in 0..<300 {
                try bench.append(store, bench.labels("a", n), now - 48 * hour + Int64(step) * hour, Double(step))
            }
            try bench.append(store, bench.labels("b"), now - 48 * hour + Int64(step) * hour, 1)
        }
        let matcher = LabelMatcher("__name__", equals: "a")
        try store.deleteSeries(
            [[matcher, LabelMatcher("n", equals: "7")], [matcher, LabelMatcher("n", equals: "9")]],
            from: now - 30 * hour, through: now - 20 * hour)
        func verify(_ store: Store) throws {
            let found = try bench.everything(store)
            #expect(found[bench.labels("a", 7)]?.count == 37)
            #expect(found[bench.labels("a", 9)]?.keys.contains(now - 25 * hour) == false)
            #expect(found[bench.labels("a", 8)]?.count == 48)
            #expect(found[bench.labels("b")]?.count == 48)
        }
        try verify(store)
        store.close()
        store.abandon()
        store = try bench.open()
        try verify(store)
        try store.deleteSeries([[LabelMatcher("__name__", equals: "b")]], from: .min, through: .max)
        #expect(try bench.everything(store)[bench.labels("b")] == nil)
        // What comes afterwards is not deleted, though the bounds cover it.
        try bench.append(store, bench.labels("b"), now + 1000, 5)
        #expect(try bench.everything(store)[bench.labels("b")] == [now + 1000: 5])
        store.flush()
        #expect(try bench.everything(store)[bench.labels("b")] == [now + 1000: 5])
        try store.cleanTombstones()
        #expect(try bench.everything(store)[bench.labels("b")] == [now + 1000: 5])
        for partition in store.partitions { #expect(try partition.read { try Tombstones.exist($0) } == false) }
        #expect(store.check().isEmpty)
        #expect(try bench.everything(store)[bench.labels("a", 7)]?.count == 37)
    }

    @Test func aReaderThatOutlivesARewriteHarmsNothing() throws {
        let store = try bench.open()
        let day = dayStart(bench.now - 86_400_000)
        for n in 0..<50 { try bench.append(store, bench.labels("a", n), day + 1000, Double(n)) }
        store.flush()
        let old = try #require(store.partitions.first)
        try old.read { file in
            // Within a query the day is written anew, and something is added to the new file.
            try store.compact()
            try bench.append(store, bench.labels("late"), day + 5000, 1)
            store.flush()
            var rows = 0
            try file.run("SELECT 1 FROM chunk") { _ in
                rows += 1
                return true
            }
            #expect(rows == 1)
        }
        old.closeReaders()
        #expect(try bench.everything(store).count == 51)
        store.close()
        store.abandon()
        let again = try bench.open()
        #expect(try bench.everything(again).count == 51)
        #expect(again.check().isEmpty)
    }

    @Test func aSnapshotIsAStoreOfItsOwn() throws {
        let store = try bench.open()
        for n in 0..<20 { try bench.append(store, bench.labels("a", n), bench.now - Int64(n % 3) * 86_400_000, 1) }
        let name = try store.snapshot(skipHead: false)
        try bench.append(store, bench.labels("later"), bench.now, 1)
        var options = StoreOptions(path: "\(bench.scratch.path)/snapshots/\(name)")
        (options.retentionTime, options.minimumFree) = (0, 0)
        let copy = try Store(options: options, metrics: MetricRegistry(), log: Logger(label: "test"))
        #expect(try bench.everything(copy).count == 20)
        #expect(copy.check().isEmpty)
    }

    /// Series come and go for long enough that the head's labels are packed anew; lookups must not mix them up.
    @Test func seriesThatComeAndGoKeepTheirLabels() throws {
        let store = try bench.open()
        var time = bench.now - 3 * 86_400_000
        for round in 0..<12 {
            for n in 0..<1500 { try bench.append(store, bench.labels("churn_\(round % 4)", round * 1000 + n), time, 1) }
            try bench.append(store, bench.labels("steady"), time, Double(round))
            time += 60_000
            store.flush()
            let heads = store.front.withLock { $0.head.seriesCount }
            #expect(heads <= 2 * 1501)
        }
        let found = try bench.everything(store, "churn_.*")
        #expect(found.count == 12 * 1500)
        #expect(try bench.everything(store, "steady")[bench.labels("steady")]?.count == 12)
    }
}

@Suite struct StoreExchangeTests {
    let bench = StoreBench()

    @Test func whatIsExportedIsImportedTheSame() throws {
        let store = try bench.open()
        let odd = Labels([
            ("__name__", "metric with blank"), ("läbel", "a\"b\\c\nd"), ("x", String(repeating: "v", count: 300)),
        ])
        for step in 0..<200 {
            let time = bench.now - Int64(200 - step) * 1_234_567
            try bench.append(store, bench.labels("a", step % 3), time, Double(step) * 0.1)
            try bench.append(store, odd, time, step == 5 ? .infinity : -1e-300 * Double(step))
            if step == 100 { store.flush() }
        }
        try bench.append(store, bench.labels("a"), bench.now + 1, .staleMarker)
        var text: [UInt8] = []
        try store.forEachSeries([[]], from: .min, through: .max) { OpenMetricsText.append($0, to: &text) }
        text += "# EOF\n".utf8

        let other = StoreBench()
        let target = try other.open()
        // A budget of some samples makes it write many times; pieces end anywhere.
        let incoming = StoreImport(target, budget: 150)
        var reader = OpenMetricsReader()
        var at = 0
        while at < text.count {
            try reader.read(Array(text[at..<min(at + 997, text.count)])) { try incoming.add($0, $1, $2) }
            at += 997
        }
        try reader.finish()
        try incoming.finish()
        var expected = try bench.everything(store)
        expected[bench.labels("a")]?[bench.now + 1] = nil
        #expect(try other.everything(target) == expected)
        #expect(target.check().isEmpty)
        #expect(incoming.samples == 400)
        // A second time changes nothing.
        let second = StoreImport(target)
        var again = OpenMetricsReader()
        try again.read(text) { try second.add($0, $1, $2) }
        try second.finish()
        #expect(try other.everything(target) == expected)
    }

    @Test(arguments: [
        ("a 1 1\n", "line 2: the text does not end with # EOF: it may be cut off"),
        ("a 1 1\nb x 1\n# EOF\n", "line 2: \"x\" is not a value"),
        ("a 1\n# EOF\n", "line 1: the sample has no timestamp"),
        ("a 1 1\n# EOF\nb 1 1\n", "line 3: there is text after # EOF"),
        ("a 1 1\nb{x=\"1} 1 1\n# EOF\n", "line 2: the labels have no closing brace"),
    ])
    func badTextIsNamedByItsLine(_ text: String, _ message: String) throws {
        var reader = OpenMetricsReader()
        let error = #expect(throws: StoreError.self) {
            for byte in text.utf8 { try reader.read([byte]) { _, _, _ in } }
            try reader.finish()
        }
        #expect(error?.message == message)
    }

    @Test func samplesOutOfOrderAndTwiceInTheTextAreSorted() throws {
        let store = try bench.open()
        let incoming = StoreImport(store)
        let day = bench.now - 900 * 86_400_000
        for time in [5, 3, 9, 3, 1] { try incoming.add(bench.labels("a"), day + Int64(time), Double(time)) }
        try incoming.finish()
        #expect(try bench.everything(store)[bench.labels("a")]?.keys.sorted() == [1, 3, 5, 9].map { day + $0 })
    }
}
