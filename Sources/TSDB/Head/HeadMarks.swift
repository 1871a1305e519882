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

    /// How far before the end marks are left, in bytes: so many, half of it, and so on down to the nearest. Wherever a
    /// question begins, at most as much again is decoded for nothing.
    static let farthest = 3072
    static let nearest = 96
    /// Entries beyond this make all be forgotten; an entry takes some 450 bytes.
    private static let limit = 100_000
    /// Marks of a chunk; when there are more, those that lie far from its end have become too dense.
    private static let most = 10

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

    /// Keeps what reads left, and of what was known the marks before it.
    func keep(_ found: [(slot: UInt32, entry: Entry)]) {
        if found.isEmpty { return }
        entries.withLock { entries in
            if entries.count + found.count > Self.limit { entries.removeAll() }
            for (slot, entry) in found {
                guard let first = entry.marks.first, let known = entries[slot], known.isOf(entry) else {
                    entries[slot] = entry
                    continue
                }
                var entry = entry
                entry.marks = known.marks.filter { $0.at < first.at } + entry.marks
                if entry.marks.count > Self.most { entry.thin() }
                entries[slot] = entry
            }
        }
    }
}

extension HeadMarks.Entry {
    func isOf(_ other: Self) -> Bool { generation == other.generation && firstTime == other.firstTime }

    /// Leaves out marks that are less than half again as far from the end as the next one.
    mutating func thin() {
        guard let end = marks.last?.at else { return }
        var kept: [HeadMark] = []
        var distance = 0
        for mark in marks.reversed() where kept.isEmpty || end - mark.at + HeadMarks.nearest > distance * 3 / 2 {
            distance = end - mark.at + HeadMarks.nearest
            kept.append(mark)
        }
        marks = kept.reversed()
    }
}
