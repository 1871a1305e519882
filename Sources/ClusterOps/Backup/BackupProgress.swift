/// Where long work stands.
package struct BackupProgress: Sendable, Equatable {
    package enum Phase: String, Sendable {
        case snapshot
        case verify
        case bundle
        case upload
        case download
        case restore
        case drill
    }

    package var phase: Phase
    /// What is worked on: a member, a destination, a file.
    package var subject: String
    package var done: Int64
    /// 0 where it is not known.
    package var total: Int64
}

/// Called often, from any thread; it must be quick.
package typealias BackupProgressHandler = @Sendable (BackupProgress) -> Void
