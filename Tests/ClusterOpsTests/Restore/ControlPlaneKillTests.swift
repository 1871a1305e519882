import Etcd
import Glibc
import Platform
import Testing

@testable import ClusterOps

private struct Killed: Error {}

/// A whole node brought back, over stand-ins (StandInNode says what is real in it).
@Suite(.enabled(if: StandInNode.isThere, "needs etcd, openssl and python3: scripts/deps test"), .serialized)
struct ControlPlaneKillTests {
    private func etcd(_ node: StandInNode) -> EtcdOptions {
        let flags = StaticPod.flags(node.layout.manifests + "/etcd.yaml")
        var etcd = EtcdOptions()
        etcd.endpoints = [flags["listen-client-urls"] ?? ""]
        etcd.ca = node.layout.pki + "/etcd/ca.crt"
        etcd.cert = node.layout.pki + "/etcd/healthcheck-client.crt"
        etcd.key = node.layout.pki + "/etcd/healthcheck-client.key"
        return etcd
    }

    private func keys(_ access: EtcdOptions) async throws -> [[[UInt8]]] {
        let http = HTTPClient(name: "keys")
        defer { http.shutdown() }
        let range = try await EtcdClient(endpoints: access.endpoints, tls: access.tls, http: http)
            .range([0], end: [0])
        return range.keyValues.map { [$0.key, $0.value] }
    }

    /// Files of the node by their paths, without what a restore keeps for itself.
    private func files(_ node: StandInNode) throws -> String {
        try runProgram([
            "/bin/sh", "-c",
            "cd \(node.layout.kubernetesDirectory) && find . -type f -printf '%m %p ' -exec sha256sum {} + | sort",
        ]).output
    }

    private func surroundings(_ node: StandInNode) -> RestoreSurroundings {
        var surroundings = RestoreSurroundings(restartKubelet: {})
        surroundings.isOurs = { [directory = node.directory] words in words.contains { $0.contains(directory) } }
        return surroundings
    }

    /// Cut off before every step and behind it, before the journal says so: resumed each time, one restore of as many kills
    /// as there are places ends as if nobody had killed it.
    @Test(.timeLimit(.minutes(10))) func aKillAtEachStepInTurnIsResumedToTheSameEnd() async throws {
        let node = try StandInNode(days: 5)
        try await node.proveAll()
        let access = etcd(node)
        let http = HTTPClient(name: "fill")
        let client = EtcdClient(endpoints: access.endpoints, tls: access.tls, http: http)
        for i in 0..<50 {
            _ = try await client.transaction([.put(key: Array("/registry/\(i)".utf8), value: Array("v\(i)".utf8))])
        }
        http.shutdown()
        var options = BackupOptions()
        options.cluster = "test"
        options.kubernetesDirectory = node.layout.kubernetesDirectory
        options.kubeletDirectory = node.layout.kubeletDirectory
        options.include = [.pki, .kubeconfigs, .manifests]
        let place = LocalDestination(name: "local", path: node.directory + "/backups")
        options.destinations = [DestinationOptions(name: "local", place: .local(.init(path: place.path)))]
        let backup = try await BackupService(
            options: options, etcd: access, destinations: [place], registry: MetricRegistry(), logger: quietLogger(),
            toolVersion: "test"
        ).backupNow(onDemand: false)
        let (before, wanted) = (try await keys(access), try files(node))
        let manifests = StaticPod.flags(node.layout.manifests + "/etcd.yaml")
        let starts = node.starts()

        // Everything is gone.
        try FileSystem.removeTree(node.layout.kubernetesDirectory)
        var request = RestoreOptions()
        request.controlPlane = true
        request.name = "cp1"
        request.dataDirectory = try #require(manifests["data-dir"])
        request.kubernetesDirectory = node.layout.kubernetesDirectory
        request.kubeletDirectory = node.layout.kubeletDirectory
        request.etcd = access
        let plan = try await RestorePlan.make(request, destinations: [place])
        let seen = Lock<Set<String>>([])
        var around = surroundings(node)
        around.interrupt = { step, isDone in
            if seen.withLock({ $0.insert("\(step.action) \(isDone)").inserted }) { throw Killed() }
        }
        await #expect(throws: Killed.self) { try await plan.execute(surroundings: around) }
        var kills = 1
        var report: RestoreReport?
        while report == nil {
            try #require(kills <= 2 * plan.steps.count)
            do {
                report = try await RestorePlan.resume(
                    dataDirectory: request.dataDirectory, destinations: [place], surroundings: around)
            } catch is Killed {
                kills += 1
            }
        }
        #expect(kills == 2 * plan.steps.count)
        #expect(report?.revision ?? 0 >= backup.manifest.revision + 1_000_000_000)
        #expect(try await keys(access) == before)
        #expect(try files(node) == wanted)
        try await node.proveAll()
        // Each component was started once more, by kubelet's stand-in, and no manifest is held back.
        #expect(node.starts() == starts.mapValues { $0 + 1 })
        #expect(!FileSystem.exists(node.layout.kubernetesDirectory + "/.kops-held-manifests"))
        let aside = try #require(report?.asideDirectory)
        #expect(DataDirectory.survey(aside).clusterID == UInt64(backup.manifest.clusterID, radix: 16))
        #expect(try RestoreExecutor.readJournal(request.dataDirectory)?.state == .finished)
    }

    /// The newest backup at the place is another node's: the whole node comes back with its own files from an hour before, and
    /// etcd with what the other one saved.
    @Test(.timeLimit(.minutes(10))) func aNodeComesBackWithItsOwnFilesAndAnothersNewerData() async throws {
        let node = try StandInNode(days: 5)
        try await node.proveAll()
        let access = etcd(node)
        let place = LocalDestination(name: "store", path: node.directory + "/backups")
        func backup(_ kubernetes: String, hoursAgo: Int64) async throws -> BackupManifest {
            var options = BackupOptions()
            options.cluster = "test"
            options.kubernetesDirectory = kubernetes
            options.kubeletDirectory = node.layout.kubeletDirectory
            options.include = [.pki, .kubeconfigs, .manifests]
            return try await BackupService(
                options: options, etcd: access, destinations: [place], registry: MetricRegistry(),
                logger: quietLogger(),
                clock: WallClock { WallClock.system.nowMilliseconds() - hoursAgo * 3_600_000 }, toolVersion: "test"
            ).backupNow(onDemand: false).manifest
        }
        let own = try await backup(node.layout.kubernetesDirectory, hoursAgo: 3)
        let http = HTTPClient(name: "fill")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: access.endpoints, tls: access.tls, http: http)
        _ = try await client.transaction([.put(key: Array("/registry/newer".utf8), value: Array("yes".utf8))])
        // The other node's own, at a path where this one's are not looked for.
        let other = node.directory + "/other"
        try FileSystem.makeDirectories(other + "/manifests")
        try AtomicFile.write(Array("    - --name=cp2\n".utf8), to: other + "/manifests/etcd.yaml")
        let newest = try await backup(other, hoursAgo: 0)
        #expect(own.node == "cp1" && newest.node == "cp2")
        let (before, wanted) = (try await keys(access), try files(node))
        let flags = StaticPod.flags(node.layout.manifests + "/etcd.yaml")

        try FileSystem.removeTree(node.layout.kubernetesDirectory)
        try FileSystem.removeTree(other)
        var request = RestoreOptions()
        request.controlPlane = true
        request.name = "cp1"
        request.dataDirectory = try #require(flags["data-dir"])
        request.kubernetesDirectory = node.layout.kubernetesDirectory
        request.kubeletDirectory = node.layout.kubeletDirectory
        request.etcd = access
        let plan = try await RestorePlan.make(request, destinations: [place])
        #expect(plan.manifest?.name == newest.name)
        #expect(plan.describe().contains { $0.contains(own.name) && $0.contains("3 h before") }, "\(plan.describe())")
        let killed = Lock(false)
        var around = surroundings(node)
        around.interrupt = { step, isDone in
            let isFirst = killed.withLock { killed in
                defer { killed = killed || step.action == .putBack && isDone }
                return !killed
            }
            if isFirst, step.action == .putBack, isDone { throw Killed() }
        }
        await #expect(throws: Killed.self) { try await plan.execute(surroundings: around) }
        let report = try await RestorePlan.resume(
            dataDirectory: request.dataDirectory, destinations: [place], surroundings: around)
        #expect(report.revision >= newest.revision + 1_000_000_000)
        #expect(try await keys(access) == before)
        #expect(try files(node) == wanted)
        try await node.proveAll()
    }

    /// One that crashes and is started again is not running just when it is looked for: it has stopped when the runtime has no
    /// pod of it any more, or where that cannot be asked when it was not seen for longer than kubelet's poll.
    @Test(.timeLimit(.minutes(10)), arguments: [true, false])
    func anEtcdBetweenTwoCrashesIsNotTakenForStopped(_ runtimeAnswers: Bool) async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let kubernetes = directory + "/kubernetes"
        try FileSystem.makeDirectories(kubernetes + "/manifests")
        try AtomicFile.write(
            Array("    - --data-dir=\(directory)/etcd/data\n".utf8), to: kubernetes + "/manifests/etcd.yaml")
        var options = RestoreOptions()
        options.controlPlane = true
        options.kubernetesDirectory = kubernetes
        options.dataDirectory = directory + "/etcd/data"
        let record = RestorePlan.Record(
            options: options, source: SnapshotSource(parts: [], bundle: nil, title: ""), steps: [], memberName: "cp1",
            initialCluster: "", token: "", revision: nil, asideDirectory: nil, newDirectory: "", fetchDirectory: "",
            heldDirectory: kubernetes + "/held", ports: [], bundleOf: nil)
        let isGone = Lock(false)
        let asked = Lock(0)
        var around = RestoreSurroundings(restartKubelet: {})
        around.podIsGone = { _ in
            asked.withLock { $0 += 1 }
            return runtimeAnswers && isGone.withLock { $0 }
        }
        // Longer than a busy machine takes to start an etcd.
        around.quietLimit = .seconds(10)
        let executor = RestoreExecutor(
            journal: RestoreJournal(started: "", plan: record), destinations: [], clock: .system, surroundings: around,
            announce: nil, progress: nil)
        let stopped = Lock<ContinuousClock.Instant?>(nil)
        let stop = Task {
            try await executor.stop("etcd")
            stopped.withLock { $0 = .now }
        }
        // Between two attempts: it was looked for, and not there.
        while asked.withLock({ $0 }) < 2 { try await Task.sleep(for: .milliseconds(20)) }
        try FileSystem.makeDirectories(directory + "/etcd")
        let etcd = try EtcdProcess(directory: directory + "/etcd")
        try await etcd.waitUntilServing()
        #expect(stopped.withLock { $0 } == nil)
        etcd.kill()
        let ended = ContinuousClock.now
        isGone.withLock { $0 = true }
        try await stop.value
        let at = try #require(stopped.withLock { $0 })
        #expect(at > ended)
        if !runtimeAnswers { #expect(at - ended >= .seconds(5)) }
        #expect(FileSystem.exists(kubernetes + "/held/etcd.yaml"))
    }
}
