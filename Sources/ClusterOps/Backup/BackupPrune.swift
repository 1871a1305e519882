import Logging
import Platform

/// What retention did at one destination.
package struct PruneOutcome: Sendable {
    package var destination: String
    package var removed: [String] = []
    package var problem: String?
}

extension BackupService {
    /// Removes what each destination's rules do not keep. With `dryRun` only says what it would remove.
    /// `keeping` stays whatever the rules say: the backup that was just made, where a clock that went back makes it look old.
    package func pruneAll(dryRun: Bool, keeping: String? = nil) async -> [PruneOutcome] {
        var outcomes: [PruneOutcome] = []
        for destination in destinations {
            var outcome = PruneOutcome(destination: destination.name)
            do {
                outcome.removed = try await prune(destination, dryRun: dryRun, keeping: keeping)
            } catch {
                outcome.problem = "\(error)"
                logger.error("prune failed", metadata: ["destination": "\(destination.name)", "error": "\(error)"])
            }
            outcomes.append(outcome)
        }
        return outcomes
    }

    private func prune(_ destination: any Destination, dryRun: Bool, keeping: String?) async throws -> [String] {
        let rules = options.destinations.first { $0.name == destination.name }?.retention ?? RetentionOptions()
        let now = clock.nowMilliseconds()
        let entries = try await BackupCatalogue.read(destination, cluster: options.cluster)
        // Without a manifest a backup may be one that is being brought there by someone else: it gets a day.
        let items = entries.filter { $0.manifest != nil || now - $0.name.time > 86_400_000 }.map { entry in
            Retention.Item(
                name: entry.name, bytes: entry.bytes, onDemand: entry.manifest?.onDemand ?? false,
                parent: entry.manifest?.parent, good: entry.isGood)
        }
        let remove = Retention.prune(items, rules, now: now).filter { $0 != keeping }
        if dryRun { return remove }
        try await destination.removeLeftovers(olderThan: now - 86_400_000)
        var removed: [String] = []
        let byName = Dictionary(entries.map { ("\($0.name)", $0) }, uniquingKeysWith: { a, _ in a })
        for name in remove {
            try Task.checkCancellation()
            guard let entry = byName[name] else { continue }
            // The manifest goes first: what is left after a kill is no backup any more.
            let manifestName = name + BackupCatalogue.manifestSuffix
            do {
                for file in entry.files.sorted(by: { a, b in a.name == manifestName && b.name != manifestName }) {
                    try await destination.remove(file.name)
                }
                removed.append(name)
            } catch let error as BackupError where error.code == .refused {
                // Locked by the store for a while yet: a later run removes it, and the others go now.
                logger.info("kept for now", metadata: ["destination": "\(destination.name)", "reason": "\(error)"])
            }
        }
        metrics.removed(destination.name, removed.count)
        let gone = Set(removed)
        let left = entries.filter { !gone.contains("\($0.name)") }
        metrics.stored(
            destination.name, count: left.count(where: \.isGood), bytes: left.reduce(Int64(0)) { $0 + $1.bytes })
        return removed
    }
}

extension BackupService {
    /// Sets the metrics to what lies at the destinations: after a restart the age of the newest backup is known at once.
    package func observeStored() async {
        for destination in destinations {
            guard let entries = try? await BackupCatalogue.read(destination, cluster: options.cluster),
                let newest = entries.filter(\.isGood).max(by: { $0.name < $1.name })
            else { continue }
            metrics.succeeded(destination.name, time: newest.name.time, bytes: newest.bytes)
            if let manifest = newest.manifest { metrics.observed(manifest) }
        }
    }
}
