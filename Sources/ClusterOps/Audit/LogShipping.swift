import GRDB
import Logging
import Platform

/// One line of a log as it is sent on.
package struct ShippedLine: Sendable, Hashable {
    /// Grows from line to line.
    package var id: Int64
    /// Milliseconds since 1970 UTC.
    package var time: Int64
    /// Names the line wherever it is sent from, so that what is sent twice is there once.
    package var key: String
    /// A JSON object.
    package var json: String

    package init(id: Int64, time: Int64, key: String, json: String) {
        self.id = id
        self.time = time
        self.key = key
        self.json = json
    }
}

/// Sends the lines of a log that lies in SQLite on, in order and in batches; how far each sink has come is remembered over
/// restarts in the table `sent(sink, id)` beside it. Thread-safe; one caller at a time.
final class LogShipping: Sendable {
    /// The names of its metrics, and what a line is called in their help.
    struct Names: Sendable {
        var shipped: String
        var failures: String
        var lines: String
    }

    static let batch = 500
    static let table = "CREATE TABLE sent(sink TEXT PRIMARY KEY, id INTEGER NOT NULL)"

    private let database: DatabaseQueue
    private let names: Names
    private let metrics: MetricRegistry
    private let log: Logger
    private let fetch: @Sendable (Database, _ after: Int64, _ limit: Int) throws -> [ShippedLine]
    private let pauses = Lock<[String: (until: Int64, length: Int64)]>([:])

    /// `fetch` gives the lines after an id, the oldest first.
    init(
        _ database: DatabaseQueue, _ names: Names, metrics: MetricRegistry, log: Logger,
        fetch: @escaping @Sendable (Database, _ after: Int64, _ limit: Int) throws -> [ShippedLine]
    ) {
        self.database = database
        self.names = names
        self.metrics = metrics
        self.log = log
        self.fetch = fetch
    }

    /// What is new to each of the sinks; one that failed is left alone for a growing time.
    func ship(_ sinks: [any LogSink]) async {
        for sink in sinks {
            let now = monotonicMilliseconds()
            if let pause = pauses.withLock({ $0[sink.name] }), now < pause.until { continue }
            let isDone = await ship(sink)
            pauses.withLock { pauses in
                let length = min((pauses[sink.name]?.length ?? 2500) * 2, 300_000)
                pauses[sink.name] = isDone ? nil : (monotonicMilliseconds() + length, length)
            }
        }
    }

    /// All that is new; false where the sink failed.
    func ship(_ sink: any LogSink) async -> Bool {
        while !Task.isCancelled {
            do {
                let name = sink.name
                let batch = try await WorkerPool.blocking.run { [database, fetch] in
                    try database.read { db in
                        let after = try Int64.fetchOne(db, sql: "SELECT id FROM sent WHERE sink = ?", arguments: [name])
                        return try fetch(db, after ?? 0, Self.batch)
                    }
                }
                guard let last = batch.last else { return true }
                try await sink.send(batch)
                try await mark(sink, last.id)
                metrics.counter(
                    names.shipped, "\(names.lines) that were sent on.", labels: [("sink", name)]
                ).add(Double(batch.count))
            } catch {
                if Task.isCancelled { return false }
                metrics.counter(
                    names.failures, "Attempts to send \(names.lines.lowercased()) on that failed.",
                    labels: [("sink", sink.name)]
                ).add()
                log.warning(
                    "a log cannot be sent on",
                    metadata: ["log": "\(names.lines)", "sink": "\(sink.name)", "error": "\(error)"])
                return false
            }
        }
        return true
    }

    /// As if everything up to this line had been sent.
    func mark(_ sink: any LogSink, _ id: Int64) async throws {
        let name = sink.name
        try await WorkerPool.blocking.run { [database] in
            try database.write { db in
                try db.execute(
                    sql: """
                        INSERT INTO sent(sink, id) VALUES(?, ?)
                        ON CONFLICT(sink) DO UPDATE SET id = max(id, excluded.id)
                        """, arguments: [name, id])
            }
        }
    }
}
