/// Why a backup, a check of one, or a restore did not come to be. Equality is by code.
package struct BackupError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: String, Sendable {
        /// What was asked for cannot be: names, options, files that do not fit together.
        case invalid
        /// Nothing found under that name.
        case notFound
        /// Another one is under way.
        case busy
        case noSpace
        /// Bytes are not what they should be.
        case damaged
        /// Sealed, and the key at hand is missing or wrong.
        case key
        /// Not done because it could do harm; the message names the way to insist.
        case refused
        /// A place that backups go to did not do its part.
        case destination
        /// etcd did not do its part.
        case etcd
        case cancelled
        case failed
    }

    package let code: Code
    /// One line: what, where, what instead.
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    package static func == (a: BackupError, b: BackupError) -> Bool { a.code == b.code }
}
