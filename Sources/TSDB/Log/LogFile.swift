import Glibc
import Platform

/// One log: the batches committed since a flush, in a SQLite file that is deleted whole after the next one.
///
/// Each row is one commit: its definitions (packed by zlib where that pays) and samples, and a checksum over both.
final class LogFile {
    let path: String
    let number: UInt64
    private let file: SQLiteFile
    /// Opened for reading only, and the kill fell into its making: it has no table yet.
    private var isUnmade = false

    static func name(_ number: UInt64) -> String {
        let digits = String(number)
        return "log-" + String(repeating: "0", count: max(0, 12 - digits.count)) + digits + ".sqlite"
    }

    /// The number in a log's file name; nil for other files.
    static func number(_ name: String) -> UInt64? {
        guard name.hasPrefix("log-"), name.hasSuffix(".sqlite") else { return nil }
        return UInt64(name.dropFirst(4).dropLast(7))
    }

    init(_ directory: String, number: UInt64, readOnly: Bool = false) throws(SQLiteError) {
        self.number = number
        path = directory + "/" + Self.name(number)
        file = try SQLiteFile(path, readOnly ? .readOnly : .readWrite)
        if readOnly {
            isUnmade = try !file.hasTables()
            return
        }
        try file.execute(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            PRAGMA wal_autocheckpoint = 4000;
            CREATE TABLE IF NOT EXISTS batch(
              seq INTEGER PRIMARY KEY, definitions BLOB NOT NULL, plain INTEGER NOT NULL, data BLOB NOT NULL,
              checksum INTEGER NOT NULL);
            """)
    }

    /// Adds batches in one transaction.
    func append(_ batches: [LogBuffer]) throws {
        try file.transaction {
            for batch in batches { try append(batch) }
        }
    }

    private func append(_ buffer: LogBuffer) throws {
        let (definitions, plain) = packed(buffer.definitions, level: 1)
        let sum = definitions.withUnsafeBytes(checksum) ^ buffer.data.withUnsafeBytes(checksum)
        try file.run(
            "INSERT INTO batch(definitions, plain, data, checksum) VALUES(?, ?, ?, ?)",
            [.blob(definitions), .int(Int64(plain)), .blob(buffer.data), .int(Int64(sum))])
    }

    /// Calls `body` with each batch's definitions and data in order. Returns how many batches were damaged; what follows a
    /// damaged one leans on it, so it is not read.
    func replay(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool) throws -> Int {
        var damaged = 0
        if isUnmade { return 0 }
        try file.run("SELECT definitions, plain, data, checksum FROM batch ORDER BY seq") { row in
            let whole = row.blob(0) { definitions in
                row.blob(2) { data in
                    guard checksum(definitions) ^ checksum(data) == UInt32(truncatingIfNeeded: row.int(3)),
                        let plain = unpacked(definitions, plainLength: Int(row.int(1)))
                    else { return false }
                    return plain.withUnsafeBytes { body($0, data) }
                }
            }
            if !whole { damaged += 1 }
            return whole
        }
        return damaged
    }

    /// Calls `body` with each batch behind `number`, its definitions and data, in order, until it returns false. A damaged
    /// batch ends the walk, with empty bytes that no decoder takes.
    func batches(
        after number: Int64, _ body: (Int64, UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Bool
    ) throws {
        try file.run(
            "SELECT seq, definitions, plain, data, checksum FROM batch WHERE seq > ? ORDER BY seq", [.int(number)]
        ) { row in
            row.blob(1) { definitions in
                row.blob(3) { data in
                    guard checksum(definitions) ^ checksum(data) == UInt32(truncatingIfNeeded: row.int(4)),
                        let plain = unpacked(definitions, plainLength: Int(row.int(2)))
                    else { return false }
                    return plain.withUnsafeBytes { body(row.int(0), $0, data) }
                }
            }
        }
    }

    /// The number of the newest batch; 0 where there is none.
    func lastBatch() throws -> Int64 {
        var last: Int64 = 0
        try file.run("SELECT seq FROM batch ORDER BY seq DESC LIMIT 1") { row in
            last = row.int(0)
            return false
        }
        return last
    }

    func close() { file.close() }

    /// Lets the file have no more than so many pages, as a full disk would; for tests.
    func limit(pages: Int) { try? file.execute("PRAGMA max_page_count = \(pages)") }

    /// Removes the file and SQLite's companions.
    func delete() {
        close()
        SQLiteFileSet.remove(path)
    }
}
