import Glibc
import Platform

/// What a plan needs of the node's files in a backup before anything is brought here: which node's they are, and what to ask
/// the old members with where the node has lost its own certificates, and whose cluster they are of.
struct BundlePreview: Sendable {
    var etcdManifest = ""
    /// By their paths below the directory of Kubernetes.
    var files: [String: String] = [:]

    /// Reads the archive, from its destination where it is not here; leaves nothing behind. Nil where there is none.
    static func read(
        _ source: SnapshotSource, keys: SealingKeys?, kubernetesDirectory: String, destinations: [any Destination]
    ) async throws -> BundlePreview? {
        guard var part = source.bundle else { return nil }
        var scratch: String?
        defer { if let scratch { try? FileSystem.removeTree(scratch) } }
        if let name = part.destination {
            guard let place = destinations.first(where: { $0.name == name }) else { return nil }
            let directory = try FileSystem.makeTemporaryDirectory("/tmp/.kops-plan-")
            scratch = directory
            part.path = directory + "/" + part.file
            try await place.get(part.file, to: part.path, progress: nil)
        }
        var preview = BundlePreview()
        let root = String(kubernetesDirectory.drop { $0 == "/" })
        let found = Lock<[String: String]>([:])
        let wanted = Set((["manifests/etcd.yaml"] + client + authorities).map { root + "/" + $0 })
        let ready = part
        try await cancellable { isCancelled in
            try BundleReader.forEach(ready, keys: keys, isCancelled: isCancelled) { entry, read in
                guard entry.kind == .file, entry.size <= 1 << 20, wanted.contains(entry.path) else { return }
                let text = String(decoding: try readFully(read, count: Int(entry.size)), as: UTF8.self)
                found.withLock { $0[String(entry.path.dropFirst(root.count + 1))] = text }
            }
        }
        preview.files = found.withLock { $0 }
        preview.etcdManifest = preview.files["manifests/etcd.yaml"] ?? ""
        return preview
    }

    /// The node that the files are of, where etcd's manifest is among them.
    var node: String? { StaticPod.flags(text: etcdManifest)["name"] }

    /// Whether both have that authority and with another key.
    func isOther(_ file: String, than other: BundlePreview?) -> Bool {
        guard let ours = files[file], let theirs = other?.files[file] else { return false }
        return !Certificate.isSameAuthority(Array(ours.utf8), Array(theirs.utf8))
    }

    static let authorities = ["pki/ca.crt", "pki/etcd/ca.crt"]

    private static let client = [
        "pki/etcd/ca.crt", "pki/etcd/healthcheck-client.crt", "pki/etcd/healthcheck-client.key",
    ]

    /// For asking etcd as kubeadm's health check does; nil where the archive lacks a file for it.
    var clientTLS: TLSSettings? {
        let texts = BundlePreview.client.compactMap { files[$0] }
        guard texts.count == 3 else { return nil }
        var tls = TLSSettings()
        tls.caPEM = texts[0]
        tls.certPEM = texts[1]
        tls.keyPEM = texts[2]
        return tls
    }
}
