import FoundationEssentials
import Platform
import TestSupport
import Testing

@testable import ClusterOps
@testable import Kubernetes

/// What a genuine Kubernetes 1.36 answers, and what its kubeadm writes and prints, as far as upgrades, certificates and doctor
/// read it. The recordings lie beside this repository; without them nothing is checked.
@Suite(
    .enabled(
        if: recording("kubernetes/objects/nodes.json") != nil && KubeAPIStandIn.isPossible,
        "needs ../shared/recordings and python3"))
struct GenuineAnswerTests {
    private func text(_ path: String) throws -> String {
        String(decoding: try #require(recording(path), "\(path)"), as: UTF8.self)
    }

    private func printed(_ name: String) throws -> String { try text("kubeadm/v1.36/" + name) }

    private func withServer(
        _ body: (KubernetesClient) async throws -> Void
    ) async throws {
        let server = try KubeAPIStandIn(["--kubernetes", "1.36"])
        defer { server.stop() }
        let objects = "kubernetes/objects/"
        for (path, file) in [
            ("/api/v1/nodes", objects + "nodes.json"), ("/api/v1/nodes/cp1", objects + "node-cp1.json"),
            ("/api/v1/pods", objects + "pods-all.json"), ("/api/v1/namespaces", objects + "namespaces.json"),
            ("/apis/policy/v1/poddisruptionbudgets", objects + "poddisruptionbudgets.json"),
            (
                "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
                objects + "configmap-kubeadm-config.json"
            ),
            ("/version", "kubernetes/discovery/version.json"),
        ] {
            try await server.control(
                "route",
                "{\"path\": \"\(path)\", \"status\": 200, \"type\": \"application/json\", \"body\": \(text(file))}")
        }
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        try await body(KubernetesClient(ClusterAccess(server: server.url), http: http))
    }

    @Test func anUpgradeSeesTheClusterAsItIs() async throws {
        try await withServer { client in
            let cluster = KubernetesUpgradeCluster(client)
            let current = KubernetesVersion(1, 36, 2), target = KubernetesVersion(1, 36, 3)
            #expect(try await cluster.serverVersion() == current)
            #expect(try await cluster.configuredVersion() == current)
            let nodes = try await cluster.nodes()
            #expect(nodes.map(\.name) == ["cp1", "w1"] && nodes.map(\.isControlPlane) == [true, false])
            #expect(nodes.allSatisfy { $0.isReady && $0.kubelet == current && !$0.address.isEmpty })
            #expect(try await cluster.node("cp1")?.kubelet == current)
            let pods = try await cluster.pods(on: nil)
            for component in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
                let pod = try #require(pods.first { $0.isMirror && $0.labels["component"] == component })
                #expect(pod.images.compactMap(imageVersion) == [current] && pod.isReady, "\(component)")
            }
            let etcd = try #require(pods.first { $0.isMirror && $0.labels["component"] == "etcd" })
            #expect(etcd.node == "cp1")
            let budgets = try await cluster.budgets()
            #expect(budgets.map(\.id).sorted().map { $0.split(separator: "/").last } == ["db", "web"])
            #expect(budgets.allSatisfy { budget in pods.contains(where: budget.protects) })

            // The whole plan, the machines being stand-ins.
            let machine = SimulatedFleet(controlPlanes: 1, workers: 1)
            let context = UpgradeContext(
                cluster: cluster, options: UpgradeOptions(), pacing: .real, here: machine.executor("cp1"),
                executor: { _, _ in
                    ScriptedExecutor("node") { command in
                        let words = command.arguments
                        switch words.first {
                        case "id": return CommandResult(status: 0, output: "0\n")
                        case "sh": return CommandResult(status: 0, output: "/usr/bin/apt-get\n")
                        case "apt-cache":
                            return CommandResult(
                                status: 0, output: " \(words.last ?? "") | 1.36.3-1.1 | https://pkgs\n")
                        case "df":
                            return CommandResult(
                                status: 0,
                                output:
                                    "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a 9 9 90000000 1% /\n"
                            )
                        default: return CommandResult(status: 0)
                        }
                    }
                }, sendHTTP: { _, _ in 200 })
            let (plan, run) = try await UpgradePlanner(context: context, clusterName: "c", gates: []).plan(
                target: target)
            #expect(plan.current == current && plan.nodes.map(\.apiserver) == ["v1.36.2", ""])
            #expect(
                !plan.obstacles.contains { ["skew", "control-plane", "machines"].contains($0.gate) },
                "\(plan.obstacles)")
            #expect(run.visits.map(\.node) == ["cp1", "cp1", "w1", ""])
            // The sick pods of that cluster that no controller would bring back are named.
            #expect(plan.obstacles.contains { $0.gate == "pods" && $0.text.contains("has no controller") })
            #expect(plan.budgets.map(\.name).sorted().map { $0.split(separator: "/").last }.contains("web"))
            // A minor is never skipped.
            let far = try await UpgradePlanner(context: context, clusterName: "c", gates: []).plan(
                target: KubernetesVersion(1, 38, 0))
            #expect(far.plan.obstacles.contains { $0.gate == "skew" && $0.text.contains("skips a minor version") })
        }
        let metrics = try Gzip.decompress(try #require(recording("metrics/kube-apiserver.1.txt.gz")), limit: 64 << 20)
        #expect(DeprecatedAPI.inMetrics(metrics).map(\.id).sorted() == ["v1 componentstatuses", "v1 endpoints"])
    }

    @Test func whatKubeadmPrintsIsRead() throws {
        #expect(KubeadmOutput.version(try printed("version-short.txt")) == KubernetesVersion(1, 36, 2))
        #expect(KubeadmOutput.version(try printed("version.json")) == KubernetesVersion(1, 36, 2))
        let offer = try #require(KubeadmOutput.planJSON(try printed("upgrade-plan-newer-patch.json"))?.first)
        #expect(offer.description == "version in the v1.36 series")
        #expect(
            offer.components.contains(
                KubeadmOutput.Component(name: "kube-apiserver", current: "v1.36.2", new: "v1.36.3", node: "cp1")))
        #expect(KubeadmOutput.planJSON(try printed("upgrade-plan.json")) != nil)
        // Without a network it offers nothing and warns; where its warnings come on the same stream they are no matter.
        #expect(KubeadmOutput.planJSON(try printed("upgrade-plan-offline.json")) == [])
        let around = try printed("upgrade-plan-offline.stderr.txt") + printed("upgrade-plan-newer-patch.json")
        #expect(KubeadmOutput.planJSON(around)?.first == offer)
        let minor = try #require(KubeadmOutput.planText(try printed("upgrade-plan-next-minor.txt")).first)
        #expect(
            minor.components.contains(
                KubeadmOutput.Component(name: "kubelet", current: "v1.36.2", new: "v1.37.0", node: "w1")))
        #expect(
            minor.components.contains(
                KubeadmOutput.Component(name: "kube-proxy", current: "1.36.2", new: "v1.37.0", node: "")))
        let preflight = KubeadmOutput.complaints(try printed("upgrade-apply-preflight-fails.stderr.txt"))
        #expect(preflight.contains { $0.hasPrefix("[ERROR SystemVerification]: cgroups v1") })
        #expect(preflight.contains { $0.hasPrefix("[WARNING ContainerRuntimeVersion]") })
        let skipped = KubeadmOutput.complaints(try printed("upgrade-apply-skip-minor.stderr.txt"))
        #expect(skipped.contains { $0.hasPrefix("- Specified version") || $0.hasPrefix("error: ") }, "\(skipped)")
    }

    /// The recorded files of a control plane node, with placeholders for the keys, which nobody records.
    private func node() throws -> String {
        let root = try temporaryDirectory()
        func put(_ from: String, _ to: String) throws {
            guard let bytes = recording("kubeadm/v1.36/" + from) else { return }
            try FileSystem.makeDirectories(FileSystem.parent(of: root + to))
            try AtomicFile.write(bytes, to: root + to, mode: 0o600)
        }
        let kubernetes = "/etc/kubernetes"
        for name in ["admin", "super-admin", "controller-manager", "scheduler", "kubelet"] {
            try put("conf/\(name).conf", "\(kubernetes)/\(name).conf")
        }
        for name in StandInNode.components { try put("manifests/\(name).yaml", "\(kubernetes)/manifests/\(name).yaml") }
        for name in [
            "ca", "apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-ca",
            "front-proxy-client",
            "etcd/ca", "etcd/healthcheck-client", "etcd/peer", "etcd/server",
        ] {
            try put("pki/\(name).crt", "\(kubernetes)/pki/\(name).crt")
            try AtomicFile.write(Array("no key".utf8), to: "\(root)\(kubernetes)/pki/\(name).key", mode: 0o600)
        }
        try put("kubelet/config.yaml", "/var/lib/kubelet/config.yaml")
        return root
    }

    @Test func certificatesOfTheNodeAreFoundAndTheRightPodsWouldBeRestarted() throws {
        let root = try node()
        defer { try? FileSystem.removeTree(root) }
        let directory = root + "/etc/kubernetes"
        // Manifests name /etc/kubernetes, as they do everywhere.
        for name in StandInNode.components {
            let path = "\(directory)/manifests/\(name).yaml"
            let text = try FileSystem.readText(path).replacing("/etc/kubernetes", with: directory)
            try AtomicFile.write(Array(text.utf8), to: path, mode: 0o600)
        }
        let layout = KubeadmLayout(kubernetesDirectory: directory, kubeletDirectory: root + "/var/lib/kubelet")
        let (certificates, problems) = CertificateInventory(layout: layout).scan()
        let found = Set(certificates.map { String($0.path.dropFirst(layout.kubernetesDirectory.count + 1)) })
        for file in ["pki/apiserver.crt", "pki/etcd/peer.crt", "pki/ca.crt", "admin.conf", "super-admin.conf"] {
            #expect(found.contains(file), "\(file): \(problems)")
        }
        let manifests = StaticPodManifest.read(directory: layout.manifests)
        let ports = Dictionary(
            uniqueKeysWithValues: manifests.map { ($0.component, $0.servedEndpoints(pki: layout.pki).map(\.port)) })
        #expect(ports["kube-apiserver"] == [6443] && ports["kube-controller-manager"] == [10257])
        #expect(ports["kube-scheduler"] == [10259] && Set(ports["etcd"] ?? []).isSuperset(of: [2379, 2380]))
        var options = RenewalOptions()
        options.layout = layout
        options.force = true
        let decision = options.decide(now: WallClock.system.nowMilliseconds())
        #expect(decision.plan.items.map(\.name).sorted() == KubeadmCertificate.all.map(\.name).sorted())
        #expect(decision.plan.components == StandInNode.components)
        options.names = ["scheduler.conf"]
        #expect(options.decide(now: 0).plan.components == ["kube-scheduler"])
    }

    @Test func doctorReadsTheNodeAndTheCluster() async throws {
        let root = try node()
        defer { try? FileSystem.removeTree(root) }
        var reader = HostFactsReader()
        reader.root = root
        let facts = reader.read()
        #expect(facts.role == .controlPlane)
        #expect(facts.manifests.keys.sorted() == StandInNode.components.sorted())
        #expect(facts.manifests["kube-apiserver"]?["authorization-mode"] == "Node,RBAC")
        #expect(facts.kubelet["cgroupDriver"] != nil || facts.kubelet["clusterDomain"] != nil)
        try await withServer { client in
            let cluster = try await ClusterFactsReader(client).read()
            #expect(cluster.minor == 36 && cluster.pods.count == 34)
            #expect(cluster.pods.contains { $0.id.hasPrefix("kube-system/kube-proxy") && $0.isPrivileged })
            #expect(!cluster.spaces.isEmpty && !cluster.notes.contains { $0.hasPrefix("pods") })
            let report = Doctor.examine(facts, cluster: cluster, now: WallClock.system.nowMilliseconds())
            #expect(report.role == .controlPlane && !report.findings.isEmpty)
            #expect(report.findings.allSatisfy { !$0.title.isEmpty && !$0.fix.isEmpty })
            // kubeadm's own defaults leave audit log and encryption at rest off, and nothing of it is open to strangers.
            let ids = Set(report.findings.map(\.id))
            #expect(ids.contains { $0.contains("audit") } && ids.contains { $0.contains("encryption") }, "\(ids)")
            #expect(
                !report.findings.contains { $0.severity == .critical && $0.area == .controlPlane }, "\(report.findings)"
            )
        }
    }

    @Test func theLeaseIsReadTakenAndRefused() throws {
        func lease(_ name: String) throws -> Lease {
            try JSONDecoder().decode(Lease.self, from: Data(try text("kubernetes/lease/" + name).utf8))
        }
        let created = try lease("2-create.201.json"), taken = try lease("7-take-over.200.json")
        #expect(created.spec?.holderIdentity != taken.spec?.holderIdentity)
        #expect(taken.spec?.leaseTransitions ?? 0 > created.spec?.leaseTransitions ?? 0)
        #expect(
            taken.spec?.leaseDurationSeconds ?? 0 > 0
                && taken.metadata.resourceVersion != created.metadata.resourceVersion)
        for (name, kind) in [
            ("3-create-again.409.json", KubernetesError.Kind.conflict), ("5-update-stale.409.json", .conflict),
        ] {
            let error = KubernetesError(
                status: 409, body: Array(try text("kubernetes/lease/" + name).utf8), retryAfterHeader: nil,
                request: "PUT")
            #expect(error.kind == kind, "\(name)")
        }
        let absent = KubernetesError(
            status: 404, body: Array(try text("kubernetes/lease/1-get-absent.404.json").utf8), retryAfterHeader: nil,
            request: "GET")
        #expect(absent.kind == .notFound)
    }
}
