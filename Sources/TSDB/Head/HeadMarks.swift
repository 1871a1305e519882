import MetricModel
import Platform

/// Where decoding of a chunk's byte code may begin: behind `at` bytes, with what the decoder knows there. What follows is
/// younger than `decoder.time`.
struct HeadMark: Sendable {
    var at: Int
    var decoder: HeadCode.Decoder
}

/// Marks near the ends of the head's chunks, left by reads that went through them, so that the next question about the last
/// minutes need not decode hours. Chunks only grow at their end (a run there may grow in place), so a mark stays right as long
/// as its chunk is there. A cache: forgotten marks cost time only. Thread-safe.
final class HeadMarks: Sendable {
    struct Entry: Sendable {
        /// Which series and chunk the marks are of.
        var generation: UInt32
        var firstTime: Int64
        var marks: [HeadMark]
    }

    /// How far before the end marks are left, in bytes.
    static let distances = (2048, 384, 96)
    /// Entries beyond this make all be forgotten; an entry takes some 200 bytes.
    private static let limit = 200_000

    private let entries = Lock<[UInt32: Entry]>([:])

    /// Calls `body` with what is kept; `mark` reads it.
    func lookUp(_ body: (borrowing [UInt32: Entry]) -> Void) { entries.withLock { body($0) } }

    /// The last mark of a chunk before `from`.
    static func mark(
        _ entries: borrowing [UInt32: Entry], _ slot: UInt32, generation: UInt32, firstTime: Int64, before from: Int64
    ) -> HeadMark? {
        guard let entry = entries[slot], entry.generation == generation, entry.firstTime == firstTime else {
            return nil
        }
        return entry.marks.last { $0.decoder.time < from }
    }

    func keep(_ found: [(slot: UInt32, entry: Entry)]) {
        if found.isEmpty { return }
        entries.withLock { entries in
            if entries.count + found.count > Self.limit { entries.removeAll() }
            for (slot, entry) in found { entries[slot] = entry }
        }
    }
}
