import Glibc
import MetricModel
import Platform

/// One series' samples of some time, by column; what partitions take and give.
struct SeriesSamples: Sendable {
    var labels: Labels
    var timestamps: [Int64] = []
    var values: [Double] = []
    var histograms: [(time: Int64, histogram: NativeHistogram)] = []
}

/// A UTC day's series, index and chunks in a SQLite file of their own. Reading is thread-safe; one thread writes at a time.
///
/// Series have dense numbers from 0 within the file. Tables: `meta`; `series`, rows of up to 128 label sets with
/// consecutive numbers; `posting`, for each label pair the numbers of its series as varint differences, which only ever
/// grow; `chunk`, rows of up to 128 series' chunks of one segment of the day.
final class Partition: Sendable {
    static let day: Int64 = 86_400_000
    static let seriesPerRow = 128
    static let format = "kops-sidecar partition 1"

    /// The day's first millisecond.
    let start: Int64
    let path: String
    let readOnly: Bool
    /// The end of the newest chunk, where it is known since the last write.
    private let newest = Lock<(writes: UInt64, end: Int64?)>((0, nil))
    private let readers = Lock<[SQLiteFile]>([])

    var end: Int64 { start + Self.day }

    static func name(_ start: Int64) -> String {
        let date = civilDate(daysSinceEpoch: start / day)
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "day-\(date.year)-\(two(date.month))-\(two(date.day)).sqlite"
    }

    /// The first millisecond of the day that a file's name says; nil for other files.
    static func start(_ name: String) -> Int64? {
        guard name.hasPrefix("day-"), name.hasSuffix(".sqlite") else { return nil }
        let parts = name.dropFirst(4).dropLast(7).split(separator: "-").compactMap { Int64($0) }
        guard parts.count == 3, (1970...9999).contains(parts[0]), (1...12).contains(parts[1]),
            (1...31).contains(parts[2])
        else { return nil }
        return daysSinceEpoch(year: parts[0], month: parts[1], day: parts[2]) * day
    }

    init(_ directory: String, start: Int64, readOnly: Bool = false, suffix: String = "") {
        self.start = start
        self.readOnly = readOnly
        path = directory + "/" + Self.name(start) + suffix
    }

    /// Notes that the day was rewritten whole after its end.
    func markCompacted() throws {
        let file = try SQLiteFile(path, .readWrite)
        defer { file.close() }
        try Self.setMeta(file, "compacted", "1")
        try file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    }

    /// Makes the tables where they are missing; throws where the file is something else.
    /// `durable` false: leaves it to the caller to bring the file to the disk.
    func prepare(durable: Bool = true) throws {
        let file = try SQLiteFile(path, readOnly ? .readOnly : .readWrite)
        defer { file.close() }
        if !readOnly {
            try file.execute(
                """
                PRAGMA journal_mode = WAL;
                PRAGMA synchronous = \(durable ? "FULL" : "OFF");
                CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
                CREATE TABLE IF NOT EXISTS series(
                  first INTEGER PRIMARY KEY, count INTEGER NOT NULL, plain INTEGER NOT NULL, checksum INTEGER NOT NULL,
                  body BLOB NOT NULL);
                CREATE TABLE IF NOT EXISTS posting(
                  name TEXT NOT NULL, value TEXT NOT NULL, last INTEGER NOT NULL, ids BLOB NOT NULL,
                  PRIMARY KEY(name, value)) WITHOUT ROWID;
                CREATE TABLE IF NOT EXISTS chunk(
                  id INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL, start INTEGER NOT NULL,
                  end INTEGER NOT NULL, plain INTEGER NOT NULL, checksum INTEGER NOT NULL, body BLOB NOT NULL);
                CREATE INDEX IF NOT EXISTS chunk_place ON chunk(first, last, start, end);
                \(Tombstones.table);
                INSERT OR IGNORE INTO meta VALUES('format', '\(Self.format)');
                INSERT OR IGNORE INTO meta VALUES('id', lower(hex(randomblob(16))));
                """)
        }
        guard try Self.meta(file, "format") == Self.format else {
            throw SQLiteError(code: 26, message: "is not a partition of this store's format", path: path)
        }
    }

    static func meta(_ file: SQLiteFile, _ key: String) throws -> String? {
        var value: String?
        try file.run("SELECT value FROM meta WHERE key = ?", [.text(key)]) { row in
            value = row.text(0)
            return false
        }
        return value
    }

    static func setMeta(_ file: SQLiteFile, _ key: String, _ value: String) throws {
        try file.run("INSERT OR REPLACE INTO meta VALUES(?, ?)", [.text(key), .text(value)])
    }

    /// The newest log whose samples of this day are all here.
    func flushedLog() throws -> UInt64 {
        try read { try Self.meta($0, "flushed").flatMap { UInt64($0) } ?? 0 }
    }

    /// Lends a reading connection; the calls within see one state of the file.
    func read<R>(_ body: (SQLiteFile) throws -> R) throws -> R {
        let file: SQLiteFile
        if let idle = readers.withLock({ $0.popLast() }) {
            file = idle
        } else {
            file = try SQLiteFile(path, readOnly ? .readOnly : .readWrite)
            // A reader that outlives its file (a rewrite put another in its place) must not remove the new one's companion.
            file.keepCompanion()
            try file.execute("PRAGMA mmap_size = 268435456; PRAGMA cache_size = -512; PRAGMA query_only = 1")
            file.identity = try Self.meta(file, "id")
        }
        try file.run("BEGIN")
        defer {
            try? file.run("COMMIT")
            readers.withLock { if $0.count < 4 { $0.append(file) } }
        }
        return try body(file)
    }

    /// Whether there may be a sample at or behind this time: a question about the last minutes, which are in the head, then reads
    /// no file.
    func mayReach(_ time: Int64) throws -> Bool {
        // Another process may write to it.
        if readOnly { return true }
        let (writes, end) = newest.withLock { $0 }
        if let end { return end >= time }
        let found = try newestTime() ?? .min
        newest.withLock { if $0.writes == writes { $0.end = found } }
        return found >= time
    }

    /// The same as far as it is known without reading the file.
    func surelyEnds(before time: Int64) -> Bool {
        if readOnly { return false }
        return newest.withLock { $0.end.map { $0 < time } ?? false }
    }

    /// To be called before and after every write of chunks.
    func chunksChange() {
        newest.withLock { newest in
            newest.writes += 1
            newest.end = nil
        }
    }

    /// Changes the file in one transaction; the caller sees to it that nobody else writes.
    func write(_ body: (SQLiteFile) throws -> Void) throws {
        let file = try SQLiteFile(path, .readWrite)
        chunksChange()
        defer {
            chunksChange()
            file.close()
        }
        try file.execute("PRAGMA synchronous = FULL")
        try file.transaction { try body(file) }
    }

    /// Copies the file as it is at one moment.
    func copy(to target: String) throws {
        let file = try SQLiteFile(path, readOnly ? .readOnly : .readWrite)
        defer { file.close() }
        file.keepCompanion()
        try file.run("VACUUM INTO ?", [.text(target)])
    }

    /// Ends what reads and removes SQLite's companions.
    func tidy() {
        closeReaders()
        // The last connection takes them away when it closes.
        guard !readOnly, FileSystem.exists(path), let file = try? SQLiteFile(path, .readWrite) else { return }
        try? file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.close()
    }

    /// Whether the day was rewritten after its end and nothing came since.
    func isCompacted() throws -> Bool { try read { try Self.meta($0, "compacted") } != nil }

    func closeReaders() {
        readers.withLock { files in
            for file in files { file.close() }
            files = []
        }
    }

    /// Bytes of the file and SQLite's companions.
    var bytes: Int64 {
        var sum: Int64 = 0
        for suffix in ["", "-wal"] {
            if let status = try? FileSystem.status(path + suffix) { sum += status.size }
        }
        return sum
    }

    func delete() {
        closeReaders()
        SQLiteFileSet.remove(path)
    }
}
