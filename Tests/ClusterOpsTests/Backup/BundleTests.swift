import Glibc
import Platform
import Testing

@testable import ClusterOps

@Suite struct BundleTests {
    /// A node as kubeadm leaves it, as far as names and references go.
    private func node(_ directory: String) throws -> BackupOptions {
        var options = BackupOptions()
        options.kubernetesDirectory = directory + "/etc/kubernetes"
        options.kubeletDirectory = directory + "/kubelet"
        options.include = [.pki, .kubeconfigs, .manifests, .encryptionConfig, .versions]
        let kubernetes = options.kubernetesDirectory
        for path in ["/pki/etcd", "/manifests", "/enc"] { try FileSystem.makeDirectories(kubernetes + path) }
        func put(_ path: String, _ text: String, _ mode: mode_t = 0o644) throws {
            try AtomicFile.write(Array(text.utf8), to: path, mode: mode)
        }
        try put(kubernetes + "/pki/ca.key", "secret", 0o600)
        try put(kubernetes + "/pki/etcd/ca.crt", "public")
        try put(kubernetes + "/admin.conf", "kubeconfig", 0o600)
        try put(kubernetes + "/enc/at-rest.yaml", "keys", 0o600)
        try put(
            kubernetes + "/manifests/kube-apiserver.yaml",
            """
            spec:
              containers:
              - command:
                - kube-apiserver
                - --encryption-provider-config=/in/pod/at-rest.yaml
                image: registry.k8s.io/kube-apiserver:v1.30.1
                volumeMounts:
                - mountPath: /in/pod
                  name: enc
                  readOnly: true
              volumes:
              - hostPath:
                  path: \(kubernetes)/enc
                  type: Directory
                name: enc
            """)
        #expect(symlink("ca.key", kubernetes + "/pki/current.key") == 0)
        return options
    }

    @Test func theNodesFilesComeBackAsTheyWere() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let options = try node(directory)
        let long = options.kubernetesDirectory + "/pki/" + String(repeating: "x", count: 120) + ".crt"
        try AtomicFile.write(Array(repeating: 7, count: 100_000), to: long, mode: 0o640)
        let found = try NodeFiles.find(options)
        #expect(found.missing.isEmpty)
        let archive = directory + "/files.tar.gz"
        let written = try BundleWriter.write(
            found.items, versions: NodeVersions.collect(options, toolVersion: "1").encoded(), to: archive, level: 6,
            recipients: [], time: 0, isCancelled: { false })
        let inside = String(options.kubernetesDirectory.dropFirst())
        // Where the API server's file lies on the node, not where the pod sees it.
        #expect(written.paths.contains("\(inside)/enc/at-rest.yaml"))
        #expect(written.paths.contains(".kops/versions.json"))

        // Any tar reads it.
        let out = directory + "/out"
        try FileSystem.makeDirectories(out)
        let run = try runProgram(["/bin/tar", "xpzf", archive, "-C", out])
        #expect(run.status == 0, "\(run.output)")
        for item in found.items where item.status.isRegular {
            let copy = out + item.path
            #expect(try FileSystem.read(copy) == FileSystem.read(item.path))
            #expect(try FileSystem.status(copy)?.mode == item.status.mode, "\(copy)")
            #expect(try FileSystem.status(copy)?.modified == item.status.modified / 1000 * 1000)
        }
        var target = [CChar](repeating: 0, count: 100)
        #expect(readlink(out + options.kubernetesDirectory + "/pki/current.key", &target, 99) == 6)

        // And so does the reader that restore uses.
        let part = SnapshotSource.Part(path: archive, destination: nil, file: "", manifest: nil, role: .bundle)
        #expect(try contents("\(inside)/pki/ca.key", in: part, keys: nil) == Array("secret".utf8))
        let versions = try #require(try contents(".kops/versions.json", in: part, keys: nil))
        #expect(String(decoding: versions, as: UTF8.self).contains("kube-apiserver:v1.30.1"))
        var paths: [String] = []
        try BundleReader.forEach(part, keys: nil) { entry, _ in if entry.kind != .directory { paths.append(entry.path) }
        }
        #expect(paths == written.paths)
    }

    @Test func aFileThatCannotBeHadIsSaidBeforeTheBackup() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        var options = try node(directory)
        options.includePaths = [directory + "/nothing-*"]
        #expect(throws: BackupError(.invalid, "")) { try NodeFiles.find(options) }
    }

    @Test func anArchiveCannotLeaveItsPlace() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        for path in ["../etc/passwd", "/etc/passwd", "a/../../b"] {
            let archive = directory + "/bad.tar"
            let bytes = TarFormat.header(TarEntry(path: path, kind: .file, mode: 0o644)) + TarFormat.end
            try AtomicFile.write(bytes, to: archive)
            let part = SnapshotSource.Part(path: archive, destination: nil, file: "", manifest: nil, role: .bundle)
            #expect(throws: BackupError(.damaged, "")) { try BundleReader.forEach(part, keys: nil) { _, _ in } }
        }
    }
}

/// The contents of one file in a bundle; nil where it is not there.
private func contents(_ path: String, in part: SnapshotSource.Part, keys: SealingKeys?) throws -> [UInt8]? {
    var found: [UInt8]?
    try BundleReader.forEach(part, keys: keys) { entry, read in
        if entry.path == path { found = try readFully(read, count: Int(entry.size)) }
    }
    return found
}
