import MetricModel

/// Rows of label sets: for each set the length of its bytes as a varint, then the bytes; packed by zlib where that pays.
enum SeriesRows {
    static func write(_ labels: [Labels], first: UInt32, _ file: SQLiteFile) throws {
        var plain: [UInt8] = []
        for set in labels {
            plain.appendVarint(UInt64(set.bytes.count))
            plain += set.bytes
        }
        let (body, plainLength) = packed(plain)
        let sum = body.withUnsafeBytes(checksum)
        try file.run(
            "INSERT INTO series(first, count, plain, checksum, body) VALUES(?, ?, ?, ?, ?)",
            [
                .int(Int64(first)), .int(Int64(labels.count)), .int(Int64(plainLength)), .int(Int64(sum)), .blob(body),
            ])
    }

    static func forEach(_ file: SQLiteFile, _ body: (UInt32, Labels) -> Void) throws {
        try file.run("SELECT first, count, plain, checksum, body FROM series ORDER BY first") { row in
            let sets = try decode(row, path: file.path)
            for (offset, set) in sets.enumerated() {
                body(UInt32(truncatingIfNeeded: row.int(0)) + UInt32(offset), set)
            }
            return true
        }
    }

    /// The canonical bytes of each label set; valid during the call only.
    static func forEachBytes(_ file: SQLiteFile, _ body: (UInt32, UnsafeRawBufferPointer) -> Void) throws {
        try file.run("SELECT first, count, plain, checksum, body FROM series ORDER BY first") { row in
            var number = UInt32(truncatingIfNeeded: row.int(0))
            try withSets(row, path: file.path) { bytes in
                body(number, bytes)
                number &+= 1
            }
            return true
        }
    }

    static func all(_ file: SQLiteFile) throws -> [(labels: Labels, number: UInt32)] {
        var out: [(labels: Labels, number: UInt32)] = []
        try forEach(file) { out.append(($1, $0)) }
        return out
    }

    /// The label sets of series numbers in ascending order.
    static func labels(_ file: SQLiteFile, _ numbers: [UInt32]) throws -> [Labels] {
        var out: [Labels] = []
        out.reserveCapacity(numbers.count)
        var index = 0
        while index < numbers.count {
            var found = false
            try file.run(
                "SELECT first, count, plain, checksum, body FROM series WHERE first <= ? ORDER BY first DESC LIMIT 1",
                [.int(Int64(numbers[index]))]
            ) { row in
                let first = UInt32(truncatingIfNeeded: row.int(0))
                let sets = try decode(row, path: file.path)
                while index < numbers.count, Int(numbers[index] - first) < sets.count {
                    out.append(sets[Int(numbers[index] - first)])
                    index += 1
                    found = true
                }
                return false
            }
            guard found else { throw damage(file.path, "a series in the index has no labels") }
        }
        return out
    }

    private static func decode(_ row: SQLiteFile.Row, path: String) throws -> [Labels] {
        var sets: [Labels] = []
        try withSets(row, path: path) { sets.append(Labels(bytes: Array($0))) }
        return sets
    }

    private static func withSets(
        _ row: SQLiteFile.Row, path: String, _ body: (UnsafeRawBufferPointer) -> Void
    ) throws {
        try row.blob(4) { bytes in
            guard checksum(bytes) == UInt32(truncatingIfNeeded: row.int(3)),
                let plain = unpacked(bytes, plainLength: Int(row.int(2)))
            else { throw damage(path, "a row of labels is damaged") }
            try plain.withUnsafeBytes { plain in
                var reader = ByteReader(plain)
                for _ in 0..<row.int(1) {
                    let set = reader.slice(reader.count())
                    if reader.failed || !Labels.isWhole(set) { throw damage(path, "a row of labels is damaged") }
                    body(set)
                }
            }
        }
    }
}

/// Posting lists: numbers as varint differences, the first one plus one.
enum Postings {
    static func append(_ file: SQLiteFile, _ name: String, _ value: String, _ numbers: [UInt32]) throws {
        guard let newLast = numbers.last else { return }
        var last: Int64 = -1
        try file.run("SELECT last FROM posting WHERE name = ? AND value = ?", [.text(name), .text(value)]) { row in
            last = row.int(0)
            return false
        }
        var bytes: [UInt8] = []
        var before = last
        for number in numbers {
            bytes.appendVarint(UInt64(Int64(number) - before))
            before = Int64(number)
        }
        if last < 0 {
            try file.run(
                "INSERT INTO posting(name, value, last, ids) VALUES(?, ?, ?, ?)",
                [.text(name), .text(value), .int(Int64(newLast)), .blob(bytes)])
        } else {
            // The result of || on blobs is text unless it is cast back.
            try file.run(
                "UPDATE posting SET last = ?, ids = CAST(ids || ? AS BLOB) WHERE name = ? AND value = ?",
                [.int(Int64(newLast)), .blob(bytes), .text(name), .text(value)])
        }
    }

    private static func decode(_ row: SQLiteFile.Row, _ column: Int32) -> [UInt32] {
        row.blob(column) { bytes in
            var reader = ByteReader(bytes)
            var numbers: [UInt32] = []
            var number: Int64 = -1
            while !reader.atEnd {
                number &+= Int64(truncatingIfNeeded: reader.varint())
                if reader.failed || number < 0 || number > Int64(UInt32.max) { break }
                numbers.append(UInt32(number))
            }
            return numbers
        }
    }

    /// Compares the index with the series it is of; a line for each list that is not right.
    static func check(_ file: SQLiteFile) throws -> [String] {
        var expected: [Labels: [UInt32]] = [:]
        try SeriesRows.forEach(file) { number, set in
            for pair in set.pairs { expected[Labels([(pair.name, pair.value)]), default: []].append(number) }
        }
        var problems: [String] = []
        func name(_ pair: Labels) -> String {
            pair.pairs.first.map { "\($0.name)=\(quoteGo($0.value))" } ?? ""
        }
        try file.run("SELECT name, value, ids FROM posting") { row in
            let pair = Labels([(row.text(0), row.text(1))])
            if expected.removeValue(forKey: pair) != decode(row, 2) {
                problems.append("the index of \(name(pair)) is damaged")
            }
            return true
        }
        for pair in expected.keys { problems.append("the index of \(name(pair)) is missing") }
        return problems
    }

    static func seriesCount(_ file: SQLiteFile) throws -> UInt32 {
        var count: Int64 = 0
        try file.run("SELECT first + count FROM series ORDER BY first DESC LIMIT 1") { row in
            count = row.int(0)
            return false
        }
        return UInt32(clamping: count)
    }

    /// Numbers of the series that all matchers match, ascending.
    static func select(_ file: SQLiteFile, _ matchers: [LabelMatcher]) throws -> [UInt32] {
        try resolvePostings(
            matchers, all: { Array(0..<(try seriesCount(file))) },
            list: { name, value in
                var numbers: [UInt32] = []
                try file.run("SELECT ids FROM posting WHERE name = ? AND value = ?", [.text(name), .text(value)]) {
                    row in
                    numbers = decode(row, 0)
                    return false
                }
                return numbers
            },
            matching: { name, test in
                var lists: [[UInt32]] = []
                try file.run("SELECT value, ids FROM posting WHERE name = ?", [.text(name)]) { row in
                    if test(row.text(0)) { lists.append(decode(row, 1)) }
                    return true
                }
                return union(lists)
            })
    }

    static func names(_ file: SQLiteFile, _ body: (String) -> Void) throws {
        try file.run("SELECT DISTINCT name FROM posting") { row in
            body(row.text(0))
            return true
        }
    }

    static func values(_ file: SQLiteFile, _ name: String, _ body: (String) -> Void) throws {
        try file.run("SELECT value FROM posting WHERE name = ?", [.text(name)]) { row in
            body(row.text(0))
            return true
        }
    }
}

func damage(_ path: String, _ message: String) -> SQLiteError { SQLiteError(code: 11, message: message, path: path) }
