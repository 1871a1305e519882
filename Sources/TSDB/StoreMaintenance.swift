import Logging
import MetricModel
import Platform

/// What a store holds.
package struct StoreStats: Sendable {
    package struct Count: Sendable {
        package var name: String
        package var value: Int
    }

    package struct File: Sendable {
        package var name: String
        package var bytes: Int64
        package var series: Int
        /// First and last millisecond that the file's chunks cover; 0 where it has none.
        package var minTime: Int64
        package var maxTime: Int64
    }

    package var headSeries = 0
    package var headSamples = 0
    package var headChunkBytes = 0
    package var labelPairs = 0
    package var minTime: Int64 = 0
    package var maxTime: Int64 = 0
    package var seriesByMetric: [Count] = []
    package var valuesByLabel: [Count] = []
    package var bytesByLabel: [Count] = []
    package var seriesByPair: [Count] = []
    package var files: [File] = []
}

extension Store {
    /// Figures of head and files; each list has the `limit` largest.
    package func stats(limit: Int) -> StoreStats {
        var stats = StoreStats()
        let (postings, newest) = front.withLock { front in
            stats.headSeries = front.head.seriesCount
            stats.headSamples = front.head.samples
            stats.headChunkBytes = front.head.chunkBytes
            return (front.head.index.postingCounts(front.head.labels.symbols), front.head.newest)
        }
        var pairs: [StoreStats.Count] = []
        for (name, values) in postings {
            stats.labelPairs += values.count
            stats.valuesByLabel.append(.init(name: name, value: values.count))
            var bytes = 0
            for (value, series) in values {
                bytes += value.utf8.count * series
                pairs.append(.init(name: "\(name)=\(value)", value: series))
                if name == Labels.metricNameLabel { stats.seriesByMetric.append(.init(name: value, value: series)) }
            }
            stats.bytesByLabel.append(.init(name: name, value: bytes))
        }
        func top(_ list: [StoreStats.Count]) -> [StoreStats.Count] {
            Array(list.sorted { $0.value == $1.value ? $0.name < $1.name : $0.value > $1.value }.prefix(limit))
        }
        stats.seriesByMetric = top(stats.seriesByMetric)
        stats.valuesByLabel = top(stats.valuesByLabel)
        stats.bytesByLabel = top(stats.bytesByLabel)
        stats.seriesByPair = top(pairs)
        for partition in partitions {
            var file = StoreStats.File(
                name: Partition.name(partition.start), bytes: partition.bytes, series: 0, minTime: 0, maxTime: 0)
            _ = try? partition.read { sqlite in
                file.series = Int(try Postings.seriesCount(sqlite))
                try sqlite.run("SELECT coalesce(min(start), 0), coalesce(max(end), 0) FROM chunk") { row in
                    (file.minTime, file.maxTime) = (row.int(0), row.int(1))
                    return false
                }
            }
            stats.files.append(file)
        }
        stats.minTime = stats.files.first { $0.minTime > 0 }?.minTime ?? 0
        stats.maxTime = max(stats.files.map(\.maxTime).max() ?? 0, newest == .min ? 0 : newest)
        return stats
    }

    /// The first millisecond that the files' chunks cover; nil while there are none. Reads an index of one file.
    package func oldestTime() -> Int64? {
        for partition in partitions {
            let oldest = try? partition.read { file in
                var oldest: Int64?
                try file.run("SELECT min(start) FROM chunk") { row in
                    oldest = row.isNull(0) ? nil : row.int(0)
                    return false
                }
                return oldest
            }
            if let oldest = oldest ?? nil { return oldest }
        }
        return nil
    }

    /// Reads everything there is and tells what is wrong: SQLite's own check, every checksum, every chunk, the index.
    package func check() -> [StoreFinding] {
        var findings: [StoreFinding] = []
        for partition in partitions {
            let name = Partition.name(partition.start)
            do {
                try partition.read { file in
                    try file.run("PRAGMA integrity_check(5)") { row in
                        if row.text(0) != "ok" { findings.append(StoreFinding(file: name, message: row.text(0))) }
                        return true
                    }
                    var next: UInt32 = 0
                    try SeriesRows.forEach(file) { number, _ in
                        if number != next {
                            findings.append(StoreFinding(file: name, message: "series \(next) is missing"))
                        }
                        next = number + 1
                    }
                    findings += try Postings.check(file).map { StoreFinding(file: name, message: $0) }
                    findings += try Partition.checkRows(file).map { StoreFinding(file: name, message: $0) }
                    let all = Array(0..<next)
                    var samples = all.map { _ in SeriesSamples(labels: .empty) }
                    try Partition.decodeChunks(
                        file, all, from: .min, through: .max, control: QueryControl(maxSamples: .max), &samples
                    ) { findings.append(StoreFinding(file: name, message: "\($0) is damaged")) }
                    for (number, series) in samples.enumerated() {
                        let bad = series.timestamps.firstIndex { $0 < partition.start || $0 >= partition.end }
                        if bad != nil {
                            findings.append(
                                StoreFinding(file: name, message: "series \(number) has samples of another day"))
                        }
                    }
                }
            } catch {
                findings.append(StoreFinding(file: name, message: "\(error)"))
            }
        }
        for name in (try? FileSystem.list(options.path)) ?? [] where name.contains(".damaged-") {
            findings.append(StoreFinding(file: name, message: "was set aside because it is damaged"))
        }
        return findings
    }

    /// Rewrites days that are over: series in the order of their labels, a day's chunks of a series together, nothing of what
    /// was deleted, no gaps.
    package func compact() throws {
        if options.readOnly { throw StoreError(.readOnly, "the store is open for reading only") }
        let today = dayStart(clock.nowMilliseconds())
        for partition in partitions where try partition.start < today && !partition.isCompacted() {
            try rewrite(partition)
        }
    }

    /// Compacts one day that is over, if there is one for which no more samples are to be expected.
    func compactOldest() {
        let settled = clock.nowMilliseconds() - options.flushInterval - options.outOfOrderWindow - 600_000
        do {
            for partition in partitions where try partition.end < settled && !partition.isCompacted() {
                let free = try FileSystem.freeBytes(options.path)
                if free < options.minimumFree + partition.bytes { return }
                return try rewrite(partition)
            }
        } catch {
            logger.error("a day cannot be compacted", metadata: ["error": "\(error)"])
        }
    }

    /// Writes a partition anew beside the old file and puts it in its place. Commits go on meanwhile, and so do queries.
    func rewrite(_ partition: Partition) throws {
        try back.withLock { back in
            back.writers[partition.start]?.close()
            back.writers[partition.start] = nil
            let scratch = Partition(options.path, start: partition.start, suffix: ".rewrite")
            SQLiteFileSet.remove(scratch.path)
            let writer = try PartitionWriter(scratch)
            let flushed = try partition.flushedLog()
            try partition.read { file in
                var lastCommit = monotonicNanoseconds()
                var slices = LabelOrder(try SeriesRows.all(file), size: Partition.seriesPerRow)
                var ready: [SeriesSamples] = []
                try writer.write(log: flushed) {
                    while true {
                        if let next = ready.popLast() { return next }
                        guard let slice = slices.next() else { return nil }
                        if monotonicNanoseconds() - lastCommit > 700_000_000 {
                            commit(&back)
                            lastCommit = monotonicNanoseconds()
                        }
                        let numbers = slice.map(\.number).sorted()
                        var samples = numbers.map { _ in SeriesSamples(labels: .empty) }
                        try Partition.decodeChunks(
                            file, numbers, from: .min, through: .max, control: QueryControl(maxSamples: .max), &samples
                        ) { _ in self.metrics.damagedRows.add() }
                        try Tombstones.apply(file, numbers, to: &samples)
                        for (labels, number) in slice.reversed() {
                            var series = samples[numbers.partitioningIndex { $0 >= number }]
                            series.labels = labels
                            if !series.timestamps.isEmpty || !series.histograms.isEmpty { ready.append(series) }
                        }
                    }
                }
            }
            writer.close()
            try scratch.markCompacted()
            scratch.closeReaders()
            partition.closeReaders()
            try FileSystem.rename(scratch.path, to: partition.path)
            for suffix in ["-wal", "-shm"] { try? FileSystem.removeFile(partition.path + suffix) }
            try AtomicFile.syncDirectory(options.path)
            let fresh = Partition(options.path, start: partition.start, readOnly: false)
            partitionList.withLock { list in
                list.removeAll { $0 === partition }
                list.append(fresh)
                list.sort { $0.start < $1.start }
            }
        }
        ProcessMemory.trim()
    }
}

/// A partition's series in the order of their labels, some at a time.
private struct LabelOrder {
    private let numbered: [(labels: Labels, number: UInt32)]
    private let size: Int
    private var at = 0

    init(_ series: [(labels: Labels, number: UInt32)], size: Int) {
        numbered = series.sortedByLabels(\.labels)
        self.size = size
    }

    mutating func next() -> ArraySlice<(labels: Labels, number: UInt32)>? {
        if at == numbered.count { return nil }
        defer { at = min(at + size, numbered.count) }
        return numbered[at..<min(at + size, numbered.count)]
    }
}
