import Platform
import Testing

@testable import ClusterOps
@testable import Etcd

/// Whose directory and whose authority a restore finds.
@Suite(.serialized) struct OtherClusterTests {
    /// A member as kubeadm starts it, at an address that is its own.
    private func member(
        _ name: String = "cp1", in directory: String? = nil, host: String = "10.9.8.7", token: String
    ) async throws -> EtcdProcess {
        let url = "http://\(host):2380"
        let etcd = try EtcdProcess(
            name: name, directory: directory, initialCluster: "\(name)=\(url)",
            extra: ["--initial-advertise-peer-urls", url, "--initial-cluster-token", token])
        try await etcd.waitUntilServing()
        return etcd
    }

    private func options(_ etcd: EtcdProcess) -> RestoreOptions {
        var options = RestoreOptions()
        options.dataDirectory = etcd.dataDirectory
        options.etcd.endpoints = []
        options.setAside = true
        return options
    }

    private func refusal(_ options: RestoreOptions, _ place: LocalDestination) async throws -> String {
        do {
            _ = try await RestorePlan.make(options, destinations: [place])
            return "not refused"
        } catch let error as BackupError where error.code == .refused {
            return error.message
        }
    }

    /// The cluster was restored before, so that its identifier is not the one that its etcd makes of nothing. Its data are
    /// lost, kubelet starts etcd on an empty directory, and kube-apiserver writes its first objects there: that is no other
    /// cluster.
    @Test(.enabled(if: EtcdProcess.isThere)) func aClusterThatEtcdBeganOfNothingIsSetAside() async throws {
        let etcd = try await member(token: "restored")
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await fill(etcd, keys: 3000)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let backup = try await service(etcd, [place]).backupNow(onDemand: false)
        etcd.kill()
        try FileSystem.removeTree(etcd.dataDirectory)
        let young = try await member(in: etcd.directory, token: "etcd-cluster")
        try await fill(young, keys: 10)
        young.kill()
        let options = options(young)
        let plan = try await RestorePlan.make(options, destinations: [place])
        #expect(plan.notes.contains { $0.contains("found no data") && $0.contains("set aside") })
        let report = try await plan.execute()
        #expect(report.snapshotRevision == backup.manifest.revision)
        #expect(FileSystem.exists(try #require(report.asideDirectory) + "/member/snap/db"))
        _ = try await RestorePlan.undo(dataDirectory: young.dataDirectory)

        // Somebody works with it: more was written than to the one of the backup.
        try young.start()
        try await young.waitUntilServing()
        for seed in UInt64(2)..<8 { try await fill(young, keys: 1000, seed: seed) }
        _ = try await service(young, [LocalDestination(name: "x", path: etcd.directory + "/x")]).backupNow(
            onDemand: true)
        young.kill()
        #expect(try await refusal(options, place).contains("--force older"))
        var older = options
        older.overrides = [.older]
        #expect(try await refusal(older, place).contains("--force other-cluster"))
    }

    /// Another node's, and one that only has an address which every machine has: refused, and the members are named.
    @Test(
        .enabled(if: EtcdProcess.isThere), arguments: [("cp1", "10.9.8.6"), ("cp2", "10.9.8.7"), ("cp1", "127.0.0.1")])
    func anotherMembersDirectoryIsRefused(_ name: String, _ host: String) async throws {
        let etcd = try await member(host: host == "127.0.0.1" ? host : "10.9.8.7", token: "restored")
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await fill(etcd, keys: 3000)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        _ = try await service(etcd, [place]).backupNow(onDemand: false)
        etcd.kill()
        try FileSystem.removeTree(etcd.dataDirectory)
        let other = try await member(name, in: etcd.directory, host: host, token: "etcd-cluster")
        other.kill()
        var options = options(other)
        let text = try await refusal(options, place)
        #expect(text.contains("--force other-cluster") && text.contains("\(name)=http://\(host):2380"), "\(text)")
        options.overrides = [.otherCluster]
        _ = try await RestorePlan.make(options, destinations: [place])
    }

    /// A node that was set up anew has another authority, even where its data directory is empty: the backup's keys would not
    /// fit it. A renewed certificate of the same authority is no such thing.
    @Test func aNodeThatWasSetUpAnewIsToldByItsAuthority() throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        func authority(_ name: String, key: String) throws -> String {
            if !FileSystem.exists(key) {
                try runProgram(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key])
            }
            let made = try runProgram([
                "openssl", "req", "-x509", "-new", "-key", key, "-out", "\(directory)/\(name)", "-subj",
                "/CN=kubernetes",
                "-days", "10",
            ])
            #expect(made.status == 0, "\(made.output)")
            return try FileSystem.readText("\(directory)/\(name)")
        }
        let own = try authority("own.crt", key: directory + "/own.key")
        let renewed = try authority("renewed.crt", key: directory + "/own.key")
        let foreign = try authority("foreign.crt", key: directory + "/foreign.key")
        #expect(own != renewed)
        var preview = BundlePreview()
        preview.files = ["pki/ca.crt": own, "pki/etcd/ca.crt": own]
        var options = RestoreOptions()
        options.controlPlane = true
        options.kubernetesDirectory = directory + "/kubernetes"
        let seed = try ClusterIdentity(initialCluster: "cp1=https://10.0.0.11:2380", token: "t")
        func notes(_ files: [String: String], overrides: Set<RestoreOverride> = []) throws -> [String] {
            try? FileSystem.removeTree(options.kubernetesDirectory)
            for (name, text) in files {
                let path = "\(options.kubernetesDirectory)/\(name)"
                try FileSystem.makeDirectories(FileSystem.parent(of: path))
                try AtomicFile.write(Array(text.utf8), to: path)
            }
            var asked = options
            asked.overrides = overrides
            var checks = RestoreChecks(
                options: asked, source: SnapshotSource(parts: [], bundle: nil, title: "x"),
                old: DataDirectory.Survey(), seed: seed, ports: [])
            try checks.otherCluster(preview)
            return checks.notes
        }
        #expect(try notes([:]).isEmpty)
        #expect(try notes(["pki/ca.crt": own]).isEmpty)
        #expect(try notes(["pki/ca.crt": renewed, "pki/etcd/ca.crt": own]).isEmpty)
        // While an authority is replaced, both stand in the file.
        #expect(try notes(["pki/ca.crt": foreign + own]).isEmpty)
        for file in ["pki/ca.crt", "pki/etcd/ca.crt"] {
            #expect(throws: BackupError(.refused, "")) { try notes([file: foreign]) }
            #expect(try notes([file: foreign], overrides: [.otherCluster]).contains { $0.contains(file) })
        }
    }
}
