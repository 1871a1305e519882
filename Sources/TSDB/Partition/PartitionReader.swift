import MetricModel
import Platform

extension Partition {
    /// Every matching series with a sample within the bounds, in no particular order. Charges `control` with the samples.
    func select(
        _ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl,
        known: PartitionSelections, damaged: (String) -> Void
    ) throws -> [SeriesSamples] {
        try read { file in
            let selection = try selection(file, matchers, known)
            if selection.numbers.isEmpty { return [] }
            var found = try Partition.decodeChunks(
                file, selection.numbers, selection.labels, from: from, through: through, control: control, damaged)
            try Tombstones.apply(file, selection.numbers, to: &found, tableIsKnown: !readOnly)
            return found.filter { !$0.timestamps.isEmpty || !$0.histograms.isEmpty }
        }
    }

    private func selection(
        _ file: SQLiteFile, _ matchers: [LabelMatcher], _ known: PartitionSelections
    ) throws -> PartitionSelections.Found {
        guard let id = file.identity else {
            let numbers = try Postings.select(file, matchers)
            return .init(numbers: numbers, labels: try SeriesRows.labels(file, numbers))
        }
        let count = try Postings.seriesCount(file)
        if let found = known.find(matchers, file: id, seriesCount: count) { return found }
        let numbers = try Postings.select(file, matchers)
        let found = PartitionSelections.Found(numbers: numbers, labels: try SeriesRows.labels(file, numbers))
        known.keep(found, matchers, file: id, seriesCount: count)
        return found
    }

    /// Label sets that all matchers match; those of the whole day.
    func series(_ matchers: [LabelMatcher]) throws -> [Labels] {
        try read { file in try SeriesRows.labels(file, try Postings.select(file, matchers)) }
    }

    /// The last millisecond that any chunk covers; nil where there is none.
    func newestTime() throws -> Int64? {
        try read { file in
            var newest: Int64?
            try file.run("SELECT max(end) FROM chunk") { row in
                newest = row.isNull(0) ? nil : row.int(0)
                return false
            }
            return newest
        }
    }

    /// Compares what each row of chunks says of itself with its chunks; a line for each row that is not right.
    static func checkRows(_ file: SQLiteFile) throws -> [String] {
        var problems: [String] = []
        try file.run("SELECT id, first, last, start, end, plain, checksum, body FROM chunk") { row in
            let extent: ChunkRow.Extent? = row.blob(7) { bytes in
                guard checksum(bytes) == UInt32(truncatingIfNeeded: row.int(6)),
                    let plain = unpacked(bytes, plainLength: Int(row.int(5)))
                else { return nil }
                return plain.withUnsafeBytes { ChunkRow.extent($0, rowStart: row.int(3)) }
            }
            // Damaged bytes are found where they are decoded.
            guard let extent else { return true }
            let said = ChunkRow.Extent(
                first: UInt32(clamping: row.int(1)), last: UInt32(clamping: row.int(2)), start: row.int(3),
                end: row.int(4))
            if extent != said { problems.append("chunk row \(row.int(0)) is not where it says") }
            return true
        }
        return problems
    }

    /// A row as it lies in the file.
    private struct StoredRow: Sendable {
        var id: Int64
        var first: UInt32
        var last: UInt32
        var start: Int64
        var plain: Int
        var checksum: UInt32
        var body: [UInt8]
    }

    /// Rows are read and decoded so many bytes at a time: that, and not the query's length, bounds what lies here packed.
    private static let waveBytes = 8 << 20

    /// The samples of the series with these ascending numbers, which have these labels.
    static func decodeChunks(
        _ file: SQLiteFile, _ numbers: [UInt32], _ labels: [Labels], from: Int64, through: Int64, control: QueryControl,
        _ damaged: (String) -> Void
    ) throws -> [SeriesSamples] {
        guard let lowest = numbers.first, let highest = numbers.last else { return [] }
        // Each piece has series of its own, so that pieces can be decoded side by side.
        let pieceCount = control.parallel == nil ? 1 : max(1, min(8, numbers.count / 16))
        var pieces = (0..<pieceCount).map { piece in
            let range = numbers.count * piece / pieceCount..<numbers.count * (piece + 1) / pieceCount
            return DecodePiece(numbers: Array(numbers[range]), labels: labels[range])
        }
        var wave: [StoredRow] = []
        var waveSize = 0
        func flush() throws {
            pieces = try decode(wave, pieces, from: from, through: through, control: control, damaged)
            wave.removeAll(keepingCapacity: true)
            waveSize = 0
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
            let body = row.blob(6) { Array($0) }
            waveSize += body.count
            wave.append(
                StoredRow(
                    id: row.int(0), first: first, last: last, start: row.int(3), plain: Int(row.int(4)),
                    checksum: UInt32(truncatingIfNeeded: row.int(5)), body: body))
            if waveSize >= waveBytes { try flush() }
            return true
        }
        try flush()
        return pieces.flatMap(\.series)
    }

    /// The same into `out`, which has an element with its labels for each number.
    static func decodeChunks(
        _ file: SQLiteFile, _ numbers: [UInt32], from: Int64, through: Int64, control: QueryControl,
        _ out: inout [SeriesSamples], _ damaged: (String) -> Void
    ) throws {
        out = try decodeChunks(
            file, numbers, out.map(\.labels), from: from, through: through, control: control, damaged)
    }

    private static func decode(
        _ rows: [StoredRow], _ pieces: [DecodePiece], from: Int64, through: Int64, control: QueryControl,
        _ damaged: (String) -> Void
    ) throws -> [DecodePiece] {
        if rows.isEmpty { return pieces }
        // Waking another thread pays for some milliseconds' work only.
        let packedBytes = rows.reduce(0) { $0 + $1.body.count }
        let parallel = packedBytes > 128 << 10 ? control.parallel : nil
        let results = try side(by: parallel, pieces.count) { index -> DecodePiece in
            var piece = pieces[index]
            try piece.decode(rows, from: from, through: through, control: control)
            return piece
        }
        for id in Set(results.flatMap(\.damagedRows)).sorted() { damaged("chunk row \(id)") }
        return results.map { piece in
            var piece = piece
            piece.damagedRows = []
            return piece
        }
    }

    /// Some of the series that a query asks a partition for, and what was decoded of them so far.
    private struct DecodePiece: Sendable {
        let numbers: [UInt32]
        var series: [SeriesSamples]
        var damagedRows: [Int64] = []
        private let isDense: Bool

        init(numbers: [UInt32], labels: ArraySlice<Labels>) {
            self.numbers = numbers
            series = labels.map { SeriesSamples(labels: $0) }
            isDense = numbers.last.map { Int($0 - numbers[0]) + 1 == numbers.count } ?? true
        }

        private func place(_ number: UInt32) -> Int? {
            guard let lowest = numbers.first, number >= lowest else { return nil }
            if isDense { return Int(number - lowest) < numbers.count ? Int(number - lowest) : nil }
            let at = numbers.partitioningIndex { $0 >= number }
            return at < numbers.count && numbers[at] == number ? at : nil
        }

        mutating func decode(_ rows: [StoredRow], from: Int64, through: Int64, control: QueryControl) throws {
            let scratch = DecodeScratch()
            for row in rows {
                let nearest = numbers.partitioningIndex { $0 >= row.first }
                guard nearest < numbers.count, numbers[nearest] <= row.last else { continue }
                try control.check()
                var added = 0
                let whole = row.body.withUnsafeBytes { bytes -> Bool in
                    guard checksum(bytes) == row.checksum else { return false }
                    func decode(_ plain: UnsafeRawBufferPointer) -> Bool {
                        ChunkRow.decode(
                            plain, rowStart: row.start, from: from, through: through, wanted: place, into: &series,
                            scratch: scratch, added: &added)
                    }
                    if row.plain == 0 { return decode(bytes) }
                    guard let plain = unpacked(bytes, plainLength: row.plain) else { return false }
                    return plain.withUnsafeBytes(decode)
                }
                try control.charge(added)
                if !whole { damagedRows.append(row.id) }
            }
        }
    }
}

/// Does `n` pieces of work and gives their results in order: side by side where the query has threads for it.
func side<R: Sendable>(
    by parallel: QueryControl.Parallel?, _ n: Int, _ body: @escaping @Sendable (Int) throws -> R
) throws -> [R] {
    guard n > 1, let parallel else { return try (0..<n).map(body) }
    let results = Lock([Result<R, any Error>?](repeating: nil, count: n))
    parallel(n) { index in
        let result = Result { try body(index) }
        results.withLock { $0[index] = result }
    }
    return try results.withLock { try $0.compactMap { try $0?.get() } }
}
