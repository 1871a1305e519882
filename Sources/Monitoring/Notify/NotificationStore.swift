import GRDB
import MetricModel
package import Platform

/// The pipeline's memory in SQLite: silences, the notification log and the alerts that have not ended or were not yet told
/// to have. Calls block. One writer: use it from one thread at a time.
package final class NotificationStore: Sendable {
    private let queue: DatabaseQueue

    /// What a start finds.
    package struct Contents: Sendable {
        package var alerts: [RoutedAlert] = []
        package var log: [LogKey: LogEntry] = [:]
        package var silences: [Silence] = []
    }

    /// Opens or makes the file. One that is damaged is set aside, and an empty one made.
    package init(path: String, care: StateFile.Care) throws {
        // "IF NOT EXISTS": files of before there were migrations have the tables.
        let file = StateFile(
            path, durability: .powerCut,
            migrations: [
                (
                    "notifications",
                    """
                    CREATE TABLE IF NOT EXISTS alert (
                      fingerprint INTEGER PRIMARY KEY, labels BLOB NOT NULL, annotations BLOB NOT NULL,
                      starts_at INTEGER NOT NULL, ends_at INTEGER NOT NULL, generator_url TEXT NOT NULL,
                      updated_at INTEGER NOT NULL, times_out INTEGER NOT NULL) WITHOUT ROWID;
                    CREATE TABLE IF NOT EXISTS notification_log (
                      group_key TEXT NOT NULL, receiver TEXT NOT NULL, kind TEXT NOT NULL, idx INTEGER NOT NULL,
                      firing BLOB NOT NULL, resolved BLOB NOT NULL, at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
                      assumed INTEGER NOT NULL, PRIMARY KEY (group_key, receiver, kind, idx)) WITHOUT ROWID;
                    CREATE TABLE IF NOT EXISTS silence (
                      id TEXT PRIMARY KEY, matchers TEXT NOT NULL, starts_at INTEGER NOT NULL, ends_at INTEGER NOT NULL,
                      updated_at INTEGER NOT NULL, created_by TEXT NOT NULL, comment TEXT NOT NULL) WITHOUT ROWID;
                    """
                )
            ])
        queue = try file.open(caring: care)
    }

    package func load() throws -> Contents {
        try queue.read { db in
            var out = Contents()
            for row in try Row.fetchAll(db, sql: "SELECT * FROM alert") {
                guard let labels = NotificationStore.labels(row["labels"]),
                    let annotations = NotificationStore.labels(row["annotations"])
                else { continue }
                out.alerts.append(
                    RoutedAlert(
                        labels: labels, annotations: annotations, startsAt: row["starts_at"], endsAt: row["ends_at"],
                        generatorURL: row["generator_url"], updatedAt: row["updated_at"], timesOut: row["times_out"]))
            }
            for row in try Row.fetchAll(db, sql: "SELECT * FROM notification_log") {
                let key = LogKey(
                    group: row["group_key"], receiver: row["receiver"], kind: row["kind"], index: row["idx"])
                out.log[key] = LogEntry(
                    firing: NotificationStore.set(row["firing"]), resolved: NotificationStore.set(row["resolved"]),
                    at: row["at"], expiresAt: row["expires_at"], assumed: row["assumed"])
            }
            for row in try Row.fetchAll(db, sql: "SELECT * FROM silence") {
                guard let matchers = try? MatcherSyntax.parse(row["matchers"]) else { continue }
                out.silences.append(
                    Silence(
                        id: row["id"], matchers: matchers, startsAt: row["starts_at"], endsAt: row["ends_at"],
                        updatedAt: row["updated_at"], createdBy: row["created_by"], comment: row["comment"]))
            }
            return out
        }
    }

    /// Makes the writes among the actions durable, in one transaction.
    package func save(_ actions: [NotificationAction]) throws {
        try queue.write { db in
            for action in actions { try NotificationStore.save(action, db) }
        }
    }

    private static func save(_ action: NotificationAction, _ db: Database) throws {
        switch action {
        case .deliver: break
        case .saveAlerts(let alerts):
            let statement = try db.cachedStatement(sql: "INSERT OR REPLACE INTO alert VALUES (?,?,?,?,?,?,?,?)")
            for a in alerts {
                try statement.execute(arguments: [
                    Int64(bitPattern: a.fingerprint), blob(a.labels.bytes), blob(a.annotations.bytes), a.startsAt,
                    a.endsAt, a.generatorURL, a.updatedAt, a.timesOut,
                ])
            }
        case .forgetAlerts(let fingerprints):
            let statement = try db.cachedStatement(sql: "DELETE FROM alert WHERE fingerprint = ?")
            for f in fingerprints { try statement.execute(arguments: [Int64(bitPattern: f)]) }
        case .saveLog(let key, let entry):
            try db.cachedStatement(sql: "INSERT OR REPLACE INTO notification_log VALUES (?,?,?,?,?,?,?,?,?)")
                .execute(arguments: [
                    key.group, key.receiver, key.kind, key.index, bytes(entry.firing), bytes(entry.resolved), entry.at,
                    entry.expiresAt, entry.assumed,
                ])
        case .forgetLog(let keys):
            let statement = try db.cachedStatement(
                sql: "DELETE FROM notification_log WHERE group_key = ? AND receiver = ? AND kind = ? AND idx = ?")
            for key in keys { try statement.execute(arguments: [key.group, key.receiver, key.kind, key.index]) }
        case .saveSilence(let s):
            try db.cachedStatement(sql: "INSERT OR REPLACE INTO silence VALUES (?,?,?,?,?,?,?)")
                .execute(arguments: [
                    s.id, matchersText(s.matchers), s.startsAt, s.endsAt, s.updatedAt, s.createdBy, s.comment,
                ])
        case .forgetSilences(let ids):
            for id in ids { try db.execute(sql: "DELETE FROM silence WHERE id = ?", arguments: [id]) }
        }
    }

    /// A blob is a text of hexadecimal digits' half the size and needs no Foundation type: SQLite takes it as X'…'.
    private static func blob(_ bytes: [UInt8]) -> DatabaseValue { hexadecimal(bytes).databaseValue }

    private static func bytes(_ set: Set<UInt64>) -> DatabaseValue {
        set.sorted().map(fingerprintText).joined().databaseValue
    }

    private static func labels(_ text: String) -> Labels? {
        guard let bytes = unhex(text) else { return nil }
        // What was written is canonical; what a damaged file gives is checked before it is trusted.
        return bytes.withUnsafeBytes { Labels(stored: $0) }
    }

    private static func set(_ text: String) -> Set<UInt64> {
        var out: Set<UInt64> = []
        let digits = Array(text.utf8)
        for start in stride(from: 0, to: digits.count - 15, by: 16) {
            if let f = UInt64(String(decoding: digits[start..<start + 16], as: UTF8.self), radix: 16) { out.insert(f) }
        }
        return out
    }

    private static func unhex(_ text: String) -> [UInt8]? {
        func digit(_ c: UInt8) -> UInt8? {
            switch c {
            case 48...57: c - 48
            case 97...102: c - 87
            default: nil
            }
        }
        let digits = Array(text.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var out: [UInt8] = []
        out.reserveCapacity(digits.count / 2)
        for i in stride(from: 0, to: digits.count, by: 2) {
            guard let a = digit(digits[i]), let b = digit(digits[i + 1]) else { return nil }
            out.append(a << 4 | b)
        }
        return out
    }

    package func close() { try? queue.close() }
}
