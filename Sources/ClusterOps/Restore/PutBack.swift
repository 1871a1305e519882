import Glibc
import Platform

/// Puts files of a bundle where there are none; what is there stays as it is.
struct PutBack {
    var part: SnapshotSource.Part
    var keys: SealingKeys?
    /// Prefixed to every path; empty but in tests.
    var root = ""
    var kubernetesDirectory: String
    var heldDirectory: String
    /// The bundle is another node's: only what all nodes share is taken of it.
    var sharedOnly: Bool

    struct Outcome: Sendable {
        var files: [String] = []
        var notTaken = 0
    }

    /// Everything is read and checked before the first file is written, so that a damaged archive changes nothing.
    func run(isCancelled: () -> Bool) throws -> Outcome {
        try BundleReader.forEach(part, keys: keys, isCancelled: isCancelled) { _, _ in }
        var outcome = Outcome()
        try BundleReader.forEach(part, keys: keys, isCancelled: isCancelled) { entry, read in
            guard !entry.path.hasPrefix(".kops") else { return }
            guard !sharedOnly || isShared(entry.path) else {
                if entry.kind == .file, isMissing(entry.path) { outcome.notTaken += 1 }
                return
            }
            if try put(entry, read) { outcome.files.append("/" + entry.path) }
        }
        return outcome
    }

    /// Whether the node lacks that file of kubeadm's; manifests may be held for the time of the restore.
    private func isMissing(_ path: String) -> Bool {
        guard ("/" + path).hasPrefix(kubernetesDirectory + "/") else { return false }
        return !FileSystem.exists(root + "/" + path)
            && !FileSystem.exists(root + heldDirectory + "/" + FileSystem.name(of: path))
    }

    /// What kubeadm copies from the first control plane to the others, and files it knows nothing of (such as the
    /// encryption configuration); never certificates, manifests or kubeconfigs of one node.
    private func isShared(_ path: String) -> Bool {
        let kubernetes = String(kubernetesDirectory.drop { $0 == "/" }) + "/"
        guard path.hasPrefix(kubernetes) else { return !path.hasPrefix("var/lib/kubelet") }
        let inside = String(path.dropFirst(kubernetes.count))
        let shared = [
            "pki/ca.crt", "pki/ca.key", "pki/sa.key", "pki/sa.pub", "pki/front-proxy-ca.crt", "pki/front-proxy-ca.key",
            "pki/etcd/ca.crt", "pki/etcd/ca.key", "pki", "pki/etcd",
        ]
        if inside.hasPrefix("pki") { return shared.contains(inside) }
        return !inside.hasPrefix("manifests") && !inside.hasSuffix(".conf")
    }

    private func put(_ entry: TarEntry, _ read: (UnsafeMutableRawBufferPointer) throws -> Int) throws -> Bool {
        var target = root + "/" + entry.path
        let manifests = kubernetesDirectory + "/manifests/"
        if target.hasPrefix(root + manifests) {
            let file = String(target.dropFirst(root.utf8.count + manifests.utf8.count))
            // A manifest that kubelet saw would be a pod: those that the restore starts wait beside.
            if StaticPod.stopOrder.contains(where: { "\($0).yaml" == file }) {
                if FileSystem.exists(target) { return false }
                target = root + heldDirectory + "/" + file
            }
        }
        if try FileSystem.status(target, followLinks: false) != nil { return false }
        try FileSystem.makeDirectories(FileSystem.parent(of: target), mode: 0o755)
        switch entry.kind {
        case .directory:
            if mkdir(target, mode_t(entry.mode)) != 0 && errno != EEXIST { throw FileError("make directory", target) }
            try own(target, entry)
            return false
        case .link:
            if symlink(entry.target, target) != 0 { throw FileError("make the link", target) }
        case .file:
            try file(target, entry, read)
        }
        try AtomicFile.syncDirectory(FileSystem.parent(of: target))
        return true
    }

    private func file(_ target: String, _ entry: TarEntry, _ read: (UnsafeMutableRawBufferPointer) throws -> Int) throws
    {
        // Hidden: kubelet reads every other file in its directory of manifests.
        let temporary = FileSystem.parent(of: target) + "/.kops-" + FileSystem.name(of: target)
        let file = try FileBeingWritten(target, temporary: temporary)
        do {
            var buffer = [UInt8](repeating: 0, count: 64 << 10)
            while true {
                let n = try buffer.withUnsafeMutableBytes { try read($0) }
                if n == 0 { break }
                try buffer.withUnsafeBytes { try file.write(UnsafeRawBufferPointer(rebasing: $0[..<n])) }
            }
            try own(temporary, entry)
            if chmod(temporary, mode_t(entry.mode)) != 0 { throw FileError("set the mode of", temporary) }
            try file.commit()
        } catch {
            file.discard()
            throw error
        }
    }

    private func own(_ path: String, _ entry: TarEntry) throws {
        if geteuid() == 0, lchown(path, entry.owner, entry.group) != 0 { throw FileError("change the owner of", path) }
    }
}

extension RestoreExecutor {
    /// Returns notes on what it did.
    func putBack() async throws -> [String] {
        guard let part = record.source.bundle else { return [] }
        let work = PutBack(
            part: part, keys: try record.options.keyFile.map { try SealingKeys(file: $0) },
            kubernetesDirectory: record.options.kubernetesDirectory, heldDirectory: record.heldDirectory,
            sharedOnly: record.bundleOf != nil && record.bundleOf != record.memberName)
        let outcome = try await cancellable { try work.run(isCancelled: $0) }
        var notes: [String] = []
        if !outcome.files.isEmpty {
            notes.append("put back \(outcome.files.count) files that were missing: \(Self.brief(outcome.files))")
        }
        if outcome.notTaken > 0 {
            notes.append(
                "the backup's files are those of \(record.bundleOf ?? "another node"): its certificates, kubeconfigs and manifests were not taken for this node, which lacks \(outcome.notTaken) of them; kubeadm makes them anew: kubeadm init phase certs all, kubeconfig all, control-plane all, etcd local"
            )
        }
        return notes
    }

    private static func brief(_ files: [String]) -> String {
        files.prefix(3).joined(separator: ", ") + (files.count > 3 ? ", …" : "")
    }
}
