/// A file at a destination.
package struct StoredFile: Sendable, Equatable {
    package var name: String
    package var bytes: Int64
    /// Milliseconds since 1970 UTC.
    package var modified: Int64

    package init(name: String, bytes: Int64, modified: Int64) {
        self.name = name
        self.bytes = bytes
        self.modified = modified
    }
}

/// Bytes done so far of all that are to be moved.
package typealias ByteProgress = @Sendable (_ done: Int64, _ total: Int64) -> Void

/// A place that keeps files under flat names. Implementations are thread-safe. A name is either there with all its bytes or
/// not at all; a failed or cancelled `put` leaves nothing under the final name.
package protocol Destination: Sendable {
    /// As configured, for messages and metrics.
    var name: String { get }
    /// Where it is, without secrets.
    var location: String { get }
    /// Complete files, sorted by name.
    func list() async throws -> [StoredFile]
    func put(file path: String, as name: String, progress: ByteProgress?) async throws
    /// As `put`, but where a file of that name is there it stays, and `DestinationName.taken` is thrown: of two who bring files
    /// under the same name at the same time, one is told.
    func putNew(file path: String, as name: String, progress: ByteProgress?) async throws
    func get(_ name: String, to path: String, progress: ByteProgress?) async throws
    /// A small file; an error where it is larger than `limit`.
    func read(_ name: String, limit: Int) async throws -> [UInt8]
    /// No error where it is not there.
    func remove(_ name: String) async throws
    /// Removes what earlier attempts left unfinished, older than `olderThan` milliseconds since 1970.
    func removeLeftovers(olderThan: Int64) async throws
}

enum DestinationName {
    static func taken(_ name: String, _ place: String) -> BackupError {
        BackupError(
            .busy, "\(place): \(name) is there already, of another sidecar or an earlier run: make the backup again")
    }

    /// What tells one writer's unfinished files and objects from another's.
    static func token() -> String {
        hex16(UInt64.random(in: .min ... .max))
    }
}
