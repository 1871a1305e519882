import Etcd
import FoundationEssentials
import Platform

/// Turns the answers of a watch into segments. Thread-safe: the watch's thread adds, another one closes.
final class SegmentBuilder: Sendable {
    private struct State {
        var position: EventLogPosition
        var writer: EventSegmentWriter?
        /// Changes of the newest revision, which is whole once the next one comes or the answer ends.
        var open: EventSegment.Record?
        /// etcd has told all up to here.
        var covered: Int64
        /// Up to here it lies in segments that are closed.
        var written: Int64
        var answers = 0
        var answersSeen = 0
        var failure: (any Error)?
    }

    private let base: BackupManifest
    private let directory: String
    private let recipients: [SealRecipient]
    private let clock: WallClock
    private let state: Lock<State>

    init(
        _ position: EventLogPosition, base: BackupManifest, directory: String, recipients: [SealRecipient],
        clock: WallClock
    ) {
        self.base = base
        self.directory = directory
        self.recipients = recipients
        self.clock = clock
        state = Lock(State(position: position, covered: position.after, written: position.after))
    }

    var covered: Int64 { state.withLock { $0.covered } }
    var written: Int64 { state.withLock { $0.written } }

    /// Whether anything came since the last call.
    func moved() -> Bool {
        state.withLock { state in
            defer { state.answersSeen = state.answers }
            return state.answers != state.answersSeen
        }
    }

    func take(_ answer: EtcdWatchAnswer) throws {
        let now = clock.nowMilliseconds()
        try state.withLock { state in
            state.answers += 1
            for event in answer.events {
                if state.open?.revision != event.revision { try flush(&state) }
                if state.open == nil { state.open = .init(revision: event.revision, time: now, changes: []) }
                state.open?.changes.append(.init(isDelete: event.isDelete, keyValue: event.keyValue))
            }
            guard !answer.isFragment else { return }
            try flush(&state)
            // An answer without changes tells that there were none up to its revision; one with changes that these were the next.
            if answer.events.isEmpty, !answer.created { state.covered = max(state.covered, answer.revision) }
            if let writer = state.writer, writer.contentBytes > EventLogger.maxSegmentBytes {
                _ = try close(&state)
            }
        }
    }

    /// Ends the segment at hand and puts it, with the position behind it, where it is to be delivered from; nil where there is
    /// nothing new.
    func close() throws -> EventSegmentWriter.Finished? { try state.withLock { try close(&$0) } }

    private func flush(_ state: inout State) throws {
        guard let record = state.open else { return }
        state.open = nil
        // Seen already: a watch that began anew.
        guard record.revision > state.covered else { return }
        let writer: EventSegmentWriter
        if let open = state.writer {
            writer = open
        } else {
            writer = try EventSegmentWriter(
                state.position, backup: base.name, directory: directory, recipients: recipients, now: record.time)
            state.writer = writer
        }
        try writer.append(record)
        state.covered = record.revision
    }

    private func close(_ state: inout State) throws -> EventSegmentWriter.Finished? {
        guard let writer = state.writer else {
            // Nothing changed: there is nothing that a restore could miss.
            state.written = state.covered
            return nil
        }
        state.writer = nil
        let finished = try writer.finish(now: clock.nowMilliseconds(), covered: state.covered)
        try FileSystem.rename(finished.temporary, to: directory + "/" + finished.name)
        try AtomicFile.syncDirectory(directory)
        // After the segment: where this is lost, the position is found from the segments.
        try SavedPosition(finished.position, backup: base.name).save(directory)
        state.position = finished.position
        state.written = finished.position.after
        return finished
    }
}

/// Where the log stands, written down with each segment.
struct SavedPosition: Codable {
    var backup: String
    var clusterID: String
    var number: UInt64
    var after: Int64
    var previous: String

    init(_ position: EventLogPosition, backup: String) {
        self.backup = backup
        clusterID = hex16(position.clusterID)
        number = position.number
        after = position.after
        previous = hexadecimal(position.previous)
    }

    private static func path(_ directory: String) -> String { directory + "/position.json" }

    static func load(_ directory: String) -> SavedPosition? {
        guard let bytes = try? FileSystem.read(path(directory), maxBytes: 1 << 16) else { return nil }
        return try? JSONDecoder().decode(SavedPosition.self, from: Data(bytes))
    }

    func save(_ directory: String) throws {
        try AtomicFile.write(Array(try JSONEncoder().encode(self)), to: SavedPosition.path(directory), mode: 0o600)
    }

    /// Nil where it is not of this backup.
    func position(_ base: BackupManifest) -> EventLogPosition? {
        let hash = bytes(ofHexadecimal: previous)
        guard backup == base.name, clusterID == base.clusterID, let id = UInt64(clusterID, radix: 16), hash.count == 32,
            after >= base.revision, number > 0
        else { return nil }
        return EventLogPosition(clusterID: id, number: number, after: after, previous: hash)
    }
}
