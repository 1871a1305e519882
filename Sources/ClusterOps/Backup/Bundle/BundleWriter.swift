import FoundationEssentials
import Glibc
import Platform

/// Writes the node's files as a gzip tar archive, sealed where asked for.
enum BundleWriter {
    static let versionsPath = ".kops/versions.json"

    struct Written: Sendable {
        var bytes: Int64
        var sha256: [UInt8]
        /// As in the manifest.
        var paths: [String]
    }

    /// The archive lies complete and synced at `path` afterwards. A file that cannot be read is an error: a bundle without it
    /// would be trusted and fail on the worst day.
    static func write(
        _ items: [NodeFiles.Item], versions: [UInt8]?, to path: String, level: Int, recipients: [SealRecipient],
        time: Int64, isCancelled: () -> Bool
    ) throws -> Written {
        let file = try FileBeingWritten(path, temporary: path)
        do {
            let output = try StoredFileWriter(file, recipients: recipients)
            let gzip = ParallelGzipWriter(level: Int32(clamping: level), threads: 1, blockBytes: 256 << 10) {
                try output.write($0)
            }
            var paths: [String] = []
            do {
                if let versions {
                    let entry = TarEntry(
                        path: versionsPath, kind: .file, mode: 0o644, size: Int64(versions.count), modified: time / 1000
                    )
                    try gzip.write(
                        TarFormat.header(entry) + versions + TarFormat.padding(Int64(versions.count)))
                    paths.append(versionsPath)
                }
                for item in items {
                    if isCancelled() { throw BackupError(.cancelled, "the backup was cancelled") }
                    let entry = try add(item, gzip)
                    if entry.kind != .directory { paths.append(entry.path) }
                }
                try gzip.write(TarFormat.end)
                _ = try gzip.finish()
            } catch {
                gzip.abort(error)
                throw error
            }
            try output.finish()
            let sha256 = try file.sync()
            return Written(bytes: file.bytes, sha256: sha256, paths: paths)
        } catch {
            file.discard()
            throw error
        }
    }

    private static func add(_ item: NodeFiles.Item, _ gzip: ParallelGzipWriter) throws -> TarEntry {
        var entry = TarEntry(
            path: String(item.path.drop { $0 == "/" }), kind: .file, mode: UInt32(item.status.mode) & 0o7777,
            owner: item.status.owner, group: item.status.group, modified: item.status.modified / 1000)
        if item.status.isDirectory {
            entry.kind = .directory
            try gzip.write(TarFormat.header(entry))
            return entry
        }
        if item.status.isSymbolicLink {
            var buffer = [CChar](repeating: 0, count: 4097)
            let n = readlink(item.path, &buffer, 4096)
            guard n >= 0 else { throw FileError("read the link", item.path) }
            entry.kind = .link
            entry.target = String(decoding: buffer[..<n].map { UInt8(bitPattern: $0) }, as: UTF8.self)
            try gzip.write(TarFormat.header(entry))
            return entry
        }
        // Read whole first: a file that grows meanwhile would break the archive.
        let bytes: [UInt8]
        do {
            bytes = try FileSystem.read(item.path, maxBytes: Int(NodeFiles.maxBytes))
        } catch {
            throw BackupError(
                .failed, "\(error): it belongs to the backup; run as root, or take its kind out of backup.include")
        }
        entry.size = Int64(bytes.count)
        try gzip.write(TarFormat.header(entry))
        try gzip.write(bytes)
        try gzip.write(TarFormat.padding(entry.size))
        return entry
    }
}

/// What a stored file goes through behind its compression: the seal, where there are recipients. For one thread at a time,
/// which the unchecked conformance rests on.
final class StoredFileWriter: @unchecked Sendable {
    private let file: FileBeingWritten
    private let seal: SealWriter?

    init(_ file: FileBeingWritten, recipients: [SealRecipient]) throws {
        self.file = file
        seal = recipients.isEmpty ? nil : try SealWriter(recipients: recipients) { try file.write($0) }
    }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        if let seal { try seal.write(bytes) } else { try file.write(bytes) }
    }

    func finish() throws { try seal?.finish() }
}

/// Versions of what runs on the node, from the package database and the static pods' images.
struct NodeVersions: Codable, Equatable {
    var packages: [String: String] = [:]
    var images: [String: String] = [:]
    var kernel = ""
    var system = ""
    var tool = ""

    private static let names: Set<String> = [
        "kubelet", "kubeadm", "kubectl", "kubernetes-cni", "cri-tools", "containerd", "containerd.io", "cri-o",
        "docker-ce", "docker.io", "runc", "etcd-server", "etcd-client",
    ]

    static func collect(_ options: BackupOptions, toolVersion: String, dpkg: String = "/var/lib/dpkg/status")
        -> NodeVersions
    {
        var versions = NodeVersions()
        versions.tool = toolVersion
        if let text = try? FileSystem.readText(dpkg, maxBytes: 64 << 20) { versions.readPackages(text) }
        let manifests = options.kubernetesDirectory + "/manifests"
        for name in (try? FileSystem.list(manifests)) ?? [] where name.hasSuffix(".yaml") {
            guard let text = try? FileSystem.readText(manifests + "/" + name, maxBytes: 1 << 20) else { continue }
            for line in text.split(separator: "\n") {
                let rest = line.drop { $0 == " " || $0 == "-" }
                if rest.hasPrefix("image: ") { versions.images[String(name.dropLast(5))] = String(rest.dropFirst(7)) }
            }
        }
        var info = utsname()
        if uname(&info) == 0 {
            versions.kernel = withUnsafeBytes(of: &info.release) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
        }
        if let text = try? FileSystem.readText("/etc/os-release", maxBytes: 1 << 16) {
            for line in text.split(separator: "\n") where line.hasPrefix("PRETTY_NAME=") {
                versions.system = String(line.dropFirst(12).filter { $0 != "\"" })
            }
        }
        return versions
    }

    /// Paragraphs of `Package:`, `Status:` and `Version:` lines.
    mutating func readPackages(_ text: String) {
        var name: Substring?
        var installed = false
        for line in text.utf8.split(separator: 10, omittingEmptySubsequences: false) {
            if line.isEmpty {
                name = nil
                continue
            }
            let isPackage = line.starts(with: "Package: ".utf8)
            guard isPackage || line.starts(with: "Status: ".utf8) || line.starts(with: "Version: ".utf8) else {
                continue
            }
            let text = Substring(line)
            if isPackage {
                name = text.dropFirst(9)
                installed = false
            } else if text.hasPrefix("Status: ") {
                installed = text.hasSuffix(" installed")
            } else if let name, installed, NodeVersions.names.contains(String(name)) {
                packages[String(name)] = String(text.dropFirst(9))
            }
        }
    }

    func encoded() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        return Array(try encoder.encode(self)) + [10]
    }
}
