package import GRDB
package import Logging

/// Opens the small SQLite files in which the service keeps what it must remember: jobs, audit trail, events, notifications.
/// All are opened alike: a write-ahead log, migrations by name, and a file that is damaged never keeps the service from
/// starting.
package struct StateFile: Sendable {
    /// What a commit that was confirmed outlives.
    package enum Durability: Sendable {
        /// The process's end; a power cut may take the last commits, never the file's order.
        case process
        /// A power cut too: each commit is synced.
        case powerCut
    }

    /// Who is told when a damaged file is set aside.
    package struct Care: Sendable {
        let clock: WallClock
        let metrics: MetricRegistry
        let log: Logger

        package init(clock: WallClock, metrics: MetricRegistry, log: Logger) {
            self.clock = clock
            self.metrics = metrics
            self.log = log
        }
    }

    let path: String
    let durability: Durability
    let migrator: DatabaseMigrator

    /// `migrations` are run in their order, each once in a file's life; their names stand in the file.
    package init(_ path: String, durability: Durability, migrations: [(name: String, sql: String)]) {
        self.path = path
        self.durability = durability
        var migrator = DatabaseMigrator()
        for (name, sql) in migrations {
            migrator.registerMigration(name) { try $0.execute(sql: sql) }
        }
        self.migrator = migrator
    }

    /// Makes the file where it is missing. Throws where it cannot be used. Blocks, for ten seconds at most where another
    /// process holds it.
    package func open() throws -> DatabaseQueue {
        var configuration = Configuration()
        configuration.label = FileSystem.name(of: path)
        configuration.busyMode = .timeout(10)
        let synchronous = durability == .powerCut ? "FULL" : "NORMAL"
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA journal_mode = WAL; PRAGMA synchronous = \(synchronous)")
        }
        let database = try DatabaseQueue(path: path, configuration: configuration)
        try migrator.migrate(database)
        return database
    }

    /// The same, but every page is looked at, and a file that is damaged or none of ours is renamed to
    /// `<path>.damaged-<milliseconds>`, counted and named in the log, and an empty one made in its place.
    package func open(caring care: Care) throws -> DatabaseQueue {
        let name = FileSystem.name(of: path)
        let damaged = care.metrics.counter(
            "kops_state_files_damaged_total", "Files of the service's own memory set aside because they were damaged.",
            labels: [("file", name)])
        damaged.add(0)
        let reason: String
        do {
            if SQLiteFileSet.isCutOff(path) { throw DatabaseError(resultCode: .SQLITE_NOTADB, message: "is cut off") }
            let database = try open()
            if let finding = try StateFile.check(database) {
                reason = finding
                try? database.close()
            } else {
                return database
            }
        } catch let error as DatabaseError where StateFile.isDamage(error) {
            reason = error.message ?? "\(error)"
        }
        let aside = try SQLiteFileSet.setAside(path, now: care.clock.nowMilliseconds())
        damaged.add()
        care.log.error(
            "a damaged file is set aside, and an empty one made",
            metadata: ["file": "\(path)", "now": "\(aside)", "reason": "\(reason)"])
        return try open()
    }

    /// SQLite's first finding; nil where there is none.
    private static func check(_ database: DatabaseQueue) throws -> String? {
        let finding = try database.read { try String.fetchOne($0, sql: "PRAGMA quick_check(1)") }
        return finding == "ok" ? nil : finding ?? "quick_check says nothing"
    }

    /// SQLITE_ERROR: its tables are not those that the migrations expect.
    private static func isDamage(_ error: DatabaseError) -> Bool {
        [.SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_FORMAT, .SQLITE_ERROR].contains(error.resultCode)
    }
}
