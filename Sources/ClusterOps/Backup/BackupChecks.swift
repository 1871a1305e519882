import FoundationEssentials
import Platform

/// When backups were last proven whole and restorable, as this machine remembers it: a manifest never changes, so that it
/// cannot say. Losing the file loses nothing else.
package struct BackupChecks: Sendable, Codable, Equatable {
    package struct Entry: Sendable, Codable, Equatable {
        /// Milliseconds since 1970 UTC.
        package var verified: Int64?
        package var drilled: Int64?
    }

    package private(set) var backups: [String: Entry] = [:]

    private static let maxEntries = 5000

    package static func path(_ workDirectory: String) -> String { workDirectory + "/backup-checks.json" }

    /// Empty where there is none, or none that can be read.
    package static func load(_ workDirectory: String) -> BackupChecks {
        guard let bytes = try? FileSystem.read(path(workDirectory), maxBytes: 4 << 20),
            let checks = try? JSONDecoder().decode(BackupChecks.self, from: Data(bytes))
        else { return BackupChecks() }
        return checks
    }

    /// Writes a check down; a failure is no reason to call the check itself failed, and is told by false.
    @discardableResult
    package static func note(
        _ workDirectory: String, _ name: String, verified: Int64? = nil, drilled: Int64? = nil
    ) -> Bool {
        guard BackupName(name) != nil else { return false }
        var checks = load(workDirectory)
        var entry = checks.backups[name] ?? Entry()
        if let verified { entry.verified = verified }
        if let drilled { entry.drilled = drilled }
        checks.backups[name] = entry
        if checks.backups.count > maxEntries {
            let oldest = checks.backups.keys.compactMap { BackupName($0) }.sorted().prefix(maxEntries / 10)
            for name in oldest { checks.backups["\(name)"] = nil }
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        guard let bytes = try? encoder.encode(checks) else { return false }
        return (try? AtomicFile.write(Array(bytes), to: path(workDirectory), mode: 0o600)) != nil
    }
}
