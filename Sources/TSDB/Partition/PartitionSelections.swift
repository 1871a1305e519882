import MetricModel
import Platform

/// Which series selections found in the files of days, so that a question that is asked again looks up no posting and unpacks
/// no labels. What a file's series are changes only as it gets more of them. Thread-safe.
final class PartitionSelections: Sendable {
    struct Found: Sendable {
        /// Ascending.
        var numbers: [UInt32]
        /// Of each number.
        var labels: [Labels]
    }

    private struct Key: Hashable {
        var file: String
        var matchers: [LabelMatcher]
    }

    private struct State {
        var entries: [Key: (seriesCount: UInt32, found: Found)] = [:]
        var series = 0
    }

    /// Larger selections are not kept: finding them is the lesser part of reading them.
    private static let largest = 1_000
    /// Series of all selections; beyond it all are forgotten. A series takes some 250 bytes.
    private static let limit = 20_000

    private let state = Lock(State())

    /// `file` is the id that no other file has, `seriesCount` how many series it holds as it is read.
    func find(_ matchers: [LabelMatcher], file: String, seriesCount: UInt32) -> Found? {
        state.withLock { state in
            guard let entry = state.entries[Key(file: file, matchers: matchers)],
                entry.seriesCount == seriesCount
            else { return nil }
            return entry.found
        }
    }

    func keep(_ found: Found, _ matchers: [LabelMatcher], file: String, seriesCount: UInt32) {
        if found.numbers.count > Self.largest { return }
        // Selections without a series cost their key.
        let cost = found.numbers.count + 4
        state.withLock { state in
            let key = Key(file: file, matchers: matchers)
            if let old = state.entries.removeValue(forKey: key) { state.series -= old.found.numbers.count + 4 }
            if state.series + cost > Self.limit { state = State() }
            state.entries[key] = (seriesCount, found)
            state.series += cost
        }
    }
}
