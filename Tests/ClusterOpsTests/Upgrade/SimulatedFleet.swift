import Platform

@testable import ClusterOps

/// A cluster and its machines, simulated: no Kubernetes and no machine, but with their manners as far as an upgrade meets
/// them. Kubelets take time to come back, pods take time to end and are made anew elsewhere, budgets forbid evictions.
final class SimulatedFleet: Sendable, UpgradeCluster {
    struct Machine {
        var isControlPlane = false
        var kubeadm: KubernetesVersion
        var kubeletBinary: KubernetesVersion
        var kubelet: KubernetesVersion
        var apiserver: KubernetesVersion
        var isUnschedulable = false
        var annotation: String?
        var resourceVersion = 1
        /// When its kubelet is Ready again after a restart; never where nil.
        var readyAt: Int64? = 0
        var comesBack = true
        var isInCluster = true
        var error: ExecutorError?
        var lacks: Set<String> = []
        var held: Set<String> = ["kubeadm", "kubelet"]
    }

    struct Pod {
        var pod: ClusterPod
        var endsAt: Int64?
        var readyAt: Int64
        /// Never ends once told to.
        var isStuck = false
    }

    struct State {
        var machines: [String: Machine] = [:]
        var pods: [Pod] = []
        /// Fewest healthy pods by application.
        var minimum: [String: Int] = [:]
        var configured: KubernetesVersion
        var awayUntil: Int64 = 0
        /// What was done, as `node action`.
        var log: [String] = []
        var serial = 0
        var mostCordoned = 0
        var fewestHealthy: [String: Int] = [:]
        /// After a kill nothing happens any more.
        var isDead = false
        var commands = 0
        /// The process dies after so many commands had their effect.
        var diesAfterCommand: Int?
        var kubeadmDoesNothing = false
        var kubeadmFailures = 0
        /// The API goes away for that long whenever a command or call of this kind begins.
        var outageAtStep: (text: String, milliseconds: Int64)?
        /// Those who wait until something was done.
        var waiting: [(entry: String, continuation: CheckedContinuation<Void, Never>)] = []

        mutating func logged(_ entry: String) {
            log.append(entry)
            for waiter in waiting where entry.hasPrefix(waiter.entry) { waiter.continuation.resume() }
            waiting.removeAll { entry.hasPrefix($0.entry) }
        }
    }

    let time: SimulatedTime
    let state: Lock<State>
    let old = KubernetesVersion(1, 20, 2)
    let new = KubernetesVersion(1, 20, 3)

    init(controlPlanes: Int = 3, workers: Int = 5, time: SimulatedTime = SimulatedTime()) {
        self.time = time
        let begin = KubernetesVersion(1, 20, 2)
        var state = State(configured: begin)
        func machine(_ isControlPlane: Bool) -> Machine {
            Machine(
                isControlPlane: isControlPlane, kubeadm: begin, kubeletBinary: begin, kubelet: begin, apiserver: begin)
        }
        for i in 1...controlPlanes { state.machines["cp\(i)"] = machine(true) }
        if workers > 0 { for i in 1...workers { state.machines["w\(i)"] = machine(false) } }
        self.state = Lock(state)
        guard workers > 1 else { return }
        for i in 0..<6 { add("web", node: "w\(i % workers + 1)") }
        for i in 1...workers { add("agent", node: "w\(i)", kind: "DaemonSet") }
        self.state.withLock { $0.minimum["web"] = 5 }
    }

    func add(_ app: String, node: String, kind: String? = "ReplicaSet", change: (inout ClusterPod) -> Void = { _ in }) {
        state.withLock { state in
            state.serial += 1
            var pod = ClusterPod(namespace: "default", name: "\(app)-\(state.serial)")
            pod.uid = "u\(state.serial)"
            pod.node = node
            pod.labels = ["app": app]
            pod.controllerKind = kind
            change(&pod)
            state.pods.append(Pod(pod: pod, readyAt: 0))
        }
    }

    var log: [String] { state.withLock { $0.log } }

    func change(_ name: String, _ body: (inout Machine) -> Void) {
        state.withLock { state in
            if var machine = state.machines[name] {
                body(&machine)
                machine.resourceVersion += 1
                state.machines[name] = machine
            }
        }
    }

    /// Returns as soon as something that begins with this was done, in the same moment of the simulated time.
    func done(_ entry: String) async {
        await withCheckedContinuation { continuation in
            state.withLock { state in
                if state.log.contains(where: { $0.hasPrefix(entry) }) {
                    continuation.resume()
                } else {
                    state.waiting.append((entry, continuation))
                }
            }
        }
    }

    struct Dead: Error {}

    // MARK: What time does

    private func advance(_ state: inout State) {
        let now = time.now
        for pod in state.pods where pod.endsAt.map({ $0 <= now }) ?? false { made(anew: pod.pod, &state) }
        state.pods.removeAll { $0.endsAt.map { $0 <= now } ?? false }
        for index in state.pods.indices where state.pods[index].pod.node.isEmpty { place(index, &state) }
        for (app, _) in state.minimum {
            let healthy = state.pods.count { isHealthy($0, app, now) }
            state.fewestHealthy[app] = min(state.fewestHealthy[app] ?? .max, healthy)
        }
        let cordoned = state.machines.values.count { !$0.isControlPlane && $0.annotation != nil && $0.isInCluster }
        state.mostCordoned = max(state.mostCordoned, cordoned)
    }

    private func isHealthy(_ pod: Pod, _ app: String, _ now: Int64) -> Bool {
        pod.pod.labels["app"] == app && pod.endsAt == nil && pod.readyAt <= now
    }

    /// A ReplicaSet makes a new pod on a node that takes some.
    private func made(anew old: ClusterPod, _ state: inout State) {
        guard old.controllerKind == "ReplicaSet" else { return }
        state.serial += 1
        var pod = old
        pod.name = "\(old.labels["app"] ?? "")-\(state.serial)"
        pod.uid = "u\(state.serial)"
        pod.node = ""
        pod.isTerminating = false
        state.pods.append(Pod(pod: pod, readyAt: .max))
        place(state.pods.count - 1, &state)
    }

    /// The scheduler: a pod without a node gets one once there is one that takes it.
    private func place(_ index: Int, _ state: inout State) {
        let open = state.machines.filter {
            !$0.value.isControlPlane && !$0.value.isUnschedulable && $0.value.isInCluster && isReady($0.value)
        }.keys.sorted()
        let counts = open.map { name in (state.pods.count { $0.pod.node == name }, name) }
        guard let node = counts.min(by: { $0 < $1 })?.1 else { return }
        state.pods[index].pod.node = node
        state.pods[index].readyAt = time.now + 3000
    }

    private func isReady(_ machine: Machine) -> Bool { machine.readyAt.map { $0 <= time.now } ?? false }

    // MARK: The API

    private func api<T: Sendable>(
        _ what: String, _ body: (inout State) throws(ClusterCallError) -> T
    ) throws(ClusterCallError) -> T {
        let result = state.withLock { state -> Result<T, ClusterCallError> in
            if state.isDead { return .failure(ClusterCallError(.refused, "killed")) }
            if let outage = state.outageAtStep, outage.text == what {
                state.outageAtStep = nil
                state.awayUntil = time.now + outage.milliseconds
            }
            if state.awayUntil > time.now { return .failure(ClusterCallError(.away, "connection refused")) }
            advance(&state)
            do throws(ClusterCallError) {
                let value = try body(&state)
                advance(&state)
                return .success(value)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    func serverVersion() async throws(ClusterCallError) -> KubernetesVersion {
        try api("version") { state throws(ClusterCallError) in state.machines["cp1"]?.apiserver ?? old }
    }

    func configuredVersion() async throws(ClusterCallError) -> KubernetesVersion? {
        try api("configured") { state throws(ClusterCallError) in state.configured }
    }

    private func node(_ name: String, _ machine: Machine) -> ClusterNode {
        var node = ClusterNode(name: name)
        node.resourceVersion = "\(machine.resourceVersion)"
        node.isControlPlane = machine.isControlPlane
        node.isReady = isReady(machine)
        node.readyMessage = "kubelet stopped posting node status"
        node.kubelet = machine.kubelet
        node.address = "10.0.0.\(name.utf8.reduce(0) { $0 + Int($1) } % 250)"
        node.isUnschedulable = machine.isUnschedulable
        node.cordonedBy = machine.annotation
        return node
    }

    func nodes() async throws(ClusterCallError) -> [ClusterNode] {
        try api("nodes") { state throws(ClusterCallError) in
            state.machines.filter(\.value.isInCluster).sorted { $0.key < $1.key }.map { node($0.key, $0.value) }
        }
    }

    func node(_ name: String) async throws(ClusterCallError) -> ClusterNode? {
        try api("node") { state throws(ClusterCallError) in
            state.machines[name].flatMap { $0.isInCluster ? node(name, $0) : nil }
        }
    }

    func pods(on name: String?) async throws(ClusterCallError) -> [ClusterPod] {
        try api("pods") { state throws(ClusterCallError) in
            var out = state.pods.map { entry in
                var pod = entry.pod
                pod.isReady = entry.endsAt == nil && entry.readyAt <= time.now
                return pod
            }
            for (node, machine) in state.machines where machine.isControlPlane && machine.isInCluster {
                for component in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
                    var pod = ClusterPod(namespace: "kube-system", name: "\(component)-\(node)")
                    pod.node = node
                    pod.isMirror = true
                    pod.labels = ["component": component, "tier": "control-plane"]
                    pod.images = ["k8s.gcr.io/\(component):\(machine.apiserver)"]
                    out.append(pod)
                }
            }
            return name.map { name in out.filter { $0.node == name } } ?? out
        }
    }

    func budgets() async throws(ClusterCallError) -> [ClusterBudget] {
        try api("budgets") { state throws(ClusterCallError) in
            state.minimum.sorted { $0.key < $1.key }.map { app, minimum in
                var budget = ClusterBudget(namespace: "default", name: app) { $0["app"] == app }
                budget.expectedPods = state.pods.count { $0.pod.labels["app"] == app }
                budget.currentHealthy = state.pods.count { isHealthy($0, app, time.now) }
                budget.desiredHealthy = minimum
                budget.disruptionsAllowed = max(0, budget.currentHealthy - minimum)
                return budget
            }
        }
    }

    func cordon(_ node: ClusterNode, run: String) async throws(ClusterCallError) {
        try setCordon(node, true, run)
    }

    func uncordon(_ node: ClusterNode) async throws(ClusterCallError) { try setCordon(node, false, nil) }

    private func setCordon(_ node: ClusterNode, _ isOn: Bool, _ run: String?) throws(ClusterCallError) {
        try api(isOn ? "cordon" : "uncordon") { state throws(ClusterCallError) in
            guard var machine = state.machines[node.name], machine.isInCluster else {
                throw ClusterCallError(.notFound, "no node \(node.name)")
            }
            guard "\(machine.resourceVersion)" == node.resourceVersion else {
                throw ClusterCallError(.conflict, "the object has been modified")
            }
            machine.resourceVersion += 1
            machine.isUnschedulable = isOn
            machine.annotation = run
            state.machines[node.name] = machine
            state.logged("\(node.name) \(isOn ? "cordon" : "uncordon")")
        }
    }

    func evict(_ pod: ClusterPod, gracePeriod: Int64?) async throws(ClusterCallError) -> EvictionAnswer {
        try api("evict") { state throws(ClusterCallError) in
            guard let index = state.pods.firstIndex(where: { $0.pod.uid == pod.uid }) else { return .gone }
            if state.pods[index].endsAt != nil { return .accepted }
            let app = pod.labels["app"] ?? ""
            if let minimum = state.minimum[app], isHealthy(state.pods[index], app, time.now),
                state.pods.count(where: { isHealthy($0, app, time.now) }) <= minimum
            {
                return .blocked("The disruption budget \(app) needs \(minimum) healthy pods")
            }
            end(index, &state)
            state.logged("\(pod.node) evict \(app)")
            return .accepted
        }
    }

    func delete(_ pod: ClusterPod, gracePeriod: Int64?) async throws(ClusterCallError) {
        try api("delete") { state throws(ClusterCallError) in
            guard let index = state.pods.firstIndex(where: { $0.pod.uid == pod.uid }) else {
                throw ClusterCallError(.notFound, "no pod")
            }
            end(index, &state)
            state.logged("\(pod.node) delete \(pod.labels["app"] ?? "")")
        }
    }

    private func end(_ index: Int, _ state: inout State) {
        state.pods[index].pod.isTerminating = true
        state.pods[index].endsAt = state.pods[index].isStuck ? .max : time.now + 2500
    }

    func deprecatedAPIs() async throws(ClusterCallError) -> [DeprecatedAPI] { [] }

    func checkReady() async throws(ClusterCallError) { try api("ready") { _ throws(ClusterCallError) in } }

    // MARK: The machines

    func executor(_ name: String) -> ScriptedExecutor {
        ScriptedExecutor(name) { [self] command throws(ExecutorError) in
            let answer = state.withLock { state -> Result<CommandResult, ExecutorError> in
                if state.isDead { return .failure(ExecutorError(.notStarted, host: name, "killed")) }
                if let error = state.machines[name]?.error { return .failure(error) }
                advance(&state)
                let result = self.answer(name, command.arguments, &state)
                state.commands += 1
                if state.commands == state.diesAfterCommand { state.isDead = true }
                return .success(result)
            }
            return try answer.get()
        }
    }

    private func answer(_ name: String, _ arguments: [String], _ state: inout State) -> CommandResult {
        guard var machine = state.machines[name] else { return CommandResult(status: 1) }
        defer { state.machines[name] = machine }
        func done(_ output: String = "") -> CommandResult { CommandResult(status: 0, output: output) }
        let text = arguments.joined(separator: " ")
        switch arguments.first {
        case "id": return done("0\n")
        case "sh": return done(text.contains("kubectl") ? "/usr/bin/kubectl\n" : "/usr/bin/apt-get\n")
        case "apt-get": return done()
        case "apt-cache":
            let package = arguments.last ?? ""
            guard !machine.lacks.contains(package) else { return done(" \(package) | 1.20.2-00 | http://x Packages\n") }
            return done(" \(package) | 1.20.3-00 | http://x Packages\n \(package) | 1.20.2-00 | http://x Packages\n")
        case "apt-mark":
            if arguments[1] == "showhold" { return done(machine.held.sorted().joined(separator: "\n")) }
            machine.held.formUnion(arguments.dropFirst(2))
            return done()
        case "env":
            for word in arguments where word.hasSuffix("=1.20.3-00") {
                let package = String(word.prefix { $0 != "=" })
                // Installing takes the hold away.
                machine.held.remove(package)
                if package == "kubeadm" { machine.kubeadm = new }
                if package == "kubelet" { machine.kubeletBinary = new }
                state.logged("\(name) install \(package)")
            }
            return done()
        case "kubeadm":
            if arguments[1] == "version" { return done("\(machine.kubeadm)\n") }
            if arguments.contains("plan") { return done() }
            if state.awayUntil > time.now {
                return CommandResult(status: 1, errors: "error: connection refused")
            }
            if state.kubeadmFailures > 0 {
                state.kubeadmFailures -= 1
                return CommandResult(status: 1, errors: "[upgrade/apply] FATAL: timed out")
            }
            state.logged("\(name) \(arguments[2])")
            if state.kubeadmDoesNothing { return done() }
            if machine.isControlPlane, machine.kubeadm == new { machine.apiserver = new }
            if arguments[2] == "apply" { state.configured = new }
            return done("[upgrade/successful] SUCCESS!\n")
        case "kubelet": return done("Kubernetes \(machine.kubeletBinary)\n")
        case "systemctl":
            if arguments[1] == "restart" {
                machine.kubelet = machine.comesBack ? machine.kubeletBinary : machine.kubelet
                machine.readyAt = machine.comesBack ? time.now + 8000 : nil
                machine.resourceVersion += 1
                state.logged("\(name) restart")
            }
            return done()
        case "df": return done("Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/a 9 9 90000000 1% /\n")
        case "du": return done("50000\t/var/lib/etcd\n")
        default: return CommandResult(status: 127, errors: "\(text): not found")
        }
    }

    // MARK: Running

    var options: UpgradeOptions {
        var options = UpgradeOptions()
        options.maxUnavailable = 2
        options.drain.timeout = 300_000
        return options
    }

    func context(_ options: UpgradeOptions? = nil) -> UpgradeContext {
        UpgradeContext(
            cluster: self, options: options ?? self.options, pacing: time.pacing, here: executor("here"),
            executor: { name, _ in self.executor(name) }, sendHTTP: { _, _ in 200 })
    }

    func begin(
        _ journal: MemoryJournal, options: UpgradeOptions? = nil, gates: [UpgradeGate] = [],
        overrides: Set<String> = []
    ) async throws {
        try await time.run { [self] in
            let planner = UpgradePlanner(context: context(options), clusterName: "sim", gates: gates)
            let (_, run) = try await planner.admit(target: new, owner: .terminal, overrides: overrides)
            try journal.save(run)
        }
    }

    /// Goes on with the journal's run, as a process that has just started would.
    /// `meanwhile` lives in the same time.
    func go(
        _ journal: MemoryJournal, options: UpgradeOptions? = nil, context changed: UpgradeContext? = nil,
        meanwhile: @escaping @Sendable () async throws -> Void = {}
    ) async throws -> UpgradeRun {
        state.withLock { $0.isDead = false }
        journal.revive()
        let context = changed ?? context(options)
        return try await time.run {
            async let other: Void = meanwhile()
            let run = try await UpgradeRunner(context: context, journal: journal) { _ in }.run()
            try await other
            return run
        }
    }

    func go(resuming journal: MemoryJournal, options: UpgradeOptions? = nil) async throws -> UpgradeRun {
        guard let loaded = try journal.load() else { throw Dead() }
        var machine = UpgradeMachine(loaded)
        machine.resume(at: time.now)
        try journal.save(machine.run)
        return try await go(journal, options: options)
    }
}

/// A journal in memory, which can be made to lose the process at any write.
final class MemoryJournal: UpgradeJournal {
    private struct State {
        var bytes: UpgradeRun?
        var saves = 0
        var diesAt: Int?
        /// Whether the write that kills is still made.
        var keepsLast = true
        var isDead = false
        var request: UpgradeMachine.Request?
        var observer: (@Sendable (Int, UpgradeRun) -> Void)?
    }

    private let state = Lock(State())
    private let fleet: SimulatedFleet

    init(_ fleet: SimulatedFleet) { self.fleet = fleet }

    var saves: Int { state.withLock { $0.saves } }
    func die(at save: Int, keepingIt: Bool) {
        state.withLock {
            $0.diesAt = save
            $0.keepsLast = keepingIt
        }
    }
    func revive() { state.withLock { $0.isDead = false } }
    /// Told of each write and its number after it was made, before what was written down is done.
    func observe(_ body: (@Sendable (Int, UpgradeRun) -> Void)?) { state.withLock { $0.observer = body } }
    func ask(_ request: UpgradeMachine.Request) { state.withLock { $0.request = request } }

    func load() throws -> UpgradeRun? { state.withLock { $0.bytes } }

    func save(_ run: UpgradeRun) throws {
        let dies = try state.withLock { state in
            if state.isDead || fleet.state.withLock({ $0.isDead }) { throw SimulatedFleet.Dead() }
            state.saves += 1
            let dies = state.saves == state.diesAt
            if !dies || state.keepsLast { state.bytes = run }
            state.isDead = dies
            if dies { state.diesAt = nil }
            return dies
        }
        if dies {
            fleet.state.withLock { $0.isDead = true }
            throw SimulatedFleet.Dead()
        }
        let (observer, number) = state.withLock { ($0.observer, $0.saves) }
        observer?(number, run)
    }

    func takeRequest() -> UpgradeMachine.Request? {
        state.withLock { state in
            defer { state.request = nil }
            return state.request
        }
    }
}
