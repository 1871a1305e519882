/// What a store is opened with. Times are milliseconds, sizes bytes; 0 means no bound of that kind unless said otherwise.
package struct StoreOptions: Sendable {
    package var path: String
    package var retentionTime: Int64 = 15 * 86_400_000
    package var retentionSize: Int64 = 0
    /// Old days go when less than this is free on the disk.
    package var minimumFree: Int64 = 256 << 20
    /// How far behind the newest sample of all a late one may be; 0 refuses late samples.
    package var outOfOrderWindow: Int64 = 0
    package var commitInterval: Int64 = 1000
    /// What a start after a crash has to read again: of 100,000 series every 15 s about a second's work for an hour of log.
    package var flushInterval: Int64 = 3_600_000
    /// Flushed early when the open chunks take more than this.
    package var maxChunkMemory = 1 << 30
    /// Batches that wait for a disk without room.
    package var maxPendingBytes = 256 << 20
    package var maxSeries = 0
    /// Samples further ahead of the clock are refused.
    package var maxFuture: Int64 = 600_000
    package var readOnly = false

    package init(path: String) { self.path = path }
}

/// Why the store refuses. Equality is by code.
package struct StoreError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: String, Sendable {
        /// Another process has the directory.
        case locked
        case tooManySeries
        case readOnly
        case closed
        case disk
        case damaged
        case badInput
    }

    package let code: Code
    package let message: String

    package init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    package var description: String { message }

    package static func == (a: StoreError, b: StoreError) -> Bool { a.code == b.code }
}

/// Something `check` found.
package struct StoreFinding: Sendable, Hashable, CustomStringConvertible {
    package let file: String
    package let message: String

    package var description: String { "\(file): \(message)" }
}
