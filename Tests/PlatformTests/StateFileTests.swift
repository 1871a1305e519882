import GRDB
import Glibc
import Logging
import Platform
import Testing

@Suite struct StateFileTests {
    private final class Bench {
        let directory: String
        let metrics = MetricRegistry()
        var path: String { directory + "/memory.sqlite" }

        init() throws { directory = try FileSystem.makeTemporaryDirectory("/tmp/kops-state-") }
        deinit { try? FileSystem.removeTree(directory) }

        var file: StateFile {
            StateFile(
                path, durability: .powerCut,
                migrations: [
                    ("notes", "CREATE TABLE note(id INTEGER PRIMARY KEY, text TEXT NOT NULL)"),
                    ("marks", "ALTER TABLE note ADD COLUMN mark INTEGER NOT NULL DEFAULT 0"),
                ])
        }

        func openCaring() throws -> DatabaseQueue {
            let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            return try file.open(caring: .init(clock: .system, metrics: metrics, log: log))
        }

        func fill(_ count: Int) throws {
            let database = try file.open()
            try database.write { db in
                for i in 0..<count {
                    try db.execute(
                        sql: "INSERT INTO note(text) VALUES(?)", arguments: [String(repeating: "\(i) ", count: 50)])
                }
            }
            try database.close()
        }

        func count(_ database: DatabaseQueue) throws -> Int {
            try database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM note WHERE mark = 0") ?? -1 }
        }

        var aside: [String] { ((try? FileSystem.list(directory)) ?? []).filter { $0.contains(".damaged-") } }

        var counted: Double {
            metrics.counter("kops_state_files_damaged_total", "", labels: [("file", "memory.sqlite")]).value
        }
    }

    @Test func whatIsWholeStays() throws {
        let bench = try Bench()
        try bench.fill(300)
        for _ in 0..<2 {
            let database = try bench.openCaring()
            #expect(try bench.count(database) == 300)
            try database.close()
        }
        #expect(bench.aside.isEmpty && bench.counted == 0)
    }

    /// Whatever became of the file, it opens: whole, or as an empty one beside the damaged, which is kept as it is.
    @Test(arguments: 0..<40) func whatIsDamagedIsSetAside(seed: UInt64) throws {
        let bench = try Bench()
        try bench.fill(300)
        var random = Seeded(seed)
        var bytes = try FileSystem.read(bench.path)
        switch seed % 4 {
        case 0: bytes = Array(bytes[..<Int.random(in: 1..<bytes.count, using: &random)])
        case 1: bytes = (0..<Int.random(in: 1...9000, using: &random)).map { _ in .random(in: 0...255, using: &random) }
        case 2:
            // A page somewhere holds something else.
            let page = Int.random(in: 0..<bytes.count / 4096, using: &random) * 4096
            for i in page..<page + 4096 { bytes[i] = .random(in: 0...255, using: &random) }
        default: bytes[Int.random(in: 0..<16, using: &random)] ^= 0x20
        }
        try AtomicFile.write(bytes, to: bench.path)
        let database = try bench.openCaring()
        let count = try bench.count(database)
        #expect(count == 0 && bench.counted == 1 && bench.aside.count == 1, "\(count) \(bench.aside)")
        for name in bench.aside { #expect(try FileSystem.read(bench.directory + "/" + name) == bytes) }
        // And it takes what comes.
        try database.write { try $0.execute(sql: "INSERT INTO note(text) VALUES('new')") }
        #expect(try bench.count(database) == 1)
    }

    @Test func anotherProgramsFileIsSetAside() throws {
        let bench = try Bench()
        let other = try DatabaseQueue(path: bench.path)
        try other.write { try $0.execute(sql: "CREATE TABLE note(other BLOB); INSERT INTO note VALUES(x'00')") }
        try other.close()
        #expect(try bench.count(try bench.openCaring()) == 0)
        #expect(bench.counted == 1)
    }

    @Test func aCommandIsToldInsteadOfSettingAside() throws {
        let bench = try Bench()
        try AtomicFile.write(Array(repeating: 7, count: 5000), to: bench.path)
        #expect(throws: DatabaseError.self) { try bench.file.open() }
        #expect(bench.aside.isEmpty)
    }

    /// No damage: setting the file aside would not help, and might lose it.
    @Test func aDirectoryWithoutRightsIsNoDamage() throws {
        let bench = try Bench()
        try FileSystem.makeDirectories(bench.path)
        #expect(throws: DatabaseError.self) { try bench.openCaring() }
        #expect(bench.aside.isEmpty && bench.counted == 0)
    }
}

/// The same damage for the same seed.
private struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9e37_79b9_7f4a_7c15 &+ 1 }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }
}
