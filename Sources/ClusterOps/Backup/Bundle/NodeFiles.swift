import Glibc
import Platform

/// Finds the node's files that an etcd snapshot cannot bring back.
enum NodeFiles {
    /// A file, link or directory to go into the bundle, by its path on the node.
    struct Item: Sendable, Equatable {
        var path: String
        var status: FileSystem.Status

        static func == (a: Item, b: Item) -> Bool { a.path == b.path }
    }

    struct Found: Sendable {
        /// Sorted by path, each once.
        var items: [Item] = []
        /// Parts of which nothing was there.
        var missing: [BundlePart] = []
    }

    /// More than that is no node's configuration: it is a mistake in a path.
    static let maxItems = 20_000
    static let maxBytes: Int64 = 256 << 20

    /// The API server's flags that name files it cannot start without.
    private static let fileFlags = [
        "encryption-provider-config", "audit-policy-file", "audit-webhook-config-file",
        "admission-control-config-file", "authentication-config", "authentication-token-webhook-config-file",
        "authorization-config", "authorization-webhook-config-file", "egress-selector-config-file",
        "tracing-config-file", "oidc-ca-file",
    ]

    static func find(_ options: BackupOptions) throws -> Found {
        var found = Found()
        var items: [String: Item] = [:]
        for part in BundlePart.allCases where options.include.contains(part) && part != .versions {
            let before = items.count
            for path in paths(part, options) { try add(path, &items) }
            if items.count == before { found.missing.append(part) }
        }
        for path in options.includePaths {
            let matches = FileSystem.glob(path)
            guard !matches.isEmpty else {
                throw BackupError(.invalid, "backup.include_paths: there is nothing at \(path)")
            }
            for match in matches { try add(match, &items) }
        }
        found.items = items.values.sorted { $0.path < $1.path }
        let bytes = found.items.reduce(Int64(0)) { $0 + ($1.status.isRegular ? $1.status.size : 0) }
        guard bytes <= maxBytes else {
            throw BackupError(
                .invalid,
                "the files to be included have \(bytes >> 20) MiB, more than \(maxBytes >> 20): is a path of backup.include_paths too wide?"
            )
        }
        return found
    }

    private static func paths(_ part: BundlePart, _ options: BackupOptions) -> [String] {
        let kubernetes = options.kubernetesDirectory
        let kubelet = options.kubeletDirectory
        switch part {
        case .pki: return [kubernetes + "/pki"]
        case .kubeconfigs: return FileSystem.glob(kubernetes + "/*.conf")
        case .manifests: return [kubernetes + "/manifests"]
        case .encryptionConfig:
            let manifest = kubernetes + "/manifests/kube-apiserver.yaml"
            guard let text = try? FileSystem.readText(manifest, maxBytes: 1 << 20) else { return [] }
            return filesOfServer(text).filter(FileSystem.exists)
        case .kubelet:
            return [
                kubelet + "/config.yaml", kubelet + "/kubeadm-flags.env", kubelet + "/pki", "/etc/default/kubelet",
                "/etc/sysconfig/kubelet", "/etc/systemd/system/kubelet.service.d",
                "/usr/lib/systemd/system/kubelet.service.d", "/lib/systemd/system/kubelet.service.d",
            ].filter(FileSystem.exists) + FileSystem.glob(kubernetes + "/kubeadm*.yaml")
        case .versions: return []
        }
    }

    /// Where the files lie on the node that an API server's manifest names.
    static func filesOfServer(_ manifest: String) -> [String] {
        let flags = StaticPod.flags(text: manifest)
        let mounts = PodMounts(manifest)
        return fileFlags.compactMap { flags[$0] }.map(mounts.hostPath)
    }

    private static func add(_ path: String, _ items: inout [String: Item]) throws {
        guard items[path] == nil, let status = try FileSystem.status(path, followLinks: false) else { return }
        guard status.isRegular || status.isDirectory || status.isSymbolicLink else { return }
        items[path] = Item(path: path, status: status)
        guard items.count <= maxItems else {
            throw BackupError(
                .invalid,
                "there are more than \(maxItems) files to be included: is a path of backup.include_paths too wide?")
        }
        if status.isDirectory {
            for name in try FileSystem.list(path) { try add(path + "/" + name, &items) }
        }
    }
}

/// Where the paths inside a static pod lie on the node: its `volumeMounts` and `hostPath` volumes, by name. Reads the block
/// style in which kubeadm writes manifests.
struct PodMounts {
    private var mounts: [(inside: String, host: String)] = []

    init(_ text: String) {
        var inside: [String: String] = [:]
        var host: [String: String] = [:]
        var mountPath: String?
        var pending: String?
        var path: String?
        var name: String?
        func value(_ line: Substring, _ key: String) -> String? {
            guard line.hasPrefix(key + ":") else { return nil }
            let text = line.dropFirst(key.count + 1).drop { $0 == " " }
            return String(text.filter { $0 != "\"" && $0 != "'" && $0 != "\r" })
        }
        func flush() {
            if let name, let mountPath { inside[name] = mountPath }
            if let name, let path { host[name] = path }
            mountPath = nil
            path = nil
            name = nil
            pending = nil
        }
        for line in text.split(separator: "\n") {
            var rest = line.drop { $0 == " " }
            if rest.hasPrefix("- ") {
                flush()
                rest = rest.dropFirst(2).drop { $0 == " " }
            }
            if let text = value(rest, "mountPath") { mountPath = text }
            if let text = value(rest, "name") { name = text }
            if rest.hasPrefix("hostPath:") { pending = "hostPath" }
            if pending == "hostPath", let text = value(rest, "path") { path = text }
        }
        flush()
        for (name, inside) in inside {
            if let host = host[name] { mounts.append((inside, host)) }
        }
        // The longest prefix is the mount that counts.
        mounts.sort { $0.inside.utf8.count > $1.inside.utf8.count }
    }

    func hostPath(_ path: String) -> String {
        for (inside, host) in mounts {
            if path == inside { return host }
            if path.hasPrefix(inside.hasSuffix("/") ? inside : inside + "/") {
                return host + path.dropFirst(inside.count)
            }
        }
        return path
    }
}
