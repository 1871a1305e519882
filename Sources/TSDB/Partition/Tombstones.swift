/// What was deleted of a partition's series and is still in its chunks: hidden from every read, gone with the next rewrite.
///
/// A row holds bounds (inclusive, milliseconds) and the numbers of the series as varint differences, the first one plus one.
enum Tombstones {
    static let table = """
        CREATE TABLE IF NOT EXISTS tombstone(
          id INTEGER PRIMARY KEY, start INTEGER NOT NULL, end INTEGER NOT NULL, numbers BLOB NOT NULL)
        """

    /// `numbers` ascend.
    static func add(_ file: SQLiteFile, _ numbers: [UInt32], from: Int64, through: Int64) throws {
        var bytes: [UInt8] = []
        var before: Int64 = -1
        for number in numbers {
            bytes.appendVarint(UInt64(Int64(number) - before))
            before = Int64(number)
        }
        try file.run(
            "INSERT INTO tombstone(start, end, numbers) VALUES(?, ?, ?)", [.int(from), .int(through), .blob(bytes)])
    }

    /// Whether there are any; false in files from before there was such a table.
    static func exist(_ file: SQLiteFile) throws -> Bool {
        var found = false
        try file.run("SELECT 1 FROM sqlite_master WHERE name = 'tombstone'") { _ in
            found = true
            return false
        }
        if !found { return false }
        found = false
        try file.run("SELECT 1 FROM tombstone LIMIT 1") { _ in
            found = true
            return false
        }
        return found
    }

    /// Takes away what is deleted; `samples` has an element for each of the ascending `numbers`.
    static func apply(
        _ file: SQLiteFile, _ numbers: [UInt32], to samples: inout [SeriesSamples], tableIsKnown: Bool = false
    ) throws {
        guard try tableIsKnown || exist(file) else { return }
        try file.run("SELECT start, end, numbers FROM tombstone") { row in
            let (start, end) = (row.int(0), row.int(1))
            row.blob(2) { bytes in
                var reader = ByteReader(bytes)
                var number: Int64 = -1
                var at = 0
                while !reader.atEnd {
                    number &+= Int64(truncatingIfNeeded: reader.varint())
                    if reader.failed || number < 0 || number > Int64(UInt32.max) { return }
                    while at < numbers.count, Int64(numbers[at]) < number { at += 1 }
                    if at == numbers.count { return }
                    if Int64(numbers[at]) == number { samples[at].drop { $0 >= start && $0 <= end } }
                }
            }
            return true
        }
    }
}

extension SeriesSamples {
    mutating func drop(_ gone: (Int64) -> Bool) {
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
