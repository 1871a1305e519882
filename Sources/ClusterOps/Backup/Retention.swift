import Platform

/// Which backups stay. Pure: no clock, no disk.
package enum Retention {
    package struct Item: Sendable {
        package var name: BackupName
        package var bytes: Int64
        package var onDemand: Bool
        /// Name of the backup this one builds on.
        package var parent: String?
        /// Its manifest was read and its files are there.
        package var good: Bool
        /// etcd's identifier of the cluster; nil where no manifest says.
        package var clusterID: String?
        /// Whose files it has; nil where no manifest says.
        package var node: String?

        package init(
            name: BackupName, bytes: Int64, onDemand: Bool = false, parent: String? = nil, good: Bool = true,
            clusterID: String? = nil, node: String? = nil
        ) {
            self.name = name
            self.bytes = bytes
            self.onDemand = onDemand
            self.parent = parent
            self.good = good
            self.clusterID = clusterID
            self.node = node
        }
    }

    /// How long the last backup of a cluster stays that another one's seem to go on from.
    private static let memory: Int64 = 7 * 86_400_000

    /// How long a node's newest backup stays at the least: no other node's backup has its files, and its sidecar may be dead.
    private static let nodeMemory: Int64 = 90 * 86_400_000

    /// Names to remove, oldest first. `now` in milliseconds since 1970 UTC. Periods are UTC's hours, days, ISO weeks and
    /// months; of each the newest good backup is kept. Never removed: the newest good one and what it builds on. Clusters
    /// that are backed up side by side under one name do not push each other's backups out.
    package static func prune(_ items: [Item], _ options: RetentionOptions, now: Int64) -> [String] {
        let sorted = items.sorted { $0.name > $1.name }
        let keep = lineages(sorted).reduce(into: Set<String>()) { $0.formUnion(kept($1, options, now: now)) }
        return sorted.reversed().map { "\($0.name)" }.filter { !keep.contains($0) }
    }

    /// The items of each cluster through its restores: a restored cluster has a new identifier, and its backups begin where the
    /// old one's end. Where two identifiers' backups lie between each other, they are two clusters. Items without one are
    /// part of each.
    static func lineages(_ sorted: [Item]) -> [[Item]] {
        var ids: [String: [Item]] = [:]
        for item in sorted { if let id = item.clusterID { ids[id, default: []].append(item) } }
        var lines: [(newest: BackupName, ids: Set<String>)] = []
        let eras = ids.compactMap { id, items in
            items.last.flatMap { oldest in items.first.map { (id: id, oldest: oldest.name, newest: $0.name) } }
        }
        for era in eras.sorted(by: { $0.oldest < $1.oldest }) {
            let before = lines.indices.filter { lines[$0].newest < era.oldest }
            if let i = before.max(by: { lines[$0].newest < lines[$1].newest }) {
                lines[i].newest = era.newest
                lines[i].ids.insert(era.id)
            } else {
                lines.append((era.newest, [era.id]))
            }
        }
        guard lines.count > 1 else { return [sorted] }
        return lines.map { line in sorted.filter { $0.clusterID.map(line.ids.contains) ?? true } }
    }

    private static func kept(_ sorted: [Item], _ options: RetentionOptions, now: Int64) -> Set<String> {
        let byName = Dictionary(sorted.map { ("\($0.name)", $0) }, uniquingKeysWith: { a, _ in a })
        var keep: Set<String> = []
        let good = sorted.filter(\.good)
        let ruled = good.filter { options.pruneOnDemand || !$0.onDemand }
        let rules: [(Int?, (Int64) -> Int64)] = [
            (options.keepHourly, { $0 / 3_600_000 }), (options.keepDaily, { $0 / 86_400_000 }),
            // 1970-01-01 was a Thursday: weeks begin on Monday.
            (options.keepWeekly, { ($0 / 86_400_000 + 3) / 7 }),
            (
                options.keepMonthly,
                { time in
                    let date = civilDate(daysSinceEpoch: time / 86_400_000)
                    return date.year * 12 + date.month
                }
            ),
        ]
        let hasRule = options.keepLast != nil || rules.contains { $0.0 != nil }
        if hasRule {
            for item in ruled.prefix(max(0, options.keepLast ?? 0)) { keep.insert("\(item.name)") }
            for case (let count?, let period) in rules where count > 0 {
                var periods: Set<Int64> = []
                for item in ruled where !periods.contains(period(item.name.time)) {
                    guard periods.count < count else { break }
                    periods.insert(period(item.name.time))
                    keep.insert("\(item.name)")
                }
            }
        } else {
            for item in ruled { keep.insert("\(item.name)") }
        }
        if let maxAge = options.maxAge {
            for item in ruled where now - item.name.time > maxAge { keep.remove("\(item.name)") }
        }
        // What was made by hand stays, and so do damaged ones that are newer than the newest good one: they are evidence.
        for item in sorted where item.onDemand && !options.pruneOnDemand { keep.insert("\(item.name)") }
        if let newest = good.first {
            keep.insert("\(newest.name)")
            // Another cluster that is brought here by mistake looks like this one restored, until both have gone on.
            var seen: Set<String> = []
            for item in good {
                guard let id = item.clusterID, seen.insert(id).inserted else { continue }
                if now - item.name.time < memory { keep.insert("\(item.name)") }
            }
            var nodes: Set<String> = []
            for item in good {
                guard let node = item.node, nodes.insert(node).inserted else { continue }
                if now - item.name.time < nodeMemory { keep.insert("\(item.name)") }
            }
            for item in sorted where !item.good && item.name > newest.name { keep.insert("\(item.name)") }
        } else {
            for item in sorted { keep.insert("\(item.name)") }
        }
        closeOverParents(&keep, byName)
        if let maxSize = options.maxSize { shrink(&keep, sorted, byName, maxSize, options, newest: good.first) }
        return keep
    }

    /// Adds what kept backups build on.
    private static func closeOverParents(_ keep: inout Set<String>, _ byName: [String: Item]) {
        for name in keep {
            var parent = byName[name]?.parent
            // A chain that names itself would go round for ever: names already kept end it.
            while let next = parent, let item = byName[next], keep.insert(next).inserted { parent = item.parent }
        }
        keep.formIntersection(byName.keys)
    }

    /// Removes the oldest kept ones that nothing kept builds on until the rest fits.
    private static func shrink(
        _ keep: inout Set<String>, _ sorted: [Item], _ byName: [String: Item], _ maxSize: Int64,
        _ options: RetentionOptions, newest: Item?
    ) {
        var untouchable: Set<String> = newest.map { ["\($0.name)"] } ?? []
        closeOverParents(&untouchable, byName)
        var size = keep.reduce(Int64(0)) { $0 + (byName[$1]?.bytes ?? 0) }
        while size > maxSize {
            let parents = Set(keep.compactMap { byName[$0]?.parent })
            let candidate = sorted.last { item in
                let name = "\(item.name)"
                return keep.contains(name) && !untouchable.contains(name) && !parents.contains(name)
                    && (options.pruneOnDemand || !item.onDemand)
            }
            guard let candidate else { return }
            keep.remove("\(candidate.name)")
            size -= candidate.bytes
        }
    }
}
