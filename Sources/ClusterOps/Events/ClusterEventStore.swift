import GRDB
import Logging
package import Platform

/// Which events are asked for. Empty and nil: all.
package struct ClusterEventFilter: Sendable {
    package var namespace: String?
    package var type: String?
    package var reason: String?
    /// Milliseconds: that happened then or later.
    package var since: Int64 = 0
    package var limit = 100

    package init() {}
}

/// The cluster's events in SQLite, one row for each event whatever its count, for a time and up to a number. Calls block.
/// Thread-safe.
package final class ClusterEventStore: Sendable {
    static let fileName = "events.sqlite"
    let database: DatabaseQueue

    package static func path(in directory: String) -> String { FileSystem.resolve(fileName, in: directory) }

    /// `care` is given by the service, which goes on with an empty file where this one is damaged.
    package init(path: String, care: StateFile.Care? = nil) throws {
        let file = StateFile(
            path, durability: .process,
            migrations: [
                (
                    "events",
                    """
                    CREATE TABLE event(
                      id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, first INTEGER NOT NULL,
                      last INTEGER NOT NULL, count INTEGER NOT NULL, type TEXT NOT NULL, reason TEXT NOT NULL,
                      namespace TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, message TEXT NOT NULL,
                      source TEXT NOT NULL);
                    CREATE INDEX event_last ON event(last);
                    \(LogShipping.table);
                    """
                )
            ])
        database = try care.map { try file.open(caring: $0) } ?? file.open()
    }

    /// Keeps those that are new or have counted on; returns how many were. An event that is there as it was (after a
    /// restart everything is told again) changes nothing.
    func keep(_ events: [ClusterEvent]) throws -> Int {
        try database.write { db in
            var kept = 0
            for event in events {
                let old = try Row.fetchOne(
                    db, sql: "SELECT first, last, count FROM event WHERE uid = ?", arguments: [event.uid])
                var first = event.first
                if let old {
                    guard event.count > old["count"] || event.last > old["last"] else { continue }
                    first = min(first, old["first"])
                    // Under a new id, so that what was sent on already is sent again as it is now.
                    try db.execute(sql: "DELETE FROM event WHERE uid = ?", arguments: [event.uid])
                }
                try db.execute(
                    sql: """
                        INSERT INTO event(uid, first, last, count, type, reason, namespace, kind, name, message, source)
                        VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                        """,
                    arguments: [
                        event.uid, first, event.last, event.count, event.type, event.reason, event.namespace,
                        event.kind, event.name, event.message, event.source,
                    ])
                kept += 1
            }
            return kept
        }
    }

    /// Removes what last happened before a time, and the oldest past a number.
    func cut(before oldest: Int64, keeping limit: Int) throws {
        try database.write { db in
            try db.execute(sql: "DELETE FROM event WHERE last < ?", arguments: [oldest])
            let count = try Int.fetchOne(db, sql: "SELECT count(*) FROM event") ?? 0
            guard count > limit else { return }
            try db.execute(
                sql: "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY last, id LIMIT ?)",
                arguments: [count - limit])
        }
    }

    package var count: Int {
        (try? database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM event") ?? 0 }) ?? 0
    }

    /// Those that happened last first.
    package func list(_ filter: ClusterEventFilter) throws -> [ClusterEvent] {
        try database.read { db in
            try Row.fetchAll(
                db,
                sql: """
                    SELECT * FROM event WHERE last >= :since AND (:namespace IS NULL OR namespace = :namespace)
                    AND (:type IS NULL OR type = :type COLLATE NOCASE) AND (:reason IS NULL OR reason = :reason)
                    ORDER BY last DESC, id DESC LIMIT :limit
                    """,
                arguments: [
                    "since": filter.since, "namespace": filter.namespace, "type": filter.type,
                    "reason": filter.reason, "limit": filter.limit,
                ]
            ).map(Self.event)
        }
    }

    static func event(_ row: Row) -> ClusterEvent {
        var event = ClusterEvent(
            uid: row["uid"], first: row["first"], last: row["last"], count: row["count"], type: row["type"],
            reason: row["reason"], namespace: row["namespace"], kind: row["kind"], name: row["name"],
            message: row["message"], source: row["source"])
        event.id = row["id"]
        return event
    }
}
