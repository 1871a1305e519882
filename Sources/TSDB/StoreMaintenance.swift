import Logging
package import MetricModel
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
            return (front.head.index.postingCounts(), front.head.newest)
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

    /// Rewrites days that are over: series in the order of their labels, a day's chunks of a series together, no gaps.
    package func compact() throws {
        if options.readOnly { throw StoreError(.readOnly, "the store is open for reading only") }
        let today = dayStart(clock.nowMilliseconds())
        for partition in partitions where partition.start < today {
            let done = try partition.read { try Partition.meta($0, "compacted") }
            if done == nil { try rewrite(partition, keeping: { _, _ in nil }) }
        }
    }

    /// Removes samples within the bounds from all series that all matchers of one of the sets match. Takes effect at once.
    package func deleteSeries(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64) throws {
        if options.readOnly { throw StoreError(.readOnly, "the store is open for reading only") }
        // What is only in the head would come back from the log: it is written out first.
        flush()
        if back.withLock({ $0.sealedLog != nil }) { throw StoreError(.disk, "the head cannot be flushed now") }
        for partition in partitions where partition.start <= through && partition.end > from {
            try rewrite(partition) { labels, time in
                guard time >= from && time <= through else { return nil }
                return matcherSets.contains { $0.allSatisfy { $0.matches(labels) } }
            }
        }
    }

    /// Writes a partition anew beside the old file and puts it in its place. `dropped` says of a sample whether it goes.
    private func rewrite(_ partition: Partition, keeping dropped: (Labels, Int64) -> Bool?) throws {
        try back.withLock { back in
            back.writers[partition.start]?.close()
            back.writers[partition.start] = nil
            let scratch = Partition(options.path, start: partition.start, suffix: ".rewrite")
            removeSQLiteFile(scratch.path)
            let writer = try PartitionWriter(scratch)
            let flushed = try partition.flushedLog()
            try partition.read { file in
                var numbered: [(Labels, UInt32)] = []
                try SeriesRows.forEach(file) { numbered.append(($1, $0)) }
                numbered.sort { $0.0 < $1.0 }
                var position = 0
                var ready: [SeriesSamples] = []
                try writer.write(log: flushed) {
                    while true {
                        if let next = ready.popLast() { return next }
                        if position == numbered.count { return nil }
                        let slice = numbered[position..<min(position + Partition.seriesPerRow, numbered.count)]
                        position += slice.count
                        let numbers = slice.map(\.1).sorted()
                        var samples = numbers.map { _ in SeriesSamples(labels: .empty) }
                        try Partition.decodeChunks(
                            file, numbers, from: .min, through: .max, control: QueryControl(maxSamples: .max), &samples
                        ) { _ in self.metrics.damagedRows.add() }
                        for (labels, number) in slice.reversed() {
                            var series = samples[numbers.partitioningIndex { $0 >= number }]
                            series.labels = labels
                            series.drop { dropped(labels, $0) ?? false }
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
    }
}

extension SeriesSamples {
    fileprivate mutating func drop(_ gone: (Int64) -> Bool) {
        histograms.removeAll { gone($0.time) }
        guard timestamps.contains(where: gone) else { return }
        var times: [Int64] = []
        var floats: [Double] = []
        for (index, time) in timestamps.enumerated() where !gone(time) {
            times.append(time)
            floats.append(values[index])
        }
        (timestamps, values) = (times, floats)
    }
}
