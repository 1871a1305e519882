import Glibc
import Platform
import Testing

@testable import ClusterOps
@testable import Etcd

/// Control planes that bring their backups to one place: what a restore takes of whose.
@Suite(.enabled(if: EtcdProcess.isThere && FileSystem.exists("/usr/bin/openssl")), .serialized)
struct SharedPlaceTests {
    /// One etcd, and a directory that holds now this node's files, now that one's, as each has them at the same path.
    private final class Scene {
        let etcd: EtcdProcess
        let place: LocalDestination
        var kubernetes: String { etcd.directory + "/kubernetes" }
        /// What the clocks of the sidecars say: later than files are made here.
        let now = Lock<Int64>(1_800_000_000_000)

        init() async throws {
            etcd = try EtcdProcess(name: "cp1")
            try await etcd.waitUntilServing()
            place = LocalDestination(name: "store", path: etcd.directory + "/backups")
            try authority("old")
            try authority("new")
        }

        deinit { try? FileSystem.removeTree(etcd.directory) }

        private func authority(_ name: String) throws {
            let path = etcd.directory + "/" + name
            let made = try runProgram([
                "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path + ".key", "-out",
                path + ".crt",
                "-subj", "/CN=kubernetes", "-days", "10",
            ])
            #expect(made.status == 0, "\(made.output)")
        }

        private func put(_ name: String, _ text: String) throws {
            let path = kubernetes + "/" + name
            try FileSystem.makeDirectories(FileSystem.parent(of: path))
            try AtomicFile.write(Array(text.utf8), to: path, mode: 0o600)
        }

        /// The node's directory of Kubernetes holds the files of `node`, in their `state`.
        func become(_ node: String, state: String = "1", authority: String = "old") throws {
            try FileSystem.removeTree(kubernetes)
            try put("pki/ca.crt", try FileSystem.readText(etcd.directory + "/\(authority).crt"))
            try put("pki/sa.key", "sa \(state)")
            try put("enc.yaml", "encryption \(state)")
            try put("kubelet.conf", "kubelet of \(node) \(state)")
            try put("pki/etcd/server.key", "server of \(node) \(state)")
            try put("manifests/etcd.yaml", "    - --name=\(node)\n    - --data-dir=\(etcd.directory)/node/etcd\n")
        }

        /// A backup by the sidecar of the node that it just is.
        @discardableResult
        func backup(_ change: (inout BackupOptions) -> Void = { _ in }) async throws -> BackupManifest {
            now.withLock { $0 += 3_600_000 }
            var options = BackupOptions()
            options.cluster = "test"
            options.include = [.pki, .kubeconfigs, .manifests]
            options.includePaths = [kubernetes + "/enc.yaml"]
            options.kubernetesDirectory = kubernetes
            change(&options)
            var access = EtcdOptions()
            access.endpoints = [etcd.endpoint]
            (access.ca, access.cert, access.key) = (nil, nil, nil)
            return try await BackupService(
                options: options, etcd: access, destinations: [place], registry: MetricRegistry(),
                logger: quietLogger(), clock: WallClock { [now] in now.withLock { $0 } }, toolVersion: "test"
            ).backupNow(onDemand: false).manifest
        }

        func plan(_ name: String, source: String = "latest", _ change: (inout RestoreOptions) -> Void = { _ in })
            async throws -> RestorePlan
        {
            var options = RestoreOptions()
            options.source = source
            options.controlPlane = true
            options.name = name
            options.initialCluster = "cp1=http://10.9.8.1:2380,cp2=http://10.9.8.2:2380,cp3=http://10.9.8.3:2380"
            options.dataDirectory = etcd.directory + "/node/etcd"
            options.kubernetesDirectory = kubernetes
            options.etcd.endpoints = []
            change(&options)
            return try await RestorePlan.make(options, destinations: [place])
        }

        func putBack(_ plan: RestorePlan) async throws -> [String] {
            try await RestoreExecutor(
                journal: RestoreJournal(started: "", plan: plan.record), destinations: [place], clock: .system,
                surroundings: RestoreSurroundings(restartKubelet: {}), announce: nil, progress: nil
            ).putBack()
        }

        func text(_ name: String) -> String? { try? FileSystem.readText(kubernetes + "/" + name) }
    }

    /// The newest backup is cp1's: etcd's data, the authorities and the keys of secrets come from it, and what is cp2's own
    /// from cp2's.
    @Test func aNodeGetsItsOwnFilesAndTheClustersNewestData() async throws {
        let scene = try await Scene()
        try await fill(scene.etcd, keys: 10)
        try scene.become("cp2")
        let own = try await scene.backup()
        #expect(own.node == "cp2")
        try scene.become("cp3")
        try await scene.backup()
        try await fill(scene.etcd, keys: 10, seed: 2)
        try scene.become("cp1", state: "2")
        let newest = try await scene.backup()
        scene.etcd.kill()
        try FileSystem.removeTree(scene.kubernetes)

        let plan = try await scene.plan("cp2")
        #expect(plan.manifest?.name == newest.name)
        let step = try #require(plan.steps.first { $0.action == .putBack }?.description)
        #expect(step.contains(own.name) && step.contains("2 h before"), "\(step)")
        let notes = try await scene.putBack(plan)
        #expect(scene.text("kubelet.conf") == "kubelet of cp2 1")
        #expect(scene.text("pki/etcd/server.key") == "server of cp2 1")
        #expect(scene.text(".kops-held-manifests/etcd.yaml")?.contains("--name=cp2") == true)
        #expect(scene.text("pki/sa.key") == "sa 2" && scene.text("enc.yaml") == "encryption 2")
        #expect(
            notes.contains { $0.contains("cp2's own") && $0.contains(own.name) && $0.contains("2 h before") },
            "\(notes)")

        // The node whose backup it is: as ever.
        try FileSystem.removeTree(scene.kubernetes)
        let first = try await scene.plan("cp1")
        #expect(first.record.source.own == nil)
        _ = try await scene.putBack(first)
        #expect(scene.text("kubelet.conf") == "kubelet of cp1 2")

        // By the name that the printed command for another node has; of a file beside the others too.
        for source in [newest.name, "\(scene.place.path)/\(newest.files[0].name)"] {
            let named = try await scene.plan("cp3", source: source)
            #expect(named.record.source.own?.manifest?.node == "cp3")
        }
        // Over SSH each of the others gets its own.
        let all = try await scene.plan("cp1") { $0.remote = RemoteOptions(version: "1") }
        #expect(all.record.source.others?.mapValues { $0.manifest?.node } == ["cp2": "cp2", "cp3": "cp3"])
        #expect(all.record.source.files(of: "cp2").contains { $0.file.hasPrefix(own.name) })
        #expect(!all.record.source.files(of: nil).contains { $0.file.hasPrefix(own.name) })
        #expect(all.notes.contains { $0.hasPrefix("cp2 is given its own files of \(own.name)") })
    }

    /// Backups of before manifests said who made them are told apart by what lies in them.
    @Test func theNodeIsFoundWithoutAWordInTheManifest() async throws {
        let scene = try await Scene()
        try scene.become("cp2")
        let own = try await scene.backup()
        try scene.become("cp1")
        let newest = try await scene.backup()
        for manifest in [own, newest] {
            var old = manifest
            old.node = nil
            try AtomicFile.write(try old.encoded(), to: "\(scene.place.path)/\(old.name).json")
        }
        scene.etcd.kill()
        try FileSystem.removeTree(scene.kubernetes)
        let plan = try await scene.plan("cp2")
        #expect(plan.manifest?.name == newest.name && plan.record.source.own?.manifest?.name == own.name)
    }

    /// None of its own, or only such as do not fit: said before, and once more at the end.
    @Test func withoutItsOwnFilesANodeIsTold() async throws {
        let scene = try await Scene()
        try scene.become("cp2", authority: "old")
        let old = try await scene.backup()
        try scene.become("cp1", authority: "new")
        let newest = try await scene.backup()
        scene.etcd.kill()
        try FileSystem.removeTree(scene.kubernetes)
        for (node, reason) in [("cp2", "\(old.name) has another pki/ca.crt than \(newest.name)"), ("cp3", "no backup")]
        {
            let plan = try await scene.plan(node)
            #expect(plan.record.source.own == nil)
            let note = try #require(plan.notes.first { $0.contains("lacks 3 files of its own") })
            #expect(
                note.contains(reason) && note.contains("kubeadm init phase") && note.contains("--resume"), "\(note)")
            let notes = try await scene.putBack(plan)
            #expect(notes.contains { $0.contains("\(node) lacks 3 files of its own") }, "\(notes)")
            #expect(scene.text("kubelet.conf") == nil && scene.text("pki/sa.key") == "sa 1")
            try FileSystem.removeTree(scene.kubernetes)
        }
        // One that lost etcd's data alone lacks nothing, and is told nothing.
        try scene.become("cp3", authority: "new")
        let plan = try await scene.plan("cp3")
        #expect(!plan.notes.contains { $0.contains("lacks") }, "\(plan.notes)")
    }

    /// Sealed to another key, or damaged: the next one of the same node is taken.
    @Test func ownFilesThatCannotBeReadAreNotTaken() async throws {
        let scene = try await Scene()
        try scene.become("cp2")
        let good = try await scene.backup()
        let damaged = try await scene.backup()
        try scene.become("cp1")
        try await scene.backup()
        let file = "\(scene.place.path)/\(try #require(damaged.file(.bundle)).name)"
        var bytes = try FileSystem.read(file)
        bytes[bytes.count / 2] ^= 1
        try AtomicFile.write(bytes, to: file)
        scene.etcd.kill()
        try FileSystem.removeTree(scene.kubernetes)
        #expect(try await scene.plan("cp2").record.source.own?.manifest?.name == good.name)
    }

    /// A backup that is skipped because nothing has changed is one of this very node.
    @Test func anothersBackupIsNoReasonToMakeNone() async throws {
        let scene = try await Scene()
        try await fill(scene.etcd, keys: 10)
        try scene.become("cp1")
        let skips: (inout BackupOptions) -> Void = { $0.skipUnchanged = true }
        // Files that are older than all backups, whatever the sidecars' clocks say.
        let first = try await scene.backup(skips)
        #expect(try await scene.backup(skips).name == first.name)
        try scene.become("cp2")
        let second = try await scene.backup(skips)
        #expect(second.name != first.name && second.node == "cp2")
        #expect(try await scene.backup(skips).name == second.name)
    }

    /// A trial says what this node would get of its own.
    @Test func aDrillOfAnothersBackupLooksAtThisNodesFilesToo() async throws {
        let scene = try await Scene()
        try await fill(scene.etcd, keys: 10)
        try scene.become("cp1")
        let newest = try await scene.backup()
        try scene.become("cp2")
        var drill = Drill(destinations: [scene.place], workDirectory: scene.etcd.directory + "/drill")
        drill.kubernetesDirectory = scene.kubernetes
        let none = try await drill.run()
        #expect(none.summary.contains("no backup has the files of this node, cp2"), "\(none.summary)")
        // Made before, by its name: of the newest the etcd data are restored.
        scene.now.withLock { $0 -= 7_200_000 }
        let own = try await scene.backup()
        let report = try await drill.run()
        #expect(report.backup.hasPrefix(newest.name))
        for text in ["this node, cp2, in \(own.name), made", "60 min before it"] {
            #expect(report.summary.contains(text), "\(report.summary)")
        }
        scene.etcd.kill()
    }
}
