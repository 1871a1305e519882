/// Something that went wrong with an etcd or with its files. Equality is by code.
package struct EtcdError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: String, Sendable {
        /// No endpoint could be used.
        case unavailable
        /// A connection came to nothing.
        case connect
        /// Certificates were refused by one side.
        case tls
        case timeout
        /// The member has no leader, or too few members are there.
        case noQuorum
        /// The database is full.
        case noSpace
        /// The revision that was asked for has been compacted.
        case compacted
        /// etcd wants a user, or the one given may not.
        case permission
        /// The server does not have the call: a version too old or too new, or something that is no etcd.
        case unsupported
        case invalidArgument
        case cancelled
        /// A stream ended before its end.
        case interrupted
        /// Bytes are not what they must be.
        case damaged
        /// Something is there already, or in use.
        case refused
        /// A file could not be read or written.
        case file
        case other
    }

    package let code: Code
    /// One line: what, where, and what to do where that is known.
    package let message: String
    package var endpoint: String?

    package init(_ code: Code, _ message: String, endpoint: String? = nil) {
        self.code = code
        self.message = message
        self.endpoint = endpoint
    }

    package var description: String { endpoint.map { "etcd \($0): \(message)" } ?? message }

    package static func == (a: EtcdError, b: EtcdError) -> Bool { a.code == b.code }

    /// A gRPC status other than 0 with its message.
    static func status(_ status: Int, _ message: String, endpoint: String) -> EtcdError {
        let text = message.isEmpty ? "gRPC status \(status)" : message
        let code: Code =
            switch status {
            case 1: .cancelled
            case 3: .invalidArgument
            case 4: .timeout
            case 7, 16: .permission
            case 8: text.contains("space exceeded") ? .noSpace : .other
            case 11: text.contains("compacted") ? .compacted : .other
            case 12: .unsupported
            case 14: text.contains("no leader") || text.contains("timed out") ? .noQuorum : .unavailable
            case 15: .damaged
            default: .other
            }
        return EtcdError(code, text, endpoint: endpoint)
    }
}
