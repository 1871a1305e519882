import Platform

/// Of several logs of changes the one that reaches furthest. Where several sidecars back up one cluster, each keeps a log behind
/// its own newest backup, and the newest of all backups may be of one that was the first to fall silent; and one that ended
/// just after its newest backup had followed the one before.
struct LogChoice: Sendable {
    var source: SnapshotSource
    /// Newest revision that it brings back; nil where no manifest says any.
    var reached: Int64?
    var notes: [String] = []

    /// Of each sidecar the newest one may not have a log yet: then the one before has gone on.
    private static let each = 2
    /// Of backups that do not say who made them.
    private static let unnamed = 8
    /// Milliseconds that the clock of a store may be wrong by. A log whose last file came before the newest backup was made
    /// brings nothing that is not in that.
    private static let slack: Int64 = 3_600_000

    /// Without a limit, for a file that was named, and with `ownOnly` the source as it is.
    static func furthest(
        _ search: BackupSearch, keys: SealingKeys?, ownOnly: Bool = false, destinations: [any Destination]
    ) async throws -> LogChoice {
        var choice = LogChoice(source: search.source)
        var problem: (any Error)?
        do {
            choice.reached = try await LogPreview.reach(search.source, keys: keys, destinations: destinations)
        } catch let error as BackupError where error.code != .cancelled {
            problem = error
            choice.reached = search.source.manifest?.revision
        }
        guard let limit = search.source.until, let first = search.good.first, let newest = first.entry.manifest,
            !ownOnly, limit.revision.map({ $0 > choice.reached ?? 0 }) ?? true
        else {
            if let problem { throw problem }
            return choice
        }
        let ownReach = choice.reached ?? 0
        for hit in candidates(search.good, newest) {
            guard let name = hit.entry.manifest?.name else { continue }
            do {
                try checkGaps(hit.entry)
                let source = try SnapshotSourceFinder.chain(hit, search.fetchInto, until: limit)
                try source.checkKey(keys)
                guard let reach = try await LogPreview.reach(source, keys: keys, destinations: destinations),
                    reach > choice.reached ?? 0
                else { continue }
                choice.source = source
                choice.reached = reach
            } catch let error as BackupError where error.code != .cancelled {
                choice.notes.append("the log of changes beside \(name) at \(hit.place.location) is no help: \(error)")
            }
        }
        guard choice.source != search.source, let manifest = choice.source.manifest else {
            if let problem { throw problem }
            return choice
        }
        let whose = manifest.node.map { " (\($0)'s)" } ?? ""
        let why =
            problem.map { "that beside the newest, \(newest.name), cannot be followed: \($0)" }
            ?? "the newest backup, \(newest.name), ends with its own at \(ownReach)"
        choice.source.warning = search.source.warning
        choice.notes.insert(
            "the log of changes beside \(choice.source.title)\(whose) reaches furthest, to revision \(choice.reached ?? 0); \(why)",
            at: 0)
        return choice
    }

    /// Backups of the same cluster whose logs may go further, the newest first.
    private static func candidates(_ good: [BackupSearch.Hit], _ newest: BackupManifest) -> [BackupSearch.Hit] {
        var seen: [String: Int] = [:]
        return good.dropFirst().filter { hit in
            guard let manifest = hit.entry.manifest, manifest.clusterID == newest.clusterID,
                let last = hit.entry.eventSegments.map(\.modified).max(), last >= newest.time - slack
            else { return false }
            let key = "\(manifest.node ?? "") \(hit.place.name)"
            let count = seen[key, default: 0]
            seen[key] = count + 1
            return count < (manifest.node == nil ? unnamed : each)
        }
    }

    private static func checkGaps(_ entry: BackupEntry) throws {
        var next: UInt64 = 1
        for file in entry.eventSegments {
            guard let segment = EventFile(file.name, backup: "\(entry.name)"), segment.first == next else {
                throw BackupError(.damaged, "segment \(next) is missing before \(file.name)")
            }
            next = segment.last + 1
        }
    }
}
