import MetricModel

/// Adds flushed samples to a partition, in one transaction for a whole flush. Used by the store's one writing thread. While
/// it writes it knows the partition's series by a hash of 128 bits with a secret key, which takes a tenth of what their
/// labels would.
final class PartitionWriter {
    /// Chunks of one row cover one segment, so that a query of an hour does not inflate a day.
    static let segment: Int64 = 4 * 3_600_000
    static let maxSamples = 2048

    let partition: Partition
    private let file: SQLiteFile
    private var numbers: [WideHash: UInt32] = [:]
    private var isLoaded = false

    /// `durable` false: for a new file that is worth nothing before it is whole; the caller brings it to the disk.
    init(_ partition: Partition, durable: Bool = true) throws {
        self.partition = partition
        try partition.prepare(durable: durable)
        file = try SQLiteFile(partition.path, .readWrite)
        try file.execute(
            "PRAGMA synchronous = \(durable ? "FULL" : "OFF"); PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -4096"
        )
    }

    func close() { file.close() }

    private func load() throws {
        if isLoaded { return }
        numbers.removeAll(keepingCapacity: true)
        numbers.reserveCapacity(Int(try Postings.seriesCount(file)))
        try SeriesRows.forEachBytes(file) { number, bytes in numbers[ByteHash.wide(bytes)] = number }
        isLoaded = true
    }

    private func unload() {
        numbers = [:]
        isLoaded = false
    }

    /// The order in which series are best handed to `write`: those the partition has by number, then new ones by labels.
    func order(_ slots: [UInt32], _ labels: HeadLabels) throws -> [UInt32] {
        try load()
        var known: [(number: UInt32, slot: UInt32)] = []
        var fresh: [UInt32] = []
        var bytes: [UInt8] = []
        for slot in slots {
            bytes.removeAll(keepingCapacity: true)
            labels.appendBytes(Int(slot), to: &bytes)
            if let number = numbers[bytes.withUnsafeBytes(ByteHash.wide)] {
                known.append((number, slot))
            } else {
                fresh.append(slot)
            }
        }
        known.sort { $0.number < $1.number }
        return known.map(\.slot) + labels.sorted(fresh)
    }

    /// Writes all that `next` yields (nil at the end), then notes that the logs up to `log` are in.
    func write(log: UInt64?, _ next: () throws -> SeriesSamples?) throws {
        try load()
        partition.chunksChange()
        defer {
            partition.chunksChange()
            unload()
        }
        try file.transaction {
            var batch: [(number: UInt32, samples: SeriesSamples)] = []
            var fresh = NewSeries(next: UInt32(numbers.count))
            while let samples = try next() {
                let number: UInt32
                let hash = samples.labels.bytes.withUnsafeBytes(ByteHash.wide)
                if let known = numbers[hash] {
                    number = known
                } else {
                    number = UInt32(numbers.count)
                    numbers[hash] = number
                    try fresh.add(samples.labels, file)
                }
                batch.append((number, samples))
                if batch.count == Partition.seriesPerRow {
                    try writeRows(batch)
                    batch.removeAll(keepingCapacity: true)
                }
            }
            try writeRows(batch)
            try fresh.finish(file)
            try file.run("DELETE FROM meta WHERE key = 'compacted'")
            if let log { try Partition.setMeta(file, "flushed", String(log)) }
        }
        // Back into the main file, so that the companion does not stay large.
        try file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    }

    private func writeRows(_ batch: [(number: UInt32, samples: SeriesSamples)]) throws {
        if batch.isEmpty { return }
        let sorted = batch.sorted { $0.number < $1.number }
        var segments: [Int64: ChunkRow] = [:]
        for (number, samples) in sorted {
            var index = 0
            while index < samples.timestamps.count {
                let segment = samples.timestamps[index] / Self.segment
                var end = index + 1
                while end < samples.timestamps.count, end - index < Self.maxSamples,
                    samples.timestamps[end] / Self.segment == segment
                {
                    end += 1
                }
                segments[segment, default: ChunkRow()].add(
                    number, Array(samples.timestamps[index..<end]), Array(samples.values[index..<end]))
                index = end
            }
            for (time, histogram) in samples.histograms {
                segments[time / Self.segment, default: ChunkRow()].add(number, time, histogram)
            }
        }
        for segment in segments.keys.sorted() {
            guard let row = segments[segment] else { continue }
            let plain = row.encoded()
            let (body, plainLength) = packed(plain)
            let sum = body.withUnsafeBytes(checksum)
            try file.run(
                "INSERT INTO chunk(first, last, start, end, plain, checksum, body) VALUES(?, ?, ?, ?, ?, ?, ?)",
                [
                    .int(Int64(row.firstNumber)), .int(Int64(row.lastNumber)), .int(row.start), .int(row.end),
                    .int(Int64(plainLength)), .int(Int64(sum)), .blob(body),
                ])
        }
    }
}

/// Label sets and postings of series that a flush brings for the first time.
private struct NewSeries {
    private var first: UInt32
    private var labels: [Labels] = []
    private var postings: [String: [String: [UInt32]]] = [:]

    init(next: UInt32) { first = next }

    mutating func add(_ set: Labels, _ file: SQLiteFile) throws {
        let number = first + UInt32(labels.count)
        labels.append(set)
        for (name, value) in set.pairs { postings[name, default: [:]][value, default: []].append(number) }
        if labels.count == Partition.seriesPerRow {
            try SeriesRows.write(labels, first: first, file)
            first += UInt32(labels.count)
            labels.removeAll(keepingCapacity: true)
        }
    }

    func finish(_ file: SQLiteFile) throws {
        if !labels.isEmpty { try SeriesRows.write(labels, first: first, file) }
        for (name, values) in postings {
            for (value, numbers) in values { try Postings.append(file, name, value, numbers) }
        }
    }
}
