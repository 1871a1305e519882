import GRDB
import Platform

/// One run of a job.
package struct JobRun: Sendable {
    package enum Result: String, Sendable {
        case running, success, failure, timeout
        /// The sidecar ended before the run did.
        case interrupted
    }

    package var job: String
    /// Milliseconds since 1970 UTC.
    package var startedAt: Int64
    package var endedAt: Int64?
    package var result: Result
    package var message: String
    package var log: [String]
    package var onDemand: Bool
    /// 0, or which retry it was.
    package var attempt = 0
}

/// The runs of all jobs in SQLite: each is written down before it begins, so that one cut off by a kill is known.
/// Thread-safe.
struct JobJournal: Sendable {
    private static let keptRuns = 200
    private let database: DatabaseQueue

    init(path: String, care: StateFile.Care) throws {
        let file = StateFile(
            path, durability: .powerCut,
            migrations: [
                (
                    "runs",
                    """
                    CREATE TABLE run(
                      id INTEGER PRIMARY KEY, job TEXT NOT NULL, started INTEGER NOT NULL, ended INTEGER,
                      result TEXT NOT NULL, message TEXT NOT NULL, log TEXT NOT NULL, on_demand INTEGER NOT NULL);
                    CREATE INDEX run_job ON run(job, started);
                    """
                ),
                ("attempts", "ALTER TABLE run ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0"),
            ])
        database = try file.open(caring: care)
    }

    func close() { try? database.close() }

    func begin(_ job: String, at time: Int64, onDemand: Bool, attempt: Int) throws -> Int64 {
        try database.write { db in
            try db.execute(
                sql:
                    "INSERT INTO run(job, started, result, message, log, on_demand, attempt) VALUES(?, ?, 'running', '', '', ?, ?)",
                arguments: [job, time, onDemand, attempt])
            let id = db.lastInsertedRowID
            try db.execute(
                sql: """
                    DELETE FROM run WHERE job = ? AND id NOT IN
                    (SELECT id FROM run WHERE job = ? ORDER BY id DESC LIMIT \(Self.keptRuns))
                    """, arguments: [job, job])
            return id
        }
    }

    func end(_ id: Int64, _ run: JobRun) throws {
        try database.write { db in
            try db.execute(
                sql: "UPDATE run SET ended = ?, result = ?, message = ?, log = ? WHERE id = ?",
                arguments: [run.endedAt, run.result.rawValue, run.message, run.log.joined(separator: "\n"), id])
        }
    }

    /// Runs that were under way when the sidecar ended.
    func markInterrupted(at time: Int64) throws {
        try database.write { db in
            try db.execute(
                sql: "UPDATE run SET ended = ?, result = 'interrupted', message = ? WHERE result = 'running'",
                arguments: [time, "the sidecar ended before the run did"])
        }
    }

    func lastRun(_ job: String) throws -> JobRun? { try runs(job, limit: 1).first }

    /// The newest runs first; of all jobs where `job` is nil.
    func runs(_ job: String?, limit: Int) throws -> [JobRun] {
        try database.read { db in
            let rows = try Row.fetchAll(
                db,
                sql: "SELECT * FROM run WHERE ? IS NULL OR job = ? ORDER BY id DESC LIMIT ?",
                arguments: [job, job, limit])
            return rows.map { row in
                let log: String = row["log"]
                return JobRun(
                    job: row["job"], startedAt: row["started"], endedAt: row["ended"],
                    result: JobRun.Result(rawValue: row["result"]) ?? .failure, message: row["message"],
                    log: log.isEmpty
                        ? [] : log.split(separator: "\n", omittingEmptySubsequences: false).map(String.init),
                    onDemand: row["on_demand"], attempt: row["attempt"])
            }
        }
    }
}
