import Platform

/// Whose log of changes lies beside a backup. Several sidecars may follow one cluster and bring backups to one place; two logs
/// beside one backup could not be told apart, so that each writes only beside a backup that nobody else has taken: its own.
enum EventLogOwner {
    static let suffix = ".events.owner"
    private static let limit = 256

    /// Whether this machine's service keeps a log: what it makes is then marked as its own.
    static func isWanted(_ workDirectory: String) -> Bool { FileSystem.exists(path(workDirectory)) }

    /// This sidecar's mark, made where there is none yet.
    static func own(_ workDirectory: String) throws -> String {
        if let text = try? FileSystem.readText(path(workDirectory), maxBytes: limit), !text.isEmpty { return text }
        let text = DestinationName.token() + "\n"
        try AtomicFile.write(Array(text.utf8), to: path(workDirectory), mode: 0o600)
        return text
    }

    /// The mark that a backup has at a place; nil where it has none.
    static func read(_ entry: BackupEntry, at place: any Destination) async throws -> String? {
        let name = "\(entry.name)" + suffix
        guard entry.files.contains(where: { $0.name == name }) else { return nil }
        return String(decoding: try await place.read(name, limit: limit), as: UTF8.self)
    }

    /// Marks a backup as this sidecar's; false where another one was quicker.
    static func take(_ backup: String, at place: any Destination, _ workDirectory: String) async throws -> Bool {
        let mark = try own(workDirectory)
        do {
            try await place.putNew(file: path(workDirectory), as: backup + suffix, progress: nil)
            return true
        } catch let error as BackupError where error.code == .busy {
            return String(decoding: try await place.read(backup + suffix, limit: limit), as: UTF8.self) == mark
        }
    }

    static func path(_ workDirectory: String) -> String { workDirectory + "/event-log-owner" }
}
