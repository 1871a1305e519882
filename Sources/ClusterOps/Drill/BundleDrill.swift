import Glibc
import Platform

/// What the node's files in a backup would be worth on the worst day.
package struct BundleDrill: Sendable, Equatable {
    package var files = 0
    /// Pairs of certificate (or public key) and private key that fit each other.
    package var pairs = 0
    /// What a restore could not do with them; empty where nothing is wrong.
    package var problems: [String] = []
    /// What is no fault of the backup, and should be known.
    package var notes: [String] = []

    /// What kubeadm cannot make anew: without them every other node and every token would have to be replaced.
    private static let essential = [
        "pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/sa.pub", "pki/front-proxy-ca.crt", "pki/front-proxy-ca.key",
        "pki/etcd/ca.crt", "pki/etcd/ca.key", "manifests/etcd.yaml", "manifests/kube-apiserver.yaml", "admin.conf",
        "kubelet.conf",
    ]

    /// Reads every file to its end.
    static func run(
        _ part: SnapshotSource.Part, keys: SealingKeys?, kubernetesDirectory: String, now: Int64,
        isCancelled: () -> Bool
    ) throws -> BundleDrill {
        var drill = BundleDrill()
        var texts: [String: [UInt8]] = [:]
        let root = String(kubernetesDirectory.drop { $0 == "/" }) + "/"
        try BundleReader.forEach(part, keys: keys, isCancelled: isCancelled) { entry, read in
            guard entry.kind == .file else { return }
            drill.files += 1
            if entry.size == 0 { drill.problems.append("/\(entry.path) is empty") }
            guard entry.size <= 1 << 20 else { return }
            let wanted =
                entry.path.hasSuffix(".crt") || entry.path.hasSuffix(".key") || entry.path.hasSuffix(".pub")
                || (entry.path.hasPrefix(root) && essential.contains(String(entry.path.dropFirst(root.count))))
            if wanted { texts[entry.path] = try readFully(read, count: Int(entry.size)) }
        }
        drill.checkPairs(texts, now)
        let missing = essential.filter { texts[root + $0] == nil }
        if !missing.isEmpty { drill.notes.append("the backup has no \(missing.joined(separator: ", "))") }
        return drill
    }

    private mutating func checkPairs(_ texts: [String: [UInt8]], _ now: Int64) {
        for (path, text) in texts.sorted(by: { $0.key < $1.key }) {
            guard path.hasSuffix(".crt") || path.hasSuffix(".pub") else { continue }
            if path.hasSuffix(".crt") {
                guard let first = Certificate.read(pem: text)?.first else {
                    problems.append("/\(path) is no certificate")
                    continue
                }
                if first.notAfter < now { notes.append("/\(path) has expired: a restore would have to renew it") }
            }
            guard let key = texts[path.dropLast(4) + ".key"] else { continue }
            switch KeyPair.fits(certificate: text, key: key) {
            case true?: pairs += 1
            case false?: problems.append("/\(path.dropLast(4)).key is not the key of /\(path)")
            case nil: problems.append("/\(path) or its key cannot be read")
            }
        }
    }
}
