/// Does one step of one node's turn. Each can be done again after a kill in its midst, with the same end.
struct UpgradeSteps: Sendable {
    let context: UpgradeContext
    let run: UpgradeRun
    let visit: UpgradeRun.Visit
    /// Shows what is waited for; an empty text: nothing any more.
    let tell: @Sendable (String) -> Void

    private var options: UpgradeOptions { context.options }
    private var target: KubernetesVersion { run.target }

    private var facts: UpgradeRun.NodeFacts {
        get throws {
            guard let facts = run.nodes[visit.node] else {
                throw UpgradeError(.failed, "the journal says nothing of node \(visit.node)")
            }
            return facts
        }
    }

    private func executor() throws -> any Executor {
        try context.executor(visit.node, try facts.address)
    }

    private func log(_ name: String) -> String { "/var/log/kops-sidecar-\(name).log" }

    /// A word on what was done; empty where there is nothing to add.
    func perform(_ step: UpgradeRun.Step) async throws -> String {
        if visit.position == 0 || visit.attempts > 1, !visit.node.isEmpty { try await checkNodeIsThere() }
        // One node down is enough: before another's turn, those that had theirs must stand.
        if visit.position == 0, visit.kind != .cluster { try await checkUpgradedStand() }
        switch step {
        case .snapshotHook: return try await hook(options.snapshotHook)
        case .beforeHook: return try await hook(options.beforeNode)
        case .afterHook: return try await hook(options.afterNode)
        case .kubeadmPackage: return try await kubeadmPackage()
        case .kubeadmUpgrade: return try await kubeadmUpgrade()
        case .proveControlPlane: return try await proveControlPlane()
        case .cordon: return try await Cordons(context: context, run: run.id).set(visit.node, tell)
        case .drain: return try await NodeDrain(context: context, node: visit.node, run: run.id).perform(tell)
        case .kubeletPackage: return try await kubeletPackage()
        case .restartKubelet: return try await restartKubelet()
        case .awaitReady: return try await awaitReady()
        case .health: return try await health()
        case .uncordon:
            let isOurs = try await Cordons(context: context, run: run.id).takeBack(visit.node, tell)
            return isOurs ? "" : "the cordon is not ours and stays"
        case .soak: return try await soak()
        case .proveCluster: return try await proveCluster()
        }
    }

    private func checkNodeIsThere() async throws {
        let node = try await context.patiently(tell) { () async throws(ClusterCallError) in
            try await context.cluster.node(visit.node)
        }
        if node == nil { throw UpgradeError(.nodeGone, "the node is no longer in the cluster") }
    }

    private func checkUpgradedStand() async throws {
        let upgraded = Set(run.visits.filter { $0.status == .done && $0.node != visit.node }.map(\.node))
        guard !upgraded.isEmpty else { return }
        try await context.wait(options.healthTimeout, tell) {
            let nodes = try await context.patiently(tell) { () async throws(ClusterCallError) in
                try await context.cluster.nodes()
            }
            return nodes.first { upgraded.contains($0.name) && !$0.isReady }.map {
                "node \($0.name), whose turn is over, is no longer Ready: \($0.readyMessage)"
            }
        }
    }

    // MARK: Packages

    private func installed(_ program: String, _ arguments: [String]) async throws -> KubernetesVersion? {
        var command = HostCommand([program] + arguments, timeout: 60_000)
        command.needsRoot = false
        let result = try await context.run(command, on: try executor(), tell)
        return result.isSuccess ? KubeadmOutput.version(result.output) : nil
    }

    private func install(_ names: [String]) async throws {
        let facts = try facts
        let packages = NodePackages(
            manager: facts.manager, options: options.packages, timeout: options.packageTimeout)
        let executor = try executor()
        let wanted = names.compactMap { name in facts.packages[name].map { (name: name, version: $0) } }
        guard wanted.count == names.count else {
            throw UpgradeError(
                .failed, "the journal knows no package for \(names.joined(separator: ", ")) at \(target)")
        }
        for var command in packages.install(wanted) {
            command.logFile = log("packages")
            tell("installs \(names.joined(separator: ", ")) \(target)")
            _ = try await context.require(command, on: executor, tell)
        }
        tell("")
    }

    /// What was held back before is so again, also where a kill came between installing and this.
    private func holdAgain(_ names: [String]) async throws {
        let facts = try facts
        let packages = NodePackages(
            manager: facts.manager, options: options.packages, timeout: options.packageTimeout)
        guard let hold = packages.hold(names.filter(facts.held.contains)) else { return }
        _ = try await context.require(hold, on: try executor(), tell)
    }

    private func kubeadmPackage() async throws -> String {
        if try await installed("kubeadm", ["version", "-o", "short"]) == target {
            try await holdAgain(["kubeadm"])
            return "is there already"
        }
        try await install(["kubeadm"])
        let found = try await installed("kubeadm", ["version", "-o", "short"])
        guard found == target else {
            throw UpgradeError(
                .failed,
                "kubeadm is \(found.map(\.description) ?? "gone") after its package was installed, not \(target)")
        }
        try await holdAgain(["kubeadm"])
        return ""
    }

    private func kubeletPackage() async throws -> String {
        let facts = try facts
        let isThere = try await installed("kubelet", ["--version"]) == target
        // kubectl goes along where the node has it.
        let names = ["kubelet"] + (facts.packages["kubectl"] == nil ? [] : ["kubectl"])
        if isThere {
            try await holdAgain(names)
            return "is there already"
        }
        try await install(names)
        let found = try await installed("kubelet", ["--version"])
        guard found == target else {
            throw UpgradeError(
                .failed,
                "kubelet is \(found.map(\.description) ?? "gone") after its package was installed, not \(target)")
        }
        try await holdAgain(names)
        return ""
    }

    // MARK: kubeadm

    private func kubeadmUpgrade() async throws -> String {
        var arguments = ["kubeadm", "upgrade"]
        arguments += visit.kind == .firstControlPlane ? ["apply", "-y", target.description] : ["node"]
        var command = HostCommand(arguments + options.kubeadmArguments, timeout: options.kubeadmTimeout)
        command.isExclusive = true
        command.logFile = log("kubeadm-upgrade")
        let executor = try executor()
        for attempt in 1... {
            // kubeadm gives up at once where the API does not answer.
            try await awaitServing()
            tell("runs \(arguments.joined(separator: " "))")
            let result = try await context.run(command, on: executor, tell)
            if result.isSuccess {
                tell("")
                return result.output.contains { !$0.isWhitespace } ? "" : "kubeadm printed nothing"
            }
            let complaints = KubeadmOutput.complaints(result.output + "\n" + result.errors)
                .filter { !$0.hasPrefix("[WARNING") }
            let words = complaints.isEmpty ? result.lastWords : complaints.prefix(3).joined(separator: "; ")
            // What a check of kubeadm's refuses, it refuses again.
            let isRefusal = complaints.contains { $0.hasPrefix("[ERROR ") || $0.hasPrefix("- Specified") }
            guard attempt < 2, !isRefusal else {
                throw UpgradeError(
                    .failed,
                    "\(arguments.prefix(3).joined(separator: " ")) ended with \(result.status): \(words) (all of it in \(log("kubeadm-upgrade")) on the node)"
                )
            }
            tell("kubeadm failed, once more: \(words)")
            try await context.pacing.sleep(10_000)
        }
        return ""
    }

    private func awaitServing() async throws {
        try await context.patiently(tell) { () async throws(ClusterCallError) in try await context.cluster.checkReady()
        }
    }

    private static let components = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]

    /// kubeadm's word is not enough: the static pods must run the new images, and be ready.
    private func proveControlPlane() async throws -> String {
        try await context.wait(options.nodeTimeout, tell) {
            let pods = try await context.patiently(tell) { () async throws(ClusterCallError) in
                try await context.cluster.pods(on: visit.node)
            }
            var missing: [String] = []
            for component in Self.components {
                guard
                    let pod = pods.first(where: {
                        $0.namespace == "kube-system" && $0.isMirror && $0.labels["component"] == component
                    })
                else {
                    missing.append("\(component) has no pod")
                    continue
                }
                let versions = pod.images.compactMap(imageVersion)
                if versions != [target] {
                    missing.append("\(component) runs \(pod.images.joined(separator: ", ")), not \(target)")
                } else if !pod.isReady {
                    missing.append("\(component) is not ready")
                }
            }
            return missing.isEmpty ? nil : missing.joined(separator: ", ")
        }
        if visit.kind == .firstControlPlane {
            let configured = try await context.patiently(tell) { () async throws(ClusterCallError) in
                try await context.cluster.configuredVersion()
            }
            if let configured, configured != target {
                throw UpgradeError(
                    .failed,
                    "kubeadm's configuration in the cluster says \(configured), not \(target): it did not finish")
            }
        }
        return ""
    }

    // MARK: kubelet

    private func restartKubelet() async throws -> String {
        let executor = try executor()
        for arguments in [["systemctl", "daemon-reload"], ["systemctl", "restart", "kubelet"]] {
            var command = HostCommand(arguments, timeout: 120_000)
            command.isExclusive = true
            _ = try await context.require(command, on: executor, tell)
        }
        return ""
    }

    /// Ready, at the version, and that for a while: a kubelet that has just begun may still be Ready from before.
    private func awaitReady() async throws -> String {
        let pacing = context.pacing
        var readySince: Int64?
        let deadline = context.stepTime + options.nodeTimeout
        while true {
            let node = try await context.patiently(tell) { () async throws(ClusterCallError) in
                try await context.cluster.node(visit.node)
            }
            guard let node else { throw UpgradeError(.nodeGone, "the node is no longer in the cluster") }
            let missing =
                node.kubelet != target
                ? "the kubelet reports \(node.kubelet.map(\.description) ?? "nothing"), not \(target)"
                : node.isReady ? nil : "the node is not Ready: \(node.readyMessage)"
            if missing == nil {
                let since = readySince ?? pacing.now()
                readySince = since
                if pacing.now() - since >= options.settleTime {
                    tell("")
                    return "Ready at \(target)"
                }
            } else {
                readySince = nil
            }
            try Task.checkCancellation()
            if let missing {
                guard context.stepTime < deadline else {
                    throw UpgradeError(.failed, "after \(options.nodeTimeout / 1000) s: \(missing)")
                }
                tell("waits: \(missing)")
            }
            try await pacing.sleep(2000)
        }
    }

    // MARK: Health and hooks

    private func health() async throws -> String {
        try await awaitServing()
        try await context.wait(options.healthTimeout, tell, every: 5000) { try await unhealthy() }
        return ""
    }

    /// The first thing that is not well; nil where all is.
    private func unhealthy() async throws -> String? {
        if visit.kind != .worker, visit.kind != .cluster, let check = context.checkEtcd {
            do {
                try await check()
            } catch {
                return "etcd: \(error)"
            }
        }
        if visit.kind == .firstControlPlane || visit.kind == .controlPlane || visit.kind == .controlPlaneKubelet {
            // The next member may only go once this one serves again.
            let pods = try await context.patiently(tell) { () async throws(ClusterCallError) in
                try await context.cluster.pods(on: nil)
            }
            let ill = pods.filter { $0.isMirror && $0.labels["component"] == "etcd" && !$0.isReady }
            if !ill.isEmpty { return "etcd is not ready: \(ill.map(\.name).joined(separator: ", "))" }
        }
        for hook in options.health {
            do {
                _ = try await self.hook(hook)
            } catch let error as UpgradeError {
                return error.message
            }
        }
        return nil
    }

    private func hook(_ hook: UpgradeOptions.Hook?) async throws -> String {
        guard let hook else { return "" }
        let values = [
            "{node}": visit.node, "{address}": run.nodes[visit.node]?.address ?? "", "{target}": target.description,
            "{cluster}": run.cluster, "{run}": run.id,
        ]
        let fill: @Sendable (String) -> String = { text in
            values.reduce(text) { $0.replacing($1.key, with: $1.value) }
        }
        switch hook.action {
        case .command(let arguments, let isOnNode):
            var command = HostCommand(arguments.map(fill), timeout: hook.timeout)
            // A command of the user's on this machine runs as whoever runs the sidecar.
            command.needsRoot = isOnNode
            let result = try await context.run(
                command, on: isOnNode && !visit.node.isEmpty ? try executor() : context.here, tell)
            guard result.isSuccess else {
                throw UpgradeError(
                    .failed, "the command \(arguments.first ?? "") ended with \(result.status): \(result.lastWords)")
            }
        case .http(let url, _, _, _, let statuses):
            let status: Int
            do {
                status = try await context.sendHTTP(hook, fill)
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                throw UpgradeError(.failed, "\(withoutQuery(url)) does not answer: \(error)")
            }
            guard statuses.isEmpty ? (200..<300).contains(status) : statuses.contains(status) else {
                throw UpgradeError(.failed, "\(withoutQuery(url)) answers \(status)")
            }
        }
        return ""
    }

    // MARK: The whole

    /// The staging nodes stay Ready and healthy for a time.
    private func soak() async throws -> String {
        let staged = run.visits.filter { $0.group == 3 }.map(\.node)
        let end = context.pacing.now() + options.stagingTime
        while context.pacing.now() < end {
            let nodes = try await context.patiently(tell) { () async throws(ClusterCallError) in
                try await context.cluster.nodes()
            }
            for node in nodes where staged.contains(node.name) && !node.isReady {
                throw UpgradeError(.failed, "staging node \(node.name) is no longer Ready: \(node.readyMessage)")
            }
            if let problem = try await unhealthy() { throw UpgradeError(.failed, "while staging: \(problem)") }
            tell("staging nodes stay healthy for \((end - context.pacing.now()) / 1000) s more")
            try await context.pacing.sleep(min(15_000, max(1, end - context.pacing.now())))
        }
        return "\(staged.joined(separator: ", ")) stayed healthy for \(options.stagingTime / 1000) s"
    }

    private func proveCluster() async throws -> String {
        try await checkUpgradedStand()
        let nodes = try await context.patiently(tell) { () async throws(ClusterCallError) in
            try await context.cluster.nodes()
        }
        let ours = nodes.filter { run.nodes[$0.name] != nil }
        let behind = ours.filter { $0.kubelet != target }.map(\.name)
        guard behind.isEmpty else {
            throw UpgradeError(.failed, "not at \(target): \(behind.joined(separator: ", "))")
        }
        // A cordon that a crash left on a node whose turn is over.
        for node in ours where node.cordonedBy == run.id {
            try await Cordons(context: context, run: run.id).takeBack(node.name, tell)
        }
        let joined = nodes.filter { run.nodes[$0.name] == nil && $0.kubelet != target }.map(\.name)
        return joined.isEmpty
            ? "all nodes are at \(target)" : "joined meanwhile and not upgraded: \(joined.joined(separator: ", "))"
    }
}

/// The version in an image's tag: `registry.k8s.io/kube-apiserver:v1.31.4`; nil where it is none.
func imageVersion(_ image: String) -> KubernetesVersion? {
    let name = image.split(separator: "@").first ?? ""
    guard let colon = name.lastIndex(of: ":") else { return nil }
    // kubeadm writes + of a version as _ in a tag.
    let tag = name[name.index(after: colon)...].split(separator: "_").first ?? ""
    return KubernetesVersion(tag)
}

/// What follows the ? may be a secret.
func withoutQuery(_ url: String) -> String { String(url.prefix { $0 != "?" }) }
