import FoundationEssentials
import Logging
import Platform
import TestSupport
import Testing

@testable import ClusterOps
@testable import KopsSidecar

/// Upgrades asked for over the API, against the stand-in API server: begun, gone on with, asked to end.
@Suite(.enabled(if: KubeAPIStandIn.isPossible, "needs python3"))
struct UpgradeRouteTests {
    private final class Bench: Sendable {
        let directory: String
        let server: KubeAPIStandIn
        let routes: RouteTable
        let jobs: JobRunner
        let journal: FileUpgradeJournal
        let changes: Lock<[String]>

        init() throws {
            directory = try scratchDirectory()
            server = try KubeAPIStandIn(["--kubernetes", "1.20"])
            try AtomicFile.write(
                Array(
                    """
                    {"apiVersion": "v1", "kind": "Config", "current-context": "c",
                     "clusters": [{"name": "k", "cluster": {"server": "\(server.url)"}}], "users": [{"name": "u", "user": {}}],
                     "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}
                    """.utf8), to: directory + "/kubeconfig")
            try AtomicFile.write(
                Array(
                    """
                    storage: {path: \(directory)/data}
                    cluster: {name: test, kubeconfig: \(directory)/kubeconfig}
                    upgrade: {executor: local, gates: [{window: {from: "00:00", to: "00:01", days: [mon]}}]}
                    """.utf8), to: directory + "/c.yml")
            try FileSystem.makeDirectories(directory + "/data")
            let metrics = MetricRegistry()
            let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            let config = try SidecarConfig.load(directory + "/c.yml")
            let upgrade = UpgradeService(config, metrics: metrics, log: log) { _ in [] }
            jobs = try JobRunner(path: directory + "/jobs.sqlite", clock: .system, metrics: metrics, log: log)
            jobs.apply([upgrade.job])
            journal = FileUpgradeJournal(directory: directory + "/data")
            let changes = Lock<[String]>([])
            self.changes = changes
            routes = RouteTable(
                UpgradeRoutes(upgrade, jobs: jobs).routes, access: WebAccess(log: log), metrics: metrics, log: log,
                changed: { request, status in changes.withLock { $0.append("\(request.path) \(status)") } })
        }

        deinit {
            server.stop()
            try? FileSystem.removeTree(directory)
        }

        func ask(_ method: String, _ what: String, _ parameters: [(String, String)] = []) async -> (Int, String) {
            let reply = await routes.answer(
                APIRequest(method: method, path: "/api/kops/v1/upgrade\(what)", parameters: parameters))
            guard case .bytes(let bytes) = reply.body else { return (reply.status, "") }
            return (reply.status, String(decoding: bytes, as: UTF8.self))
        }

        func state() async throws -> String {
            struct Answer: Decodable {
                struct Status: Decodable { var state: String }
                var data: Status
            }
            return try JSONDecoder().decode(Answer.self, from: Data(await ask("GET", "").1.utf8)).data.state
        }

        /// A control plane that is at 1.20.3 already, and `worker` for a second node.
        func putCluster(worker: String = "") async throws {
            try await server.put(
                """
                [{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "cp1", "labels": {"node-role.kubernetes.io/master": ""}},
                  "status": {"nodeInfo": {"kubeletVersion": "v1.20.3"}, "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}],
                    "conditions": [{"type": "Ready", "status": "True"}]}},
                 {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "kube-system", "name": "kube-apiserver-cp1", "uid": "u1",
                    "labels": {"component": "kube-apiserver", "tier": "control-plane"},
                    "annotations": {"kubernetes.io/config.mirror": "x"}},
                  "spec": {"nodeName": "cp1", "containers": [{"name": "c", "image": "k8s.gcr.io/kube-apiserver:v1.20.3"}]},
                  "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}},
                 {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "kube-system", "name": "kubeadm-config"},
                  "data": {"ClusterConfiguration": "kubernetesVersion: v1.20.3\\n"}}\(worker)]
                """)
        }
    }

    private func run(_ state: UpgradeRun.State) -> UpgradeRun {
        UpgradeRun(
            id: "r", cluster: "test", target: KubernetesVersion(1, 20, 3), owner: .terminal, startedAt: 0, state: state,
            maxUnavailable: 1, visits: [.init(node: "", kind: .cluster, group: 6, steps: [.proveCluster])], nodes: [:],
            overrides: [])
    }

    @Test func anUpgradeIsBegunByTheAPIAndComesToItsEnd() async throws {
        let bench = try Bench()
        try await bench.putCluster()
        #expect(try await bench.state() == "none")
        // A gate refuses, names itself, and can be passed over.
        let refused = await bench.ask("POST", "/apply", [("to", "v1.20.3")])
        #expect(refused.0 == 400 && refused.1.contains("override with --force window"), "\(refused)")
        #expect(try bench.journal.load() == nil)
        let begun = await bench.ask("POST", "/apply", [("to", "v1.20.3"), ("force", "window")])
        #expect(begun.0 == 200 && begun.1.contains("begun"), "\(begun)")
        try await eventually("it is finished") { try await bench.state() == "finished" }
        let end = try #require(try bench.journal.load())
        #expect(end.owner == .service && end.target == KubernetesVersion(1, 20, 3) && end.overrides == ["window"])
        try await eventually("the job has ended") {
            try bench.jobs.history("upgrade", limit: 1).first?.result == .success
        }
        #expect(try bench.jobs.history("upgrade", limit: 1).first?.message == "test is at v1.20.3")
        // Whoever asks for a change is told of to the audit trail, refused or not.
        #expect(
            bench.changes.withLock { $0 } == [
                "/api/kops/v1/upgrade/apply 400", "/api/kops/v1/upgrade/apply 200",
            ])
        let plan = await bench.ask("GET", "/plan", [("to", "v1.20.3")])
        #expect(plan.0 == 200 && plan.1.contains("every node is at v1.20.3 already"), "\(plan)")
    }

    @Test func whatCannotBeBegunIsRefusedAndNothingIsWritten() async throws {
        let bench = try Bench()
        for (what, parameters) in [("/apply", [("to", "latest")]), ("/apply", []), ("/plan", [("to", "1")])] {
            let answer = await bench.ask(what == "/plan" ? "GET" : "POST", what, parameters)
            #expect(answer.0 == 400 && answer.1.contains("is no version of Kubernetes"), "\(answer)")
        }
        for what in ["/pause", "/abort", "/resume"] {
            let answer = await bench.ask("POST", what)
            #expect(answer.0 == 400 && answer.1.contains("no upgrade"), "\(what) \(answer)")
        }
        // A worker that this machine, which executor: local says is the only one, cannot reach.
        try await bench.putCluster(
            worker: """
                , {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "w1"},
                   "status": {"nodeInfo": {"kubeletVersion": "v1.20.2"}, "conditions": [{"type": "Ready", "status": "True"}]}}
                """)
        let machines = await bench.ask("POST", "/apply", [("to", "v1.20.3"), ("force", "window")])
        #expect(machines.0 == 400 && machines.1.contains("say ssh, or executor: local for this node"), "\(machines)")
        bench.server.stop()
        let away = await bench.ask("POST", "/apply", [("to", "v1.20.3"), ("force", "window")])
        #expect(away.0 == 422 && away.1.contains("the API server does not tell"), "\(away)")
        #expect(try bench.journal.load() == nil && bench.jobs.history("upgrade", limit: 1).isEmpty)
    }

    @Test func oneThatIsPausedGoesOnOrIsEndedByTheAPI() async throws {
        let bench = try Bench()
        try await bench.putCluster()
        try bench.journal.save(run(.paused))
        #expect(try await bench.state() == "paused")
        let second = await bench.ask("POST", "/apply", [("to", "v1.20.4")])
        #expect(second.0 == 400 && second.1.contains("an upgrade to v1.20.3 is paused"), "\(second)")
        #expect(await bench.ask("POST", "/resume").0 == 200)
        try await eventually("it is finished") { try await bench.state() == "finished" }
        #expect(await bench.ask("POST", "/resume").0 == 400)
        // Nobody is at a run that is stopped: the job takes its cordons back.
        try bench.journal.save(run(.stopped))
        #expect(await bench.ask("POST", "/abort").0 == 200)
        try await eventually("it is aborted") { try await bench.state() == "aborted" }
        try await eventually("the job lets go") {
            !bench.journal.isLocked && !bench.jobs.list().contains(where: \.running)
        }
        // A terminal is at it: it is asked.
        try bench.journal.save(run(.running))
        let lock = try bench.journal.lock()
        for request in [UpgradeMachine.Request.pause, .abort] {
            async let asked = bench.ask("POST", "/\(request.rawValue)")
            try await eventually("it is asked") { bench.journal.takeRequest() == request }
            let answer = await asked
            #expect(answer.0 == 200 && answer.1.contains("asked to \(request.rawValue)"), "\(answer)")
        }
        withExtendedLifetime(lock) {}
    }

    /// Whoever was at the run has looked for requests for the last time, but holds its lock still.
    @Test func whatIsAskedOfOneThatIsJustLeavingIsDoneByTheJob() async throws {
        let bench = try Bench()
        try await bench.putCluster()
        try bench.journal.save(run(.stopped))
        let leaving = Lock<FileLock?>(try bench.journal.lock())
        async let asked = bench.ask("POST", "/abort")
        try await eventually("it is asked") { FileSystem.exists(bench.directory + "/data/upgrade.request") }
        leaving.withLock { $0 = nil }
        #expect(await asked.0 == 200)
        try await eventually("it is aborted") { try await bench.state() == "aborted" }
        try await eventually("the job lets go") { !bench.jobs.list().contains(where: \.running) }
        #expect(bench.journal.takeRequest() == nil)
    }
}
