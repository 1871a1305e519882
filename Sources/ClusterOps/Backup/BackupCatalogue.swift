/// A backup as a destination holds it.
package struct BackupEntry: Sendable {
    package var destination: String
    package var name: BackupName
    /// Nil where the manifest is missing or damaged; `problem` says which.
    package var manifest: BackupManifest?
    package var problem: String?
    /// All its files, the manifest among them.
    package var files: [StoredFile]

    package var bytes: Int64 { files.reduce(0) { $0 + $1.bytes } }
    /// Its manifest was read and the files it names are there in their size.
    package var isGood: Bool { manifest != nil && problem == nil }
    /// The log of changes beside it, in order; they are not in the manifest, which is older than they are.
    package var eventSegments: [StoredFile] { events.read.map(\.1) }

    /// Segments that lie in a pack as well, and the pack.
    var packedSegments: [(file: StoredFile, by: StoredFile)] { events.covered }

    private var events: (read: [(EventFile, StoredFile)], covered: [(file: StoredFile, by: StoredFile)]) {
        EventFile.cover(files) { EventFile($0.name, backup: "\(name)") }
    }

    package init(
        destination: String, name: BackupName, manifest: BackupManifest?, problem: String?, files: [StoredFile]
    ) {
        self.destination = destination
        self.name = name
        self.manifest = manifest
        self.problem = problem
        self.files = files
    }
}

/// What lies at a destination, read from the destination itself: no local state is needed, so none can be lost.
package enum BackupCatalogue {
    static let manifestSuffix = ".json"
    static let manifestLimit = 4 << 20

    /// All backups of the cluster (or of every cluster), oldest first. Files that are no part of a backup are not looked at.
    package static func read(_ destination: any Destination, cluster: String? = nil) async throws -> [BackupEntry] {
        let files = try await destination.list()
        var groups: [BackupName: [StoredFile]] = [:]
        for file in files {
            guard let name = backupName(ofFile: file.name) else { continue }
            if let cluster, name.cluster != BackupName.clean(cluster) { continue }
            groups[name, default: []].append(file)
        }
        var entries: [BackupEntry] = []
        for (name, files) in groups.sorted(by: { $0.key < $1.key }) {
            try Task.checkCancellation()
            var entry = BackupEntry(
                destination: destination.name, name: name, manifest: nil, problem: nil, files: files)
            let manifestName = "\(name)" + manifestSuffix
            if files.contains(where: { $0.name == manifestName }) {
                do {
                    let bytes = try await destination.read(manifestName, limit: manifestLimit)
                    let manifest = try BackupManifest.decode(bytes, path: manifestName)
                    entry.manifest = manifest
                    entry.problem = check(manifest, name, files)
                } catch let error as BackupError {
                    entry.problem = error.message
                }
            } else {
                let isLog = files.allSatisfy {
                    EventFile($0.name, backup: "\(name)") != nil || $0.name == "\(name)" + EventLogOwner.suffix
                }
                entry.problem =
                    isLog
                    ? "only its log of changes is left, without a use: retention removes that a day after"
                    : "it has no manifest (\(manifestName)): it was never finished, or part of it is lost"
            }
            entries.append(entry)
        }
        markBrokenChains(&entries)
        return entries
    }

    /// An incremental backup without what it builds on is none.
    static func markBrokenChains(_ entries: inout [BackupEntry]) {
        var good: [String: Bool] = [:]
        for i in entries.indices {
            // Oldest first: what a backup builds on has been looked at before it.
            if entries[i].problem == nil, let parent = entries[i].manifest?.parent, good[parent] != true {
                entries[i].problem =
                    "it builds on \(parent), which is \(good[parent] == nil ? "not there" : "not whole")"
            }
            good["\(entries[i].name)"] = entries[i].isGood
        }
    }

    static func check(_ manifest: BackupManifest, _ name: BackupName, _ files: [StoredFile]) -> String? {
        guard manifest.name == "\(name)" else { return "its manifest is that of \(manifest.name)" }
        for file in manifest.files {
            guard let stored = files.first(where: { $0.name == file.name }) else { return "\(file.name) is missing" }
            guard stored.bytes == file.bytes else {
                return "\(file.name) has \(stored.bytes) bytes and should have \(file.bytes)"
            }
        }
        return nil
    }

    /// `etcd-…-r12.snapshot.gz` belongs to `etcd-…-r12`. Cluster names may have dots in them, so the dot that counts is the
    /// first behind the revision.
    static func backupName(ofFile file: String) -> BackupName? {
        var from = file.startIndex
        while let dot = file[from...].firstIndex(of: ".") {
            if let name = BackupName(String(file[..<dot])) { return name }
            from = file.index(after: dot)
        }
        return nil
    }
}
