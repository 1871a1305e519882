import Glibc
import Platform
import Testing

@testable import ClusterOps

/// Files of a node in a real tar's archive, and a node that lacks some of them.
@Suite struct PutBackTests {
    private func scene(_ taking: PutBack.Taking = .everything) throws -> (root: String, work: PutBack) {
        let directory = try temporaryDirectory()
        let tree = directory + "/tree"
        let files = [
            "etc/kubernetes/pki/ca.key": "ca", "etc/kubernetes/pki/apiserver.crt": "apiserver",
            "etc/kubernetes/pki/etcd/ca.key": "etcd ca", "etc/kubernetes/manifests/etcd.yaml": "- --name=cp1",
            "etc/kubernetes/manifests/kube-vip.yaml": "vip", "etc/kubernetes/admin.conf": "admin",
            "etc/kubernetes/enc.yaml": "encryption", ".kops/versions.json": "{}",
            "etc/kubernetes/manifests/kube-apiserver.yaml": "- --audit-policy-file=/etc/audit.yaml",
            "etc/audit.yaml": "audit", "etc/haproxy.cfg": "haproxy", "etc/default/kubelet": "--node-ip=10.0.0.1",
        ]
        for (name, text) in files {
            try FileSystem.makeDirectories(FileSystem.parent(of: "\(tree)/\(name)"))
            try AtomicFile.write(Array(text.utf8), to: "\(tree)/\(name)", mode: 0o600)
        }
        chmod(tree + "/etc/kubernetes/pki/apiserver.crt", 0o640)
        symlink("ca.key", tree + "/etc/kubernetes/pki/link")
        let archive = directory + "/x.files.tar.gz"
        let run = try runProgram(["tar", "--format=pax", "-C", tree, "-czf", archive, "etc", ".kops"])
        #expect(run.status == 0, "\(run.output)")
        let root = directory + "/root"
        try FileSystem.makeDirectories(root)
        let part = SnapshotSource.Part(path: archive, destination: nil, file: "x", manifest: nil, role: .bundle)
        return (
            root,
            PutBack(
                part: part, keys: nil, root: root, kubernetesDirectory: "/etc/kubernetes",
                heldDirectory: "/etc/kubernetes/.kops-held-manifests", taking: taking)
        )
    }

    @Test func whatIsMissingComesBackAndWhatIsThereStays() throws {
        let (root, work) = try scene()
        let kept = root + "/etc/kubernetes/pki/ca.key"
        try FileSystem.makeDirectories(FileSystem.parent(of: kept))
        try AtomicFile.write(Array("its own".utf8), to: kept)
        let outcome = try work.run { false }
        #expect(try FileSystem.readText(kept) == "its own")
        #expect(try FileSystem.readText(root + "/etc/kubernetes/pki/apiserver.crt") == "apiserver")
        #expect(try FileSystem.status(root + "/etc/kubernetes/pki/apiserver.crt")?.mode ?? 0 & 0o777 == 0o100640)
        #expect(try FileSystem.status(root + "/etc/kubernetes/pki/link", followLinks: false)?.isSymbolicLink == true)
        // A manifest in kubelet's directory would start etcd before its data are there; other pods are not held.
        #expect(try FileSystem.list(root + "/etc/kubernetes/manifests") == ["kube-vip.yaml"])
        #expect(FileSystem.exists(root + "/etc/kubernetes/.kops-held-manifests/etcd.yaml"))
        #expect(!FileSystem.exists(root + "/.kops"))
        #expect(outcome.files.count == 11)
        // Once more: nothing is left to do.
        #expect(try work.run { false }.files.isEmpty)
    }

    @Test func anotherNodesFilesAreSharedOnesOnly() throws {
        let (root, work) = try scene(.shared)
        let outcome = try work.run { false }
        #expect(try FileSystem.list(root + "/etc/kubernetes") == ["enc.yaml", "pki"])
        #expect(try FileSystem.list(root + "/etc/kubernetes/pki") == ["ca.key", "etcd"])
        // kubelet's flags may have the other node's address.
        #expect(!FileSystem.exists(root + "/etc/default/kubelet") && FileSystem.exists(root + "/etc/haproxy.cfg"))
        #expect(outcome.notTaken.count == 5 && outcome.notTaken.contains("/etc/kubernetes/admin.conf"))
    }

    /// Before this node's own files: only what has to be as new as etcd's data.
    @Test func ofAnotherNodesFilesComesWhatTheClusterHasInCommon() throws {
        let (root, work) = try scene(.clusters)
        let outcome = try work.run { false }
        #expect(
            Set(outcome.files) == [
                "/etc/kubernetes/enc.yaml", "/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki/etcd/ca.key",
                "/etc/audit.yaml",
            ])
        #expect(!FileSystem.exists(root + "/etc/haproxy.cfg"))
    }

    @Test func aDamagedArchiveChangesNothing() throws {
        let (root, work) = try scene()
        var bytes = try FileSystem.read(work.part.path)
        bytes[bytes.count - 6] ^= 1
        try AtomicFile.write(bytes, to: work.part.path)
        #expect(throws: BackupError(.damaged, "")) { try work.run { false } }
        #expect(try FileSystem.list(root).isEmpty)
    }

    @Test func imageVersionsAreFound() {
        #expect(StaleReport.imageVersion("  - image: k8s.gcr.io/kube-apiserver:v1.20.2\n") == "v1.20.2")
        #expect(StaleReport.imageVersion("    image: reg:5000/kube-apiserver:v1.36.0@sha256:00\n") == "v1.36.0")
        #expect(StaleReport.imageVersion("    image: x") == nil)
    }
}
