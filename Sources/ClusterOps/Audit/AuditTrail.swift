import GRDB
import Glibc
package import Logging
package import Platform

/// Who did what, when, with what result: kept in SQLite for a time, and sent on to where logs are kept. Recording never
/// waits and never fails the thing that is recorded; what could not be kept is counted. Thread-safe.
package final class AuditTrail: Sendable {
    /// However long the time, no more entries than these are kept.
    private static let maxEntries = 200_000
    private static let maxWaiting = 1000

    private struct Settings {
        var retention: Int64 = 90 * 86_400_000
        var sinks: [any LogSink] = []
        var origin = LogOrigin(cluster: "", node: "")
        var waiting = 0
    }

    private let database: DatabaseQueue
    private let clock: WallClock
    private let log: Logger
    private let metrics: MetricRegistry
    private let settings: Lock<Settings>
    private let lost: Counter
    private let shipping: LogShipping
    /// One thread, so that entries keep their order.
    private let writer = WorkerPool(name: "kops-audit", threads: 1, queueLimit: maxWaiting)

    /// Opens the file. Throws where it cannot be used.
    package init(path: String, clock: WallClock, metrics: MetricRegistry, log: Logger) throws {
        database = try Self.file(path).open(caring: StateFile.Care(clock: clock, metrics: metrics, log: log))
        let settings = Lock(Settings())
        self.settings = settings
        shipping = LogShipping(
            database,
            .init(
                shipped: "kops_audit_shipped_total", failures: "kops_audit_ship_failures_total",
                lines: "Entries of the audit trail"), metrics: metrics, log: log
        ) { db, after, limit in
            let origin = settings.withLock { $0.origin }
            return try Row.fetchAll(
                db, sql: "SELECT * FROM entry WHERE id > ? ORDER BY id LIMIT ?", arguments: [after, limit]
            ).map { Self.entry($0).line(origin) }
        }
        self.clock = clock
        self.log = log
        self.metrics = metrics
        lost = metrics.counter("kops_audit_lost_total", "Entries of the audit trail that could not be kept.")
    }

    private static func file(_ path: String) -> StateFile {
        StateFile(
            path, durability: .process,
            migrations: [
                (
                    "entries",
                    """
                    CREATE TABLE entry(
                      id INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
                      subject TEXT NOT NULL, succeeded INTEGER NOT NULL, detail TEXT NOT NULL);
                    CREATE INDEX entry_time ON entry(time);
                    \(LogShipping.table);
                    """
                )
            ])
    }

    package func apply(retention: Int64, sinks: [any LogSink], origin: LogOrigin) {
        settings.withLock {
            $0.retention = retention
            $0.sinks = sinks
            $0.origin = origin
        }
    }

    // MARK: recording

    package func record(
        actor: String = "sidecar", action: String, subject: String = "", succeeded: Bool, detail: String = ""
    ) {
        record(
            AuditEntry(
                time: clock.nowMilliseconds(), actor: actor, action: action, subject: subject, succeeded: succeeded,
                detail: detail))
    }

    /// A job's run as an entry.
    package func record(run: JobRun) {
        guard run.result != .running else { return }
        record(
            actor: run.onDemand ? "on demand" : "schedule", action: run.job, succeeded: run.result == .success,
            detail: run.result == .success || run.result == .failure
                ? run.message : "\(run.result.rawValue): \(run.message)")
    }

    package func record(_ entry: AuditEntry) {
        metrics.counter(
            "kops_audit_entries_total", "Entries of the audit trail, by result.",
            labels: [("result", entry.succeeded ? "success" : "failure")]
        ).add()
        let taken = writer.submit { [self] in
            do {
                try Self.insert(entry, database)
            } catch {
                lost.add()
                log.error(
                    "an audit entry cannot be kept", metadata: ["action": "\(entry.action)", "error": "\(error)"])
            }
        }
        if !taken { lost.add() }
    }

    /// Writes what waits and puts the file in order: SQLite's companions go. What is recorded later is lost.
    package func close() async { _ = try? await writer.run { [database] in try database.close() } }

    private static func insert(_ entry: AuditEntry, _ database: DatabaseQueue) throws {
        try database.write { db in
            try db.execute(
                sql: "INSERT INTO entry(time, actor, action, subject, succeeded, detail) VALUES(?, ?, ?, ?, ?, ?)",
                arguments: [entry.time, entry.actor, entry.action, entry.subject, entry.succeeded, entry.detail])
        }
    }

    static let fileName = "audit.sqlite"

    package static func path(in directory: String) -> String { FileSystem.resolve(fileName, in: directory) }

    /// For a command, the service running beside it or not: adds to the trail in a data directory, and begins one where the
    /// directory is there without. The file belongs to whom the directory belongs. Blocks, for ten seconds at most.
    package static func append(_ entry: AuditEntry, toTrailIn directory: String) throws {
        guard let status = try FileSystem.status(directory), status.isDirectory else { return }
        let path = path(in: directory)
        if !FileSystem.exists(path) {
            // SQLite gives its other files the owner of the first.
            let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { throw FileError("create", path) }
            defer { Glibc.close(descriptor) }
            if geteuid() == 0, status.owner != 0 { _ = fchown(descriptor, status.owner, status.group) }
        }
        try insert(entry, try file(path).open())
    }

    /// What a trail holds while no service keeps it open, or beside it; none where there is no trail. Blocks.
    package static func read(
        in directory: String, limit: Int, since: Int64 = 0, action: String? = nil
    ) throws -> [AuditEntry]? {
        let path = path(in: directory)
        guard FileSystem.exists(path) else { return nil }
        return try list(try file(path).open(), limit: limit, since: since, action: action)
    }

    // MARK: reading

    /// The newest first. `action` is a word or the beginning of it. Blocks.
    package func list(limit: Int, since: Int64 = 0, action: String? = nil) throws -> [AuditEntry] {
        try Self.list(database, limit: limit, since: since, action: action)
    }

    private static func list(
        _ database: DatabaseQueue, limit: Int, since: Int64, action: String?
    ) throws -> [AuditEntry] {
        try database.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM entry WHERE time >= ? AND (? IS NULL OR substr(action, 1, length(?)) = ?)
                    ORDER BY id DESC LIMIT ?
                    """, arguments: [since, action, action, action, limit]
            ).map(entry)
        }
    }

    private static func entry(_ row: Row) -> AuditEntry {
        var entry = AuditEntry(
            time: row["time"], actor: row["actor"], action: row["action"], subject: row["subject"],
            succeeded: row["succeeded"], detail: row["detail"])
        entry.id = row["id"]
        return entry
    }

    // MARK: keeping and sending

    /// Removes what is too old and sends what is new, until the task is cancelled.
    package func run() async {
        var cleanedAt: Int64?
        while !Task.isCancelled {
            let now = monotonicMilliseconds()
            if cleanedAt.map({ now - $0 > 3_600_000 }) ?? true {
                cleanedAt = now
                await clean()
            }
            await shipping.ship(settings.withLock { $0.sinks })
            try? await Task.sleep(for: .seconds(2))
        }
    }

    func clean() async {
        let oldest = clock.nowMilliseconds() - settings.withLock { $0.retention }
        do {
            try await WorkerPool.blocking.run { [database] in
                try database.write { db in
                    try db.execute(sql: "DELETE FROM entry WHERE time < ?", arguments: [oldest])
                    try db.execute(
                        sql: """
                            DELETE FROM entry WHERE id <= (SELECT id FROM entry ORDER BY id DESC LIMIT 1 OFFSET ?)
                            """, arguments: [Self.maxEntries])
                }
            }
        } catch {
            log.error("the audit trail cannot be cut", metadata: ["error": "\(error)"])
        }
    }

    /// Sends all that is new; false where the sink failed.
    func ship(_ sink: any LogSink) async -> Bool { await shipping.ship(sink) }
}
