/// Which integration of which receiver a group's notification went to; `kind` as in metrics (`webhook`), `index` among
/// those of its kind.
package struct LogKey: Sendable, Hashable {
    package var group: String
    package var receiver: String
    package var kind: String
    package var index: Int
}

/// What an integration was last told of a group.
package struct LogEntry: Sendable, Hashable {
    package var firing: Set<UInt64>
    package var resolved: Set<UInt64>
    package var at: Int64
    package var expiresAt: Int64
    /// Not told by us: another sidecar held the lease, and we take it that it told.
    package var assumed = false

    static let retention: Int64 = 120 * 3_600_000

    /// Whether a notification is due now, given what the last one said.
    static func isDue(
        _ entry: LogEntry?, firing: Set<UInt64>, resolved: Set<UInt64>, sendResolved: Bool, repeatInterval: Int64,
        now: Int64
    ) -> Bool {
        guard let entry else { return !firing.isEmpty }
        if !firing.isSubset(of: entry.firing) { return true }
        // Everything has ended: said once, if the receiver had heard of anything firing.
        if firing.isEmpty { return !entry.firing.isEmpty }
        if sendResolved, !resolved.isSubset(of: entry.resolved) { return true }
        return entry.at < now - repeatInterval
    }
}
