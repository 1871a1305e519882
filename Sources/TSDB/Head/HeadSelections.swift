import MetricModel

/// Which series selections found, in the order of their labels, so that a question that rules and dashboards ask again and
/// again walks no index, tries no regular expression, makes no labels and sorts nothing. Used under the store's lock.
struct HeadSelections {
    struct Found: Sendable {
        var slots: [UInt32]
        /// Of each slot.
        var labels: [Labels]
    }

    /// Larger selections are not kept: finding them is the lesser part of reading them.
    static let largest = 5_000
    /// Series of all selections; beyond it all are forgotten. A series takes some 250 bytes.
    private static let limit = 20_000

    /// Which state of the head the selections are of.
    private var version: UInt64 = 0
    private var entries: [[LabelMatcher]: Found] = [:]
    private(set) var series = 0

    mutating func find(_ matchers: [LabelMatcher], version: UInt64) -> Found? {
        if version == self.version { return entries[matchers] }
        self.version = version
        removeAll()
        return nil
    }

    /// Keeps what was found in this version of the head, unless another has come since.
    mutating func keep(_ found: Found, _ matchers: [LabelMatcher], version: UInt64) {
        guard version == self.version, entries[matchers] == nil else { return }
        // Selections without a series cost their key.
        let cost = found.slots.count + 4
        if series + cost > Self.limit { removeAll() }
        entries[matchers] = found
        series += cost
    }

    private mutating func removeAll() {
        entries.removeAll()
        series = 0
    }
}
