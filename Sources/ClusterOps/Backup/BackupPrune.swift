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
                if Task.isCancelled {
                    logger.notice("prune broken off", metadata: ["destination": "\(destination.name)"])
                    outcomes.append(outcome)
                    break
                }
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
                parent: entry.manifest?.parent, good: entry.isGood, clusterID: entry.manifest?.clusterID,
                node: entry.manifest?.node)
        }
        let remove = Retention.prune(items, rules, now: now).filter { $0 != keeping }
        if dryRun { return remove }
        try await destination.removeLeftovers(olderThan: now - 86_400_000)
        let byName = Dictionary(entries.map { ("\($0.name)", $0) }, uniquingKeysWith: { a, _ in a })
        var going: [Going] = []
        for name in remove {
            try Task.checkCancellation()
            guard let entry = byName[name] else { continue }
            do {
                // The manifest goes first: what is left after a kill is no backup any more.
                let file = name + BackupCatalogue.manifestSuffix
                let bytes =
                    entry.manifest == nil
                    ? nil : try await destination.read(file, limit: BackupCatalogue.manifestLimit)
                try await destination.remove(file)
                going.append(Going(entry: entry, manifest: bytes))
            } catch let error as BackupError where error.code == .notFound {
                // Another sidecar is removing it, and may yet put it back.
                logger.debug("removed by another sidecar", metadata: ["backup": "\(name)"])
            } catch let error as BackupError where error.code == .refused {
                keptForNow(destination, error)
            }
        }
        let needed = try await builtOnMeanwhile(going, entries, destination)
        var removed: [String] = []
        for gone in going {
            let name = "\(gone.entry.name)"
            if needed.contains(name), let bytes = gone.manifest {
                try await putBack(bytes, name + BackupCatalogue.manifestSuffix, destination)
                continue
            }
            do {
                for file in gone.entry.files where file.name != name + BackupCatalogue.manifestSuffix {
                    try await destination.remove(file.name)
                }
                removed.append(name)
            } catch let error as BackupError where error.code == .refused {
                keptForNow(destination, error)
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

/// A backup whose manifest is removed already.
private struct Going {
    var entry: BackupEntry
    /// The manifest's bytes; nil where there was none to be read.
    var manifest: [UInt8]?
}

extension BackupService {
    /// Locked by the store for a while yet: a later run removes it, and the others go now.
    private func keptForNow(_ destination: any Destination, _ reason: BackupError) {
        logger.info("kept for now", metadata: ["destination": "\(destination.name)", "reason": "\(reason)"])
    }

    /// What another sidecar's increments build on that came there since the place was read. It looks whether its parent is there
    /// after it has brought its manifest, this one looks for such manifests after it has removed the parent's: one of both
    /// sees the other.
    private func builtOnMeanwhile(_ going: [Going], _ entries: [BackupEntry], _ destination: any Destination)
        async throws -> Set<String>
    {
        let manifests = Dictionary(
            going.compactMap { gone in gone.entry.manifest.map { ("\(gone.entry.name)", $0) } },
            uniquingKeysWith: { a, _ in a })
        guard !manifests.isEmpty else { return [] }
        let known = Set(entries.flatMap(\.files).map(\.name))
        var needed: Set<String> = []
        for file in try await destination.list()
        where file.name.hasSuffix(BackupCatalogue.manifestSuffix) && !known.contains(file.name)
            && BackupCatalogue.backupName(ofFile: file.name) != nil
        {
            guard let bytes = try? await destination.read(file.name, limit: BackupCatalogue.manifestLimit) else {
                continue
            }
            var parent = try? BackupManifest.decode(bytes, path: file.name).parent
            while let name = parent, let manifest = manifests[name], needed.insert(name).inserted {
                parent = manifest.parent
            }
        }
        return needed
    }

    private func putBack(_ manifest: [UInt8], _ name: String, _ destination: any Destination) async throws {
        let directory = options.workDirectory
        try FileSystem.makeDirectories(directory, mode: 0o700)
        let path = "\(directory)/.kops-\(DestinationName.token())-\(name)" + LocalDestination.partSuffix
        try AtomicFile.write(manifest, to: path, mode: 0o600)
        defer { try? FileSystem.removeFile(path) }
        try await destination.put(file: path, as: name, progress: nil)
    }

    /// Sets the metrics to what lies at the destinations: after a restart the age of this node's newest backup is known at once.
    /// Another node's does not have its files.
    package func observeStored() async {
        let node = StaticPod.nodeName(options.kubernetesDirectory)
        for destination in destinations {
            guard let entries = try? await BackupCatalogue.read(destination, cluster: options.cluster),
                let newest = entries.filter({ $0.isGood && ($0.manifest?.node ?? node) == node }).max(by: {
                    $0.name < $1.name
                })
            else { continue }
            metrics.succeeded(destination.name, time: newest.name.time, bytes: newest.bytes)
            if let manifest = newest.manifest { metrics.observed(manifest) }
        }
    }
}
