import MetricModel

extension Partition {
    /// Every matching series with a sample within the bounds, in no particular order.
    func select(
        _ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl,
        damaged: (String) -> Void
    ) throws -> [SeriesSamples] {
        try read { file in
            let numbers = try Postings.select(file, matchers)
            if numbers.isEmpty { return [] }
            let labels = try SeriesRows.labels(file, numbers)
            var out = labels.map { SeriesSamples(labels: $0) }
            try Partition.decodeChunks(file, numbers, from: from, through: through, control: control, &out, damaged)
            try Tombstones.apply(file, numbers, to: &out)
            return out.filter { !$0.timestamps.isEmpty || !$0.histograms.isEmpty }
        }
    }

    /// Label sets that all matchers match; those of the whole day.
    func series(_ matchers: [LabelMatcher]) throws -> [Labels] {
        try read { file in try SeriesRows.labels(file, try Postings.select(file, matchers)) }
    }

    /// Adds the samples of the series with these ascending numbers to `out`, which has an element for each.
    static func decodeChunks(
        _ file: SQLiteFile, _ numbers: [UInt32], from: Int64, through: Int64, control: QueryControl,
        _ out: inout [SeriesSamples], _ damaged: (String) -> Void
    ) throws {
        guard let lowest = numbers.first, let highest = numbers.last else { return }
        let isAll = Int(highest - lowest) + 1 == numbers.count
        func place(_ number: UInt32) -> Int? {
            if isAll { return number >= lowest && number <= highest ? Int(number - lowest) : nil }
            let at = numbers.partitioningIndex { $0 >= number }
            return at < numbers.count && numbers[at] == number ? at : nil
        }
        try file.run(
            """
            SELECT id, first, last, start, plain, checksum, body FROM chunk
            WHERE first <= ? AND last >= ? AND start <= ? AND end >= ? ORDER BY id
            """,
            [.int(Int64(highest)), .int(Int64(lowest)), .int(through), .int(from)]
        ) { row in
            let (first, last) = (UInt32(truncatingIfNeeded: row.int(1)), UInt32(truncatingIfNeeded: row.int(2)))
            let nearest = numbers.partitioningIndex { $0 >= first }
            guard nearest < numbers.count, numbers[nearest] <= last else { return true }
            try control.check()
            let whole = row.blob(6) { bytes in
                guard checksum(bytes) == UInt32(truncatingIfNeeded: row.int(5)) else { return false }
                func decode(_ plain: UnsafeRawBufferPointer) -> Bool {
                    ChunkRow.decode(
                        plain, rowStart: row.int(3), from: from, through: through, wanted: place, into: &out)
                }
                if row.int(4) == 0 { return decode(bytes) }
                guard let plain = unpacked(bytes, plainLength: Int(row.int(4))) else { return false }
                return plain.withUnsafeBytes(decode)
            }
            if !whole { damaged("chunk row \(row.int(0))") }
            return true
        }
    }
}
