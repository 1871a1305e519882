/// A place in the log of all samples a store has taken: behind a batch of a log file.
package struct LogPosition: Sendable, Hashable, Comparable {
    package var log: UInt64
    package var batch: Int64

    package init(log: UInt64, batch: Int64) {
        self.log = log
        self.batch = batch
    }

    package static func < (a: LogPosition, b: LogPosition) -> Bool {
        a.log == b.log ? a.batch < b.batch : a.log < b.log
    }
}

/// Samples in the order in which they were committed, by column. Series are named by numbers that hold until `isNewLog`.
package struct LoggedSamples: Sendable {
    /// Where the reader stands behind these.
    package var position: LogPosition
    /// The numbers of series begin anew: forget what earlier ones meant.
    package var isNewLog = false
    /// Log files that went before they were read.
    package var lostLogs = 0
    package var definitions: [(id: UInt64, labels: Labels)] = []
    package var ids: [UInt64] = []
    package var timestamps: [Int64] = []
    package var values: [Double] = []

    package init(position: LogPosition) { self.position = position }
}

/// Reads the log from a position on. Used by one thread at a time; calls block.
package protocol SampleLogReader: AnyObject, Sendable {
    /// Committed batches with about `maxSamples` samples, at least one batch; nil where there is nothing new.
    func next(maxSamples: Int) throws -> LoggedSamples?
    /// Behind what was read last.
    var position: LogPosition { get }
}

/// A store whose samples can be followed. Thread-safe.
package protocol SampleLog: Sendable {
    /// A reader from `position` on; from the newest commit on where it is nil.
    func follow(from position: LogPosition?) -> any SampleLogReader
    /// Keeps logs that are not read yet when they would go: `lowest` tells the first one still needed (nil: none), and no more
    /// than `maxBytes` are kept.
    func keepLogs(maxBytes: Int64, from lowest: @escaping @Sendable () -> UInt64?)
    /// The newest sample's time in milliseconds; nil where there is none.
    var newestTimestamp: Int64? { get }
    /// Bytes of logs that are kept only because somebody has not read them.
    var keptLogBytes: Int64 { get }
}
