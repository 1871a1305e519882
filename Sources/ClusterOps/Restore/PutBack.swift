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
    var taking: Taking

    enum Taking: Sendable {
        case everything
        /// The bundle is another node's, and there is none of this node: what all nodes share, and what kubeadm knows nothing of.
        case shared
        /// As `shared`, before this node's own bundle: what must be as new as etcd's data, and no more. Authorities, their
        /// keys, and what kube-apiserver's flags name, such as the keys that secrets are encrypted with.
        case clusters
    }

    struct Outcome: Sendable {
        var files: [String] = []
        /// Files that the node lacks and that are not for it.
        var notTaken: [String] = []
    }

    /// Everything is read and checked before the first file is written, so that a damaged archive changes nothing.
    func run(isCancelled: () -> Bool) throws -> Outcome {
        var named: Set<String> = []
        try BundleReader.forEach(part, keys: keys, isCancelled: isCancelled) { entry, read in
            guard "/" + entry.path == kubernetesDirectory + "/manifests/kube-apiserver.yaml", entry.kind == .file,
                entry.size <= 1 << 20
            else { return }
            let text = String(decoding: try readFully(read, count: Int(entry.size)), as: UTF8.self)
            named = Set(NodeFiles.filesOfServer(text))
        }
        var outcome = Outcome()
        try BundleReader.forEach(part, keys: keys, isCancelled: isCancelled) { entry, read in
            guard !entry.path.hasPrefix(".kops") else { return }
            guard isWanted(entry.path, named) else {
                if entry.kind == .file, isMissing(entry.path) { outcome.notTaken.append("/" + entry.path) }
                return
            }
            if try put(entry, read) { outcome.files.append("/" + entry.path) }
        }
        return outcome
    }

    private func isWanted(_ path: String, _ named: Set<String>) -> Bool {
        switch taking {
        case .everything: return true
        case .shared: return Self.isShared(path, kubernetesDirectory: kubernetesDirectory)
        case .clusters:
            return named.contains("/" + path)
                || (("/" + path).hasPrefix(kubernetesDirectory + "/")
                    && Self.isShared(path, kubernetesDirectory: kubernetesDirectory))
        }
    }

    func isMissing(_ path: String) -> Bool {
        Self.isMissing(path, root: root, kubernetesDirectory: kubernetesDirectory, heldDirectory: heldDirectory)
    }

    /// Whether the node lacks that file of kubeadm's; manifests may be held for the time of the restore.
    static func isMissing(_ path: String, root: String, kubernetesDirectory: String, heldDirectory: String) -> Bool {
        guard ("/" + path).hasPrefix(kubernetesDirectory + "/") else { return false }
        return !FileSystem.exists(root + "/" + path)
            && !FileSystem.exists(root + heldDirectory + "/" + FileSystem.name(of: path))
    }

    /// What kubeadm copies from the first control plane to the others, and files it knows nothing of (such as the
    /// encryption configuration); never certificates, manifests or kubeconfigs of one node, nor kubelet's flags, which may
    /// have its address.
    static func isShared(_ path: String, kubernetesDirectory: String) -> Bool {
        let kubernetes = String(kubernetesDirectory.drop { $0 == "/" }) + "/"
        guard path.hasPrefix(kubernetes) else {
            return !["var/lib/kubelet", "etc/default/kubelet", "etc/sysconfig/kubelet"].contains { path.hasPrefix($0) }
        }
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
        let keys = try record.options.keyFile.map { try SealingKeys(file: $0) }
        func work(_ part: SnapshotSource.Part, _ taking: PutBack.Taking) -> PutBack {
            PutBack(
                part: part, keys: keys, kubernetesDirectory: record.options.kubernetesDirectory,
                heldDirectory: record.heldDirectory, taking: taking)
        }
        let source = record.source
        // What was put back before a kill is there now, and counts as what was there.
        var notes: [String] = []
        var lacking: [String] = []
        if let part = source.bundle {
            let taking: PutBack.Taking = !record.isOthersBundle ? .everything : source.own == nil ? .shared : .clusters
            let work = work(part, taking)
            let outcome = try await cancellable { try work.run(isCancelled: $0) }
            lacking = outcome.notTaken
            if !outcome.files.isEmpty {
                let whose = record.isOthersBundle ? ", of what all nodes share" : ""
                notes.append(
                    "put back \(outcome.files.count) files that were missing\(whose): \(Self.brief(outcome.files))")
            }
        }
        if let part = source.own {
            let work = work(part, .everything)
            let outcome = try await cancellable { try work.run(isCancelled: $0) }
            lacking.removeAll { !work.isMissing(String($0.dropFirst())) }
            if !outcome.files.isEmpty {
                notes.append(
                    "put back \(outcome.files.count) files of \(record.memberName)'s own that were missing, from \(part.manifest?.name ?? part.file) (\(part.age(beside: source.manifest)) etcd's data): \(Self.brief(outcome.files))"
                )
            }
        }
        if !lacking.isEmpty {
            notes.append(
                "\(record.memberName) lacks \(lacking.count) files of its own (\(Self.brief(lacking))), and no backup of them was found; the backup's are those of \(record.bundleOf ?? "another node"). \(Self.remedy)"
            )
        }
        return notes
    }

    static let remedy =
        "kubeadm makes them anew: kubeadm init phase certs all, kubeconfig all, control-plane all, etcd local"

    static func brief(_ files: [String]) -> String {
        files.prefix(3).joined(separator: ", ") + (files.count > 3 ? ", …" : "")
    }
}
