import Platform

/// The files of one node, where the backup that is restored is another node's. etcd's data are the cluster's, whoever saved
/// them; certificates, kubeconfigs, kubelet's and etcd's configuration are a node's own, and only its own sidecar saves them.
struct OwnFiles: Sendable {
    /// The bundle of the node's own backup that lies nearest to the chosen one; nil where there is none to be taken.
    var part: SnapshotSource.Part?
    /// Why not, or why not a nearer one.
    var problems: [String] = []

    /// More than so many are not looked into.
    private static let limit = 20

    /// `chosen` is what the chosen backup's bundle shows. A backup whose certificate authority is another one is none that
    /// fits: authorities are taken of the chosen one, so that they are as new as what etcd holds.
    static func find(
        node: String, near source: SnapshotSource, _ neighbours: [BackupSearch.Hit], chosen: BundlePreview?,
        keys: SealingKeys?, kubernetesDirectory: String, destinations: [any Destination], fetchInto: String
    ) async throws -> OwnFiles {
        var own = OwnFiles()
        let time = source.manifest?.time ?? .max
        var seen: Set<String> = [source.manifest?.name ?? ""]
        let hits = neighbours.sorted(by: BackupSearch.isBefore).filter { hit in
            guard let manifest = hit.entry.manifest, (manifest.node ?? node) == node,
                let bundle = manifest.file(.bundle),
                // Its snapshot may be lost: that is not what it is wanted for.
                hit.entry.files.contains(where: { $0.name == bundle.name && $0.bytes == bundle.bytes })
            else { return false }
            return seen.insert(manifest.name).inserted
        }.sorted { abs($0.entry.name.time - time) < abs($1.entry.name.time - time) }
        for hit in hits.prefix(limit) {
            guard let manifest = hit.entry.manifest, let bundle = manifest.file(.bundle) else { continue }
            let part = SnapshotSourceFinder.part(bundle, manifest, hit.place, fetchInto)
            do {
                try SnapshotSource(parts: [part], title: manifest.name).checkKey(keys)
                let preview = try await BundlePreview.read(
                    SnapshotSource(parts: [], bundle: part, title: manifest.name), keys: keys,
                    kubernetesDirectory: kubernetesDirectory, destinations: destinations)
                guard let preview, (preview.node ?? manifest.node) == node else { continue }
                if let file = BundlePreview.authorities.first(where: { preview.isOther($0, than: chosen) }) {
                    own.problems.append(
                        "\(manifest.name) has another \(file) than \(source.manifest?.name ?? source.title)")
                    continue
                }
                own.part = part
                return own
            } catch let error as BackupError where error.code != .cancelled {
                own.problems.append("\(error)")
            }
        }
        return own
    }

    /// The node's own files of kubeadm's that it lacks, of those that the backup has of the other node.
    static func lacking(_ manifest: BackupManifest?, kubernetesDirectory: String) -> [String] {
        (manifest?.bundle ?? []).filter {
            !PutBack.isShared($0, kubernetesDirectory: kubernetesDirectory)
                && PutBack.isMissing(
                    $0, root: "", kubernetesDirectory: kubernetesDirectory,
                    heldDirectory: kubernetesDirectory + StaticPod.heldDirectory)
        }.map { "/" + $0 }
    }
}

extension SnapshotSource.Part {
    /// How old it is beside the backup that is restored: `3 h before` it.
    func age(beside manifest: BackupManifest?) -> String {
        guard let own = self.manifest, let manifest else { return "" }
        let difference = own.time - manifest.time
        if difference == 0 { return "made \(own.created), at the same time" }
        return "made \(own.created), \(span(milliseconds: difference)) \(difference < 0 ? "before" : "after")"
    }
}
