import Platform
import Testing

@testable import ClusterOps

/// The whole renewal over a node of stand-ins (StandInNode says what is real in it).
@Suite(.enabled(if: StandInNode.isThere, "needs etcd, openssl and python3: scripts/deps test"), .serialized)
struct RenewalTests {
    private let now = WallClock.system.nowMilliseconds()
    /// Of every component one: each renewal calls openssl many times.
    private static let some = ["apiserver", "etcd-peer", "controller-manager.conf", "scheduler.conf", "admin.conf"]

    @Test(.timeLimit(.minutes(10))) func renewsWhatIsDueAndRestartsEachHolderOnceInOrder() async throws {
        let node = try StandInNode(days: 5)
        try await node.proveAll()
        let before = node.serials()
        var options = node.options
        let copy = node.directory + "/root-config"
        let admin = try FileSystem.read(node.layout.kubernetesDirectory + "/admin.conf")
        try AtomicFile.write(admin, to: copy, mode: 0o640)
        options.copies = [copy, node.directory + "/absent"]
        let decision = options.decide(now: now)
        #expect(decision.blocked == [])
        #expect(decision.plan.items.map(\.name).sorted() == before.keys.sorted())
        #expect(decision.plan.components == StandInNode.components)
        let result = try await node.renewal(options).run(decision.plan)
        #expect(result.outcome == .done)
        #expect(result.problem == nil)
        let after = node.serials()
        for (name, serial) in after { #expect(serial != before[name], "\(name)") }
        #expect(node.starts() == ["kube-apiserver": 2, "kube-controller-manager": 2, "kube-scheduler": 2, "etcd": 2])
        #expect(node.startOrder().suffix(4) == StandInNode.components[...])
        try await node.proveAll()
        // The copy is the new file, with its own mode; the one that was never there is not made, and told of.
        #expect(try FileSystem.read(copy) == FileSystem.read(node.layout.kubernetesDirectory + "/admin.conf"))
        #expect(try FileSystem.status(copy)?.mode ?? 0 & 0o777 == 0o100640)
        #expect(result.notes.contains { $0.contains("/absent is not there") })
        // What was is kept.
        let kept = FileSystem.glob(node.layout.kubernetesDirectory + "/tmp/kops-renewal-2*/kubernetes/admin.conf")
        #expect(try kept.map { try FileSystem.read($0) } == [admin])
        // A second run finds nothing to do.
        #expect(options.decide(now: now).plan.items.isEmpty)
    }

    @Test(.timeLimit(.minutes(10))) func aKillAtEachStepInTurnIsResumedToTheSameEnd() async throws {
        let node = try StandInNode(days: 5)
        try await node.proveAll()
        let before = node.serials().filter { Self.some.contains($0.key) }
        var options = node.options
        options.names = Self.some
        let plan = options.decide(now: now).plan
        let seen = Lock<Set<String>>([])
        var renewal = try node.renewal(options)
        // Cut off before and after every step, the first time it comes to each.
        let count = Lock(0)
        renewal.interrupt = { step, isDone in
            let place = "\(step) \(isDone) \(count.withLock { $0 })"
            if seen.withLock({ $0.insert(place).inserted }) { throw Interruption() }
            if isDone { count.withLock { $0 += 1 } }
        }
        var result: RenewalMachine?
        var kills = 0
        await #expect(throws: Interruption.self) { try await renewal.run(plan) }
        while result == nil {
            kills += 1
            try #require(kills < 200)
            #expect(renewal.isUnfinished())
            do { result = try await renewal.resume() } catch is Interruption {}
        }
        #expect(kills == 2 * RenewalMachine(plan).steps.all.count)
        #expect(result?.outcome == .done)
        for (name, serial) in before { #expect(node.serials()[name] != serial, "\(name)") }
        #expect(node.starts() == ["kube-apiserver": 2, "kube-controller-manager": 2, "kube-scheduler": 2, "etcd": 2])
        let calls = try FileSystem.readText(node.directory + "/kubeadm.log").split(separator: "\n")
        #expect(calls.count == plan.items.count, "no certificate is renewed twice: \(calls)")
        try await node.proveAll()
    }

    @Test(.timeLimit(.minutes(10))) func aFailureAtEachPointBringsTheOldStateBack() async throws {
        let node = try StandInNode(days: 5)
        try await node.proveAll()
        let old = node.serials()
        var options = node.options
        options.names = Self.some
        // The certificates that a component which does not take the new ones goes on with.
        try FileSystem.makeDirectories(node.directory + "/old")
        for name in ["apiserver.crt", "apiserver.key"] {
            try AtomicFile.write(
                FileSystem.read(node.layout.pki + "/" + name), to: node.directory + "/old/" + name, mode: 0o600)
        }
        let points: [(control: String, component: String?, step: RenewalStep, reason: String)] = [
            ("kubeadm-silent", nil, .renew("apiserver"), "still holds serial"),
            ("kubeadm-fails-etcd-peer", nil, .renew("etcd-peer"), "failed to load certificate"),
            ("kubeadm-wrong-subject", nil, .renew("apiserver"), "is now for"),
            ("no-stop-kube-apiserver", "kube-apiserver", .stop("kube-apiserver"), "has not stopped"),
            (
                "old-certificate-kube-apiserver", "kube-apiserver", .prove("kube-apiserver"),
                "shows the certificate with serial"
            ),
            (
                "no-stop-kube-controller-manager", "kube-controller-manager", .stop("kube-controller-manager"),
                "has not stopped"
            ),
            ("not-ready-kube-scheduler", "kube-scheduler", .prove("kube-scheduler"), "answers 500"),
            ("no-start-etcd", "etcd", .prove("etcd"), "Connection refused"),
        ]
        for point in points {
            node.control(point.control, true)
            let decision = options.decide(now: now)
            let result = try await node.renewal(options, impatientWith: point.component).run(decision.plan)
            node.control(point.control, false)
            #expect(result.outcome == .rolledBack, "\(point.control): \(result.notes)")
            #expect(result.failedStep == point.step, "\(point.control): \(result.problem ?? "")")
            #expect(result.problem?.contains(point.reason) == true, "\(point.control): \(result.problem ?? "")")
            #expect(throws: JobError.self) { try CertificateJob.summary(result) }
            #expect(node.serials() == old, "\(point.control)")
            #expect(StaticPodManifest.read(directory: node.layout.manifests).count == 4, "\(point.control)")
            try await node.proveAll()
        }
        // And once nothing is in the way, it goes well.
        #expect(try await node.renewal(options).run(options.decide(now: now).plan).outcome == .done)
    }

    @Test(.timeLimit(.minutes(10))) func saysWhatItCannotRenew() async throws {
        let node = try StandInNode(days: 5)
        let pki = node.layout.pki
        try FileSystem.removeFile(pki + "/ca.key")
        try FileSystem.removeFile(pki + "/front-proxy-client.crt")
        try AtomicFile.write(Array("garbage".utf8), to: pki + "/etcd/peer.crt")
        try AtomicFile.write(Array("kind: KubeletConfiguration\n".utf8), to: node.directory + "/kubelet/config.yaml")
        let decision = node.options.decide(now: now)
        #expect(
            decision.plan.items.map(\.name) == ["apiserver-etcd-client", "etcd-healthcheck-client", "etcd-server"])
        #expect(decision.plan.components == ["kube-apiserver", "etcd"])
        func told(_ lines: [String], _ file: String, _ advice: String) -> Bool {
            lines.contains { $0.contains(file) && $0.contains(advice) }
        }
        #expect(told(decision.blocked, "/apiserver.crt", "have the authority sign a new one"))
        #expect(told(decision.blocked, "/admin.conf", "have the authority sign a new one"))
        #expect(told(decision.blocked, "/front-proxy-client.crt", "kubeadm init phase certs front-proxy-client"))
        #expect(told(decision.blocked, "/etcd/peer.crt", "make it anew"))
        #expect(told(decision.notes, "/config.yaml", "rotateCertificates: true"))
        #expect(told(decision.notes, "/kubelet.crt", "remove both and restart kubelet"))
    }

    @Test(.timeLimit(.minutes(10))) func seesInTheHandshakeWhatThePortsShow() async throws {
        let node = try StandInNode(days: 100)
        try await node.proveAll()
        let inventory = CertificateInventory(layout: node.layout)
        let served = inventory.served()
        // kubelet's port is closed here.
        #expect(
            served.map(\.endpoint.component).sorted() == ["etcd", "etcd"] + StandInNode.components.dropLast() + [
                "kubelet"
            ]
        )
        #expect(served.filter { $0.endpoint.component == "etcd" }.map(\.showsFile) == [true, true])
        let apiserver = try #require(served.first { $0.endpoint.component == "kube-apiserver" })
        #expect(apiserver.showsFile == true)
        // Renewed on disk, not restarted: the file and the port differ.
        var options = node.options
        options.names = ["apiserver"]
        options.force = true
        options.restart = false
        let result = try await node.renewal(options).run(options.decide(now: now).plan)
        #expect(result.outcome == .done)
        let after = try #require(inventory.served().first { $0.endpoint.component == "kube-apiserver" })
        #expect(after.showsFile == false)
        #expect(after.told.problem?.contains("restart it") == true)
        #expect(try after.served.get().serial == apiserver.served.get().serial)
    }

    @Test(.timeLimit(.minutes(10))) func expiredCertificatesAreNotPutBack() async throws {
        let node = try StandInNode(days: 0)
        let options = node.options
        let later = now + 86_400_000
        let decision = options.decide(now: later)
        #expect(!decision.plan.canGoBack)
        node.control("kubeadm-fails-scheduler.conf", true)
        let before = node.serials()
        let result = try await node.renewal(options).run(decision.plan)
        #expect(result.outcome == .leftForward)
        #expect(node.serials()["apiserver"] != before["apiserver"])
        #expect(StaticPodManifest.read(directory: node.layout.manifests).count == 4)
    }
}
