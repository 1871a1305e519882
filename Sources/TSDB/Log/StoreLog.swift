import Glibc
import Logging
package import MetricModel
import Platform

/// Which logs are kept for readers, and the gate between reading a log file and moving it. Thread-safe.
final class LogKeeping: Sendable {
    struct State {
        var maxBytes: Int64 = 0
        var lowest: (@Sendable () -> UInt64?)?
    }

    let state = Lock(State())
    /// Held while a log file is read, moved or deleted.
    let gate = Lock(())
}

/// The store's log as others follow it. Logs that are flushed and still needed lie in `remote-write/` beside the store.
extension Store: SampleLog {
    package static let keptLogs = "remote-write"

    private var keptPath: String { options.path + "/" + Self.keptLogs }

    package func follow(from position: LogPosition?) -> any SampleLogReader {
        StoreLogReader(self, from: position ?? endOfLog())
    }

    package func keepLogs(maxBytes: Int64, from lowest: @escaping @Sendable () -> UInt64?) {
        keeping.state.withLock {
            $0.maxBytes = maxBytes
            $0.lowest = lowest
        }
    }

    package var newestTimestamp: Int64? {
        let newest = front.withLock { $0.head.newest }
        return newest == .min ? nil : newest
    }

    package var keptLogBytes: Int64 { keptLogFiles().reduce(0) { $0 + $1.bytes } }

    private func endOfLog() -> LogPosition {
        let number = back.withLock { $0.logNumber }
        let last = keeping.gate.withLock { _ in
            (try? LogFile(options.path, number: number, readOnly: options.readOnly)).flatMap { file -> Int64? in
                defer { file.close() }
                return try? file.lastBatch()
            }
        }
        return LogPosition(log: number, batch: last ?? 0)
    }

    /// The log that takes commits now; everything before it is complete.
    fileprivate var activeLog: UInt64 { back.withLock { $0.logNumber } }

    /// Numbers and directories of all logs, ascending.
    fileprivate func logFiles() -> [(number: UInt64, directory: String)] {
        var out: [(UInt64, String)] = []
        for directory in [keptPath, options.path] {
            for name in (try? FileSystem.list(directory)) ?? [] {
                if let number = LogFile.number(name) { out.append((number, directory)) }
            }
        }
        return out.sorted { $0.0 < $1.0 }
    }

    private func keptLogFiles() -> [(number: UInt64, bytes: Int64)] {
        var out: [(UInt64, Int64)] = []
        for name in (try? FileSystem.list(keptPath)) ?? [] {
            guard let number = LogFile.number(name) else { continue }
            var bytes: Int64 = 0
            for suffix in ["", "-wal"] {
                if let status = try? FileSystem.status(keptPath + "/" + name + suffix) { bytes += status.size }
            }
            out.append((number, bytes))
        }
        return out.sorted { $0.0 < $1.0 }
    }

    /// A flushed log goes, or moves aside where a reader still needs it.
    func retire(_ log: LogFile) {
        let (lowest, maxBytes) = keeping.state.withLock { ($0.lowest, $0.maxBytes) }
        let needed = lowest?()
        keeping.gate.withLock { _ in
            log.close()
            if let needed, log.number >= needed, (try? FileSystem.makeDirectories(keptPath)) != nil {
                let name = LogFile.name(log.number)
                for suffix in ["-wal", ""] where FileSystem.exists(options.path + "/" + name + suffix) {
                    rename(options.path + "/" + name + suffix, keptPath + "/" + name + suffix)
                }
            }
            SQLiteFileSet.remove(log.path)
        }
        trimKeptLogs(needed: needed, maxBytes: maxBytes)
    }

    /// Deletes kept logs that everybody has read, and the oldest where they take too much room.
    private func trimKeptLogs(needed: UInt64?, maxBytes: Int64) {
        var files = keptLogFiles()
        var total = files.reduce(0) { $0 + $1.bytes }
        while let oldest = files.first {
            let isRead = needed.map { oldest.number < $0 } ?? true
            guard isRead || total > maxBytes else { break }
            if !isRead {
                logger.error(
                    "samples that wait for remote write take more room than they may; the oldest are given up",
                    metadata: ["log": "\(oldest.number)", "bytes": "\(total)", "limit": "\(maxBytes)"])
            }
            keeping.gate.withLock { _ in SQLiteFileSet.remove(keptPath + "/" + LogFile.name(oldest.number)) }
            total -= oldest.bytes
            files.removeFirst()
        }
    }

    /// Kept logs that were read since the last flush.
    package func trimKeptLogs() {
        let (lowest, maxBytes) = keeping.state.withLock { ($0.lowest, $0.maxBytes) }
        trimKeptLogs(needed: lowest?(), maxBytes: maxBytes)
    }
}

/// One follower's place in the log, with what it takes to decode what comes next.
private final class StoreLogReader: SampleLogReader {
    private struct State {
        var position: LogPosition
        /// The log that `decoder` has read up to `position`; nil where it has to begin.
        var open: UInt64?
        var decoder = LogDecoder()
        var isNewLog = true
        var lostLogs = 0
    }

    private let store: Store
    private let state: Lock<State>

    init(_ store: Store, from position: LogPosition) {
        self.store = store
        state = Lock(State(position: position))
    }

    var position: LogPosition { state.withLock { $0.position } }

    func next(maxSamples: Int) throws -> LoggedSamples? {
        try state.withLock { try next(&$0, maxSamples) }
    }

    private func next(_ state: inout State, _ maxSamples: Int) throws -> LoggedSamples? {
        while true {
            // Asked before reading: a log that is complete now gets nothing behind what is read then.
            let isComplete = state.position.log < store.activeLog
            if let found = try read(&state, maxSamples) { return found }
            guard isComplete else { return nil }
            guard let following = store.logFiles().first(where: { $0.number > state.position.log }) else { return nil }
            state.position = LogPosition(log: following.number, batch: 0)
            state.open = nil
        }
    }

    /// Batches of the present log behind the position; nil where there are none.
    private func read(_ state: inout State, _ maxSamples: Int) throws -> LoggedSamples? {
        var out = LoggedSamples(position: state.position)
        if state.open != state.position.log {
            state.decoder = LogDecoder()
            state.open = state.position.log
            state.isNewLog = true
        }
        let found = try store.keeping.gate.withLock { _ -> Bool in
            guard let place = store.logFiles().first(where: { $0.number == state.position.log }) else { return false }
            let file = try LogFile(place.directory, number: place.number, readOnly: true)
            defer { file.close() }
            // A log that is met in its middle is decoded from its beginning: codes lean on those before.
            let from = state.isNewLog ? 0 : state.position.batch
            let known = state.position.batch
            try file.batches(after: from) { batch, definitions, data in
                let isWanted = batch > known
                let whole =
                    LogDecoder.definitions(definitions) { out.definitions.append(($0, $1)) }
                    && state.decoder.samples(data) { record in
                        guard isWanted, case .sample(let id, let time, let bits) = record else { return }
                        out.ids.append(id)
                        out.timestamps.append(time)
                        out.values.append(Double(bitPattern: bits))
                    }
                // What follows a damaged batch leans on it: the log ends here for its readers too.
                state.position.batch = whole ? batch : .max
                return whole && out.ids.count < maxSamples
            }
            return true
        }
        if !found {
            // The file went before it was read; at the very beginning it may only not be there yet.
            if state.position.log < store.activeLog { state.lostLogs += 1 }
            return nil
        }
        out.position = state.position
        guard !out.ids.isEmpty || !out.definitions.isEmpty else { return nil }
        (out.isNewLog, state.isNewLog) = (state.isNewLog, false)
        (out.lostLogs, state.lostLogs) = (state.lostLogs, 0)
        return out
    }
}
