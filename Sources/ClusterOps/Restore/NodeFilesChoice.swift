import Platform

/// Whose files each member of a restore gets: of the chosen backup, or where that is another node's, of one that the member's
/// own sidecar made.
struct NodeFilesChoice: Sendable {
    let options: RestoreOptions
    let search: BackupSearch
    /// Of the chosen backup.
    let preview: BundlePreview?
    let bundleOf: String?
    let keys: SealingKeys?
    let destinations: [any Destination]

    /// Adds the members' own files to the source; returns what the user should know.
    func complete(_ source: inout SnapshotSource, own: String, others: [String]) async throws -> [String] {
        let wanted = ([own] + others).filter { $0 != bundleOf }
        // Files whose node is not known are taken for this one's, as ever; without any there may be some elsewhere.
        guard !wanted.isEmpty, source.manifest != nil, bundleOf != nil || source.bundle == nil else { return [] }
        let neighbours = await search.neighbours()
        var notes: [String] = []
        for node in wanted {
            let found = try await OwnFiles.find(
                node: node, near: source, neighbours, chosen: preview, keys: keys,
                kubernetesDirectory: options.kubernetesDirectory, destinations: destinations,
                fetchInto: search.fetchInto)
            if let part = found.part {
                if node == own {
                    source.own = part
                } else {
                    source.others = (source.others ?? [:]).merging([node: part]) { $1 }
                }
                if node != own {
                    notes.append(
                        "\(node) is given its own files of \(part.manifest?.name ?? part.file) (\(part.age(beside: source.manifest)) the backup)"
                    )
                }
            } else if node == own {
                notes += missing(node, source, found.problems)
            } else if let bundleOf {
                notes.append(
                    "no backup has the files of \(node)\(reasons(found.problems)): where it lost them, it is given only what all nodes share of \(bundleOf)'s"
                )
            }
        }
        return notes
    }

    private func reasons(_ problems: [String]) -> String {
        problems.isEmpty ? "" : " (\(problems.prefix(3).joined(separator: "; ")))"
    }

    /// Only where the node lacks something: one that lost nothing but etcd's data needs no files.
    private func missing(_ node: String, _ source: SnapshotSource, _ problems: [String]) -> [String] {
        guard let bundleOf else { return [] }
        let lacking = OwnFiles.lacking(source.manifest, kubernetesDirectory: options.kubernetesDirectory)
        guard !lacking.isEmpty else { return [] }
        var text =
            "\(node) lacks \(lacking.count) files of its own (\(RestoreExecutor.brief(lacking))), and no backup has them\(reasons(problems)): this one's are those of \(bundleOf)."
        if lacking.contains(options.kubernetesDirectory + "/manifests/etcd.yaml") {
            text +=
                " The restore will stop where etcd is to be started, with the authorities and etcd's data back: make the files then, and go on with --resume."
        }
        return [text + " " + RestoreExecutor.remedy]
    }
}
