import Etcd
import FoundationEssentials
import Platform

/// Whether the backup is of the cluster that this node belongs to.
extension RestoreChecks {
    private struct Stored: Decodable {
        var name: String?
        var peerURLs: [String]?
    }

    /// Refuses the backup of another cluster. An etcd that found no data begins a new cluster with another identifier, which is
    /// no reason: that directory is set aside and kept like any other.
    mutating func otherCluster(_ preview: BundlePreview?) throws {
        var problems: [String] = []
        if let file = preview.flatMap(foreignAuthority) {
            problems.append(
                "\(file) is not the backup's: this node was set up anew or belongs to another cluster, or the authority was replaced since the backup. The files that are here would stay"
            )
        }
        if let manifest = source.manifest, let cluster = old.clusterID,
            let backup = UInt64(manifest.clusterID, radix: 16), cluster != backup, cluster != seed.clusterID
        {
            let revision = old.revision ?? 0
            if problems.isEmpty, beganAnew(manifest) {
                notes.append(
                    "\(options.dataDirectory) holds a new cluster (\(hex16(cluster)), revision \(revision)) that etcd began on this node when it found no data. What was written to it since stays in the directory that is set aside, and is not in what is restored"
                )
            } else {
                let members = stored.map { "\($0.name ?? "?")=\(($0.peerURLs ?? []).joined(separator: "+"))" }
                problems.append(
                    "the backup is of cluster \(manifest.cluster) (\(manifest.clusterID)), \(options.dataDirectory) belongs to cluster \(hex16(cluster)) (revision \(revision), members \(members.sorted().joined(separator: ", ")))"
                )
            }
        }
        guard !problems.isEmpty else { return }
        if options.overrides.contains(.otherCluster) {
            notes += problems
        } else {
            throw BackupError(
                .refused, problems.joined(separator: "; ") + "; --force other-cluster restores nevertheless")
        }
    }

    private var stored: [Stored] {
        old.members.compactMap { try? JSONDecoder().decode(Stored.self, from: Data($0.json)) }
    }

    /// Whether the directory's members have the names and addresses of the backup's, and less was written to it. The
    /// identifier of a cluster says no more of it: etcd computes it from the addresses and a token, which a restore renews.
    private func beganAnew(_ manifest: BackupManifest) -> Bool {
        guard let revision = old.revision, revision < manifest.revision, !stored.isEmpty else { return false }
        return stored.allSatisfy { member in
            let urls = member.peerURLs ?? []
            return manifest.members.contains { $0.name == member.name && Set($0.peerURLs) == Set(urls) }
                && !urls.isEmpty && !urls.contains(where: Self.isLoopback)
        }
    }

    /// An address that every machine has tells nothing.
    private static func isLoopback(_ url: String) -> Bool {
        let host = url.drop { $0 != "/" }.drop { $0 == "/" }
        return host.hasPrefix("127.") || host.hasPrefix("localhost") || host.hasPrefix("[::1]")
    }

    /// The certificate authority on this node that has another key than the backup's; nil where none has, or where one of
    /// both lacks it.
    private func foreignAuthority(_ preview: BundlePreview) -> String? {
        for file in BundlePreview.authorities {
            let path = options.kubernetesDirectory + "/" + file
            guard let theirs = preview.files[file].map({ Array($0.utf8) }), let ours = try? FileSystem.read(path)
            else { continue }
            if !Certificate.isSameAuthority(ours, theirs) { return path }
        }
        return nil
    }
}

extension Certificate {
    /// Whether two files hold the same authority, of which one may be renewed; true where either cannot be read.
    static func isSameAuthority(_ ours: [UInt8], _ theirs: [UInt8]) -> Bool {
        guard let a = read(pem: ours), let b = read(pem: theirs) else { return true }
        let known = Set(b.map(\.fingerprint))
        if a.contains(where: { known.contains($0.fingerprint) }) { return true }
        // A renewed one has the key of before.
        return isSigned(pem: ours, by: theirs) == true
    }
}
