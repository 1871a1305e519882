import Etcd
import Glibc
import Platform

/// The files a snapshot is put together from: a full one, and the incrementals that build on it, in order.
struct SnapshotSource: Sendable, Codable, Equatable {
    struct Part: Sendable, Codable, Equatable {
        /// Local once fetched.
        var path: String
        /// Where it comes from; nil where `path` is the original.
        var destination: String?
        var file: String
        /// Nil for a file without a manifest.
        var manifest: BackupManifest?
        var role: BackupManifest.Role?
    }

    var parts: [Part]
    /// Of the newest part.
    var manifest: BackupManifest? { parts.last?.manifest }
    /// The bundle beside the newest part.
    var bundle: Part?
    /// Where that is another node's: the bundle of the node that is restored, of a backup that it made itself.
    var own: Part?
    /// Such bundles of members that are restored over SSH, by their names.
    var others: [String: Part]?
    /// Where a point in time was asked for: the log of changes beside the newest part, in order, and how far to follow it.
    var events: [Part]?
    var until: EventLimit?
    /// There is a log of changes beside the newest part, asked for or not.
    var hasLog: Bool?
    /// How it is named in plans and messages.
    var title: String
    /// What to know before it is used.
    var warning: String?

    /// All files it takes.
    var files: [Part] {
        files(of: nil) + (others ?? [:]).sorted { $0.key < $1.key }.map(\.value)
    }

    /// All that one member's restore takes; nil for the one that is restored here.
    func files(of member: String?) -> [Part] {
        let own = member.map { others?[$0] } ?? own
        return parts + [bundle, own].compactMap { $0 } + (events ?? [])
    }

    /// Says what opens the parts, before anything is fetched or made.
    func checkKey(_ keys: SealingKeys?) throws {
        let own = Set(keys?.recipients.map(\.fingerprint) ?? [])
        for part in parts {
            guard let recipients = part.manifest?.sealing?.recipients, own.isDisjoint(with: recipients) else {
                continue
            }
            throw SealReader.missingKey(part.file, sealedTo: recipients, keys)
        }
    }

    var needsFetching: Bool { files.contains { $0.destination != nil } }
}

/// Finds the backup that a restore, a drill or a check is to use.
enum SnapshotSourceFinder {
    /// `source`: a path, a backup's name, or `latest`. With a path no destination is asked.
    static func find(
        _ source: String, from: String?, cluster: String?, atTime: Int64? = nil, atRevision: Int64? = nil,
        destinations: [any Destination], fetchInto: String
    ) async throws -> SnapshotSource {
        try await search(
            source, from: from, cluster: cluster, atTime: atTime, atRevision: atRevision, destinations: destinations,
            fetchInto: fetchInto
        ).source
    }

    /// As `find`, with what else lies where it was found.
    static func search(
        _ source: String, from: String?, cluster: String?, atTime: Int64? = nil, atRevision: Int64? = nil,
        destinations: [any Destination], fetchInto: String
    ) async throws -> BackupSearch {
        let limit = atTime == nil && atRevision == nil ? nil : EventLimit(time: atTime, revision: atRevision)
        if source.contains("/") || FileSystem.exists(source) {
            return BackupSearch(source: try file(source, until: limit), fetchInto: fetchInto)
        }
        var places = destinations
        if let from {
            places = destinations.filter { $0.name == from }
            if places.isEmpty, from.contains("/") || FileSystem.exists(from) {
                places = [LocalDestination(name: from, path: from)]
            } else {
                guard !places.isEmpty else {
                    throw BackupError(
                        .notFound,
                        "there is no destination named \(from); there are: "
                            + destinations.map(\.name).joined(separator: ", "))
                }
            }
        }
        guard !places.isEmpty else {
            throw BackupError(.invalid, "no destination is configured: name a file, or a directory with --from")
        }
        var found: [BackupSearch.Hit] = []
        var known: [BackupSearch.Hit] = []
        var problems: [String] = []
        for place in places {
            do {
                let entries = try await BackupCatalogue.read(place, cluster: cluster)
                known += entries.map { BackupSearch.Hit(entry: $0, place: place, all: entries) }
                for entry in entries where entry.isGood {
                    if source != "latest" && "\(entry.name)" != source { continue }
                    if let atTime, entry.name.time > atTime { continue }
                    if let atRevision, entry.name.revision > atRevision { continue }
                    found.append(BackupSearch.Hit(entry: entry, place: place, all: entries))
                }
                problems += entries.filter { !$0.isGood && (source == "latest" || "\($0.name)" == source) }.map {
                    "\($0.name): \($0.problem ?? "")"
                }
            } catch {
                problems.append("\(place.name): \(error)")
            }
        }
        found.sort(by: BackupSearch.isBefore)
        guard let best = found.first else {
            let searched = places.map(\.location).joined(separator: ", ")
            let whose = cluster.map { " of cluster \($0)" } ?? ""
            let what = source == "latest" ? "no good backup\(whose)" : "no good backup named \(source)"
            let limit = (atTime ?? .max) != .max || atRevision != nil ? " from before that point" : ""
            throw BackupError(
                .notFound,
                "\(what)\(limit) is in \(searched)"
                    + (problems.isEmpty ? "" : ": " + problems.suffix(3).joined(separator: "; ")))
        }
        if source == "latest", cluster == nil {
            let clusters = Set(found.map(\.entry.name.cluster))
            guard clusters.count == 1 else {
                throw BackupError(
                    .invalid,
                    "there are backups of several clusters (\(clusters.sorted().joined(separator: ", "))): name the backup or the cluster"
                )
            }
        }
        var chosen = try chain(best, fetchInto, until: limit)
        if source == "latest" { chosen.warning = mixture(best.entry, found.map(\.entry)) }
        return BackupSearch(
            source: chosen, fetchInto: fetchInto, good: found,
            known: known.filter { $0.entry.name.cluster == best.entry.name.cluster })
    }

    /// What to know where two clusters are backed up under one name: the newest backup may be the other's.
    private static func mixture(_ best: BackupEntry, _ all: [BackupEntry]) -> String? {
        let items = all.filter { $0.name.cluster == best.name.cluster }.map {
            Retention.Item(name: $0.name, bytes: 0, clusterID: $0.manifest?.clusterID)
        }.sorted { $0.name > $1.name }
        let others = Retention.lineages(items).compactMap(\.first).filter { $0.name != best.name }
        guard !others.isEmpty else { return nil }
        let text = others.map { "\($0.name) (\($0.clusterID ?? "?"))" }.joined(separator: ", ")
        return
            "several clusters are backed up under the name \(best.name.cluster): this is the newest backup, of cluster \(best.manifest?.clusterID ?? "?"); the newest of others: \(text)"
    }

    static func chain(_ hit: BackupSearch.Hit, _ fetchInto: String, until: EventLimit? = nil) throws -> SnapshotSource {
        let (entry, place, all) = (hit.entry, hit.place, hit.all)
        var parts: [SnapshotSource.Part] = []
        var next: BackupManifest? = entry.manifest
        let byName = Dictionary(all.map { ("\($0.name)", $0) }, uniquingKeysWith: { a, _ in a })
        while let manifest = next {
            guard parts.count < 1000, let file = manifest.file(.snapshot) ?? manifest.file(.delta) else {
                throw BackupError(.damaged, "\(manifest.name) has no snapshot in it")
            }
            parts.insert(part(file, manifest, place, fetchInto), at: 0)
            guard manifest.kind == .incremental else { break }
            guard let parent = manifest.parent, let found = byName[parent], let above = found.manifest, found.isGood
            else {
                let name = manifest.parent ?? "?"
                let problem = byName[name]?.problem.map { ": \($0)" } ?? ""
                throw BackupError(
                    .damaged, "\(manifest.name) builds on \(name), which is not at \(place.location)\(problem)")
            }
            next = above
        }
        let bundle = entry.manifest.flatMap { manifest in
            manifest.file(.bundle).map { part($0, manifest, place, fetchInto) }
        }
        var source = SnapshotSource(parts: parts, bundle: bundle, title: "\(entry.name) (\(place.location))")
        source.hasLog = entry.eventSegments.isEmpty ? nil : true
        if let until {
            source.events = events(entry, place, fetchInto)
            source.until = until
        }
        return source
    }

    /// The log of changes beside a backup, in order.
    static func events(_ entry: BackupEntry, _ place: any Destination, _ fetchInto: String) -> [SnapshotSource.Part] {
        let local = (place as? LocalDestination)?.path
        return entry.eventSegments.map { file in
            SnapshotSource.Part(
                path: (local ?? fetchInto) + "/" + file.name, destination: local == nil ? place.name : nil,
                file: file.name, manifest: nil, role: nil)
        }
    }

    static func part(
        _ file: BackupManifest.File, _ manifest: BackupManifest, _ place: any Destination, _ fetchInto: String
    ) -> SnapshotSource.Part {
        if let local = place as? LocalDestination {
            return .init(
                path: local.path + "/" + file.name, destination: nil, file: file.name, manifest: manifest,
                role: file.role)
        }
        return .init(
            path: fetchInto + "/" + file.name, destination: place.name, file: file.name, manifest: manifest,
            role: file.role)
    }

    /// A file given by its path: part of a backup when its manifest lies beside it, else a snapshot on its own.
    static func file(_ path: String, until: EventLimit?) throws -> SnapshotSource {
        guard let status = try FileSystem.status(path) else {
            throw BackupError(.notFound, "there is no file \(path)")
        }
        guard status.isRegular else { throw BackupError(.invalid, "\(path) is no file") }
        let directory = FileSystem.parent(of: path)
        let name = FileSystem.name(of: path)
        guard let backup = BackupCatalogue.backupName(ofFile: name),
            FileSystem.exists("\(directory)/\(backup).json")
        else {
            return SnapshotSource(
                parts: [.init(path: path, destination: nil, file: name, manifest: nil, role: nil)], bundle: nil,
                title: path)
        }
        let place = LocalDestination(name: directory, path: directory)
        let files = try FileSystem.list(directory).compactMap { file -> StoredFile? in
            guard let status = try FileSystem.status(directory + "/" + file), status.isRegular else { return nil }
            return StoredFile(name: file, bytes: status.size, modified: status.modified)
        }
        // Only the chain's manifests are read: the directory may hold many others.
        var entries: [BackupEntry] = []
        var next: BackupName? = backup
        while let name = next, entries.count < 1000 {
            next = nil
            let manifestPath = "\(directory)/\(name).json"
            guard let bytes = try? FileSystem.read(manifestPath, maxBytes: BackupCatalogue.manifestLimit) else { break }
            let manifest = try BackupManifest.decode(bytes, path: manifestPath)
            let own = files.filter { BackupCatalogue.backupName(ofFile: $0.name) == name }
            entries.append(
                BackupEntry(
                    destination: directory, name: name, manifest: manifest,
                    problem: BackupCatalogue.check(manifest, name, own), files: own))
            if let parent = manifest.parent { next = BackupName(parent) }
        }
        guard let first = entries.first else { throw BackupError(.notFound, "there is no file \(path)") }
        if let problem = first.problem { throw BackupError(.damaged, "\(first.name): \(problem)") }
        return try chain(BackupSearch.Hit(entry: first, place: place, all: entries), directory, until: until)
    }
}
