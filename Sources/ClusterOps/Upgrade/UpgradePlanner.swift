import Platform

/// What an upgrade would meet. Made without changing anything but the nodes' lists of packages.
package struct UpgradePlan: Sendable, Codable {
    package struct Node: Sendable, Codable, Hashable {
        package var name: String
        /// `control-plane` or `worker`
        package var role: String
        package var kubelet: String
        /// Of the API server's static pod; empty on a worker.
        package var apiserver: String
        package var target: String
        package var isReady: Bool
        package var isCordoned: Bool
        /// The package's version for kubelet; empty where none is to be had.
        package var package: String
        /// Pods that would be evicted.
        package var evictedPods: Int
    }

    package struct Budget: Sendable, Codable, Hashable {
        package var name: String
        package var allowed: Int
        package var healthy: Int
        package var desired: Int
        /// Pods it protects on nodes that would be emptied.
        package var pods: [String]
        /// It allows no eviction, however long one waits.
        package var neverAllows: Bool
    }

    /// Something that stands in the way.
    package struct Obstacle: Sendable, Codable, Hashable {
        /// Names the gate: what `--force` takes.
        package var gate: String
        package var text: String
        /// Whether `--force GATE` passes over it.
        package var canBeForced: Bool
    }

    package var cluster: String
    package var current: KubernetesVersion
    package var target: KubernetesVersion
    package var nodes: [Node]
    package var obstacles: [Obstacle]
    package var warnings: [String]
    package var budgets: [Budget]
    package var deprecatedAPIs: [DeprecatedAPI]
    /// What kubeadm itself offers.
    package var kubeadm: [KubeadmOutput.Offer]
    /// The turns in their order, as `group node`.
    package var order: [String]
}

/// A condition of the surroundings under which an upgrade may begin: backups, alerts, a window.
package struct UpgradeGate: Sendable {
    package var name: String
    /// Nil where it is open, else why it is not.
    package var check: @Sendable () async -> String?

    package init(_ name: String, check: @escaping @Sendable () async -> String?) {
        self.name = name
        self.check = check
    }
}

/// Looks at cluster and nodes and makes the plan, and the run that follows it.
package struct UpgradePlanner: Sendable {
    package var context: UpgradeContext
    package var clusterName: String
    package var gates: [UpgradeGate]

    package init(context: UpgradeContext, clusterName: String, gates: [UpgradeGate]) {
        self.context = context
        self.clusterName = clusterName
        self.gates = gates
    }

    /// What a node said of itself.
    private struct Looked: Sendable {
        var facts: UpgradeRun.NodeFacts
        var obstacles: [String] = []
        var warnings: [String] = []
    }

    /// The plan, and the run that `apply` would begin. Throws where the API does not answer.
    package func plan(
        target: KubernetesVersion, owner: UpgradeRun.Owner = .terminal, overrides: Set<String> = []
    ) async throws -> (plan: UpgradePlan, run: UpgradeRun) {
        let cluster = context.cluster
        let current = try await call { () async throws(ClusterCallError) in try await cluster.serverVersion() }
        let nodes = try await call { () async throws(ClusterCallError) in try await cluster.nodes() }
            .sorted { naturallyPrecedes($0.name, $1.name) }
        let pods = try await call { () async throws(ClusterCallError) in try await cluster.pods(on: nil) }
        let budgets = try await call { () async throws(ClusterCallError) in try await cluster.budgets() }
        let configured = try await call { () async throws(ClusterCallError) in try await cluster.configuredVersion() }
        let deprecated = (try? await cluster.deprecatedAPIs()) ?? []
        var obstacles: [UpgradePlan.Obstacle] = []
        var warnings: [String] = []
        func obstacle(_ gate: String, _ text: String, canBeForced: Bool = true) {
            obstacles.append(UpgradePlan.Obstacle(gate: gate, text: text, canBeForced: canBeForced))
        }

        // Versions.
        let apiservers = apiserverVersions(nodes, pods)
        let kubelets = nodes.reduce(into: [String: KubernetesVersion]()) { $0[$1.name] = $1.kubelet }
        for violation in SkewRules.violations(target: target, apiservers: apiservers, kubelets: kubelets) {
            obstacle("skew", violation, canBeForced: false)
        }
        if apiservers.isEmpty {
            obstacle("control-plane", "no API server runs as kubeadm's static pod on a node", canBeForced: false)
        }
        let isControlPlaneThere =
            !apiservers.isEmpty && apiservers.values.allSatisfy { $0 == target } && (configured ?? target) == target
        let first = firstControlPlane(nodes, apiservers, target: target)
        let visits = UpgradeRun.visits(
            nodes: nodes, target: target, controlPlaneIsThere: isControlPlaneThere, first: first,
            options: context.options)
        let touched = Set(visits.map(\.node)).subtracting([""])
        let emptied = Set(visits.filter { $0.steps.contains(.drain) }.map(\.node))
        if touched.isEmpty { warnings.append("every node is at \(target) already") }
        for name in context.options.staging where !nodes.contains(where: { $0.name == name }) {
            warnings.append("staging names \(name), which is no node of the cluster")
        }
        for name in context.options.nodes.map(\.name) where !nodes.contains(where: { $0.name == name }) {
            warnings.append("upgrade.nodes names \(name), which is no node of the cluster")
        }

        let workers = visits.count { $0.kind == .worker }
        let limit = maxUnavailable(nodes)
        if limit < context.options.maxUnavailable, workers > 0 {
            warnings.append(
                "max_unavailable is \(context.options.maxUnavailable): taken as \(limit), so that pods have somewhere to go"
            )
        }

        // Nodes and what runs on them.
        for node in nodes where !node.isReady { obstacle("nodes", "\(node.name) is not Ready: \(node.readyMessage)") }
        for node in nodes where node.isUnschedulable && emptied.contains(node.name) {
            warnings.append("\(node.name) is cordoned already and will stay so")
        }
        var planned: [String: DrainPlan] = [:]
        for name in emptied {
            let plan = DrainPlan(pods: pods.filter { $0.node == name }, options: context.options.drain)
            planned[name] = plan
        }
        for node in nodes {
            for text in planned[node.name]?.obstacles ?? [] { obstacle("pods", text, canBeForced: false) }
        }
        let told = self.budgets(budgets, planned: planned)
        for budget in told where budget.neverAllows {
            obstacle(
                "budgets",
                "budget \(budget.name) never allows an eviction (\(budget.desired) of \(budget.healthy) pods must stay): \(budget.pods.prefix(5).joined(separator: ", "))",
                canBeForced: true)
        }
        for api in deprecated where api.isGone(in: target) {
            obstacle("deprecated-apis", "\(api.id) is in use, and gone in \(target)")
        }

        // The machines.
        let looked = await look(nodes.filter { touched.contains($0.name) }, target: target)
        var facts: [String: UpgradeRun.NodeFacts] = [:]
        for node in nodes {
            guard let result = looked[node.name] else { continue }
            facts[node.name] = result.facts
            for text in result.obstacles { obstacle("machines", "\(node.name): \(text)", canBeForced: false) }
            warnings += result.warnings.map { "\(node.name): \($0)" }
        }
        for gate in gates {
            if let why = await gate.check() { obstacle(gate.name, why) }
        }
        let (offers, complaints) = await kubeadmPlan(first: first, nodes: nodes, target: target)
        warnings += complaints
        // kubeadm offers every series it knows of; wanted is the way to the target.
        let wanted = offers.first { $0.components.contains { KubernetesVersion($0.new) == target } }

        let plan = UpgradePlan(
            cluster: clusterName, current: current, target: target,
            nodes: nodes.map { node in
                UpgradePlan.Node(
                    name: node.name, role: node.isControlPlane ? "control-plane" : "worker",
                    kubelet: node.kubelet?.description ?? "", apiserver: apiservers[node.name]?.description ?? "",
                    target: target.description, isReady: node.isReady, isCordoned: node.isUnschedulable,
                    package: facts[node.name]?.packages["kubelet"] ?? "",
                    evictedPods: planned[node.name]?.evicted.count ?? 0)
            }, obstacles: obstacles, warnings: warnings, budgets: told, deprecatedAPIs: deprecated,
            kubeadm: wanted.map { [$0] } ?? offers,
            order: visits.filter { !$0.node.isEmpty }.map { "\($0.group) \($0.node)" })
        let now = context.pacing.now()
        let run = UpgradeRun(
            id: "\(clusterName)-\(formatRFC3339(now, fraction: false))", cluster: clusterName, target: target,
            owner: owner, startedAt: now, maxUnavailable: limit, visits: visits, nodes: facts,
            overrides: overrides.sorted())
        return (plan, run)
    }

    /// The run, where nothing stands in its way that is not overridden.
    package func admit(
        target: KubernetesVersion, owner: UpgradeRun.Owner, overrides: Set<String>
    ) async throws -> (plan: UpgradePlan, run: UpgradeRun) {
        let (plan, run) = try await plan(target: target, owner: owner, overrides: overrides)
        let left = plan.obstacles.filter { !$0.canBeForced || !overrides.contains($0.gate) }
        guard left.isEmpty else {
            let forced = Set(left.filter(\.canBeForced).map(\.gate)).sorted()
            let hard = left.contains { !$0.canBeForced }
            let lines = left.map { "\($0.gate): \($0.text)" }
            let hint =
                hard
                ? "put these right first; nothing was touched"
                : "override with " + forced.map { "--force \($0)" }.joined(separator: " ")
            throw UpgradeError(.refused, (lines + [hint]).joined(separator: "\n"), gates: forced)
        }
        return (plan, run)
    }

    /// One worker at least goes on working, where there are several.
    private func maxUnavailable(_ nodes: [ClusterNode]) -> Int {
        let workers = nodes.count { !$0.isControlPlane && $0.isReady && !$0.isUnschedulable }
        return max(1, min(context.options.maxUnavailable, workers - 1))
    }

    private func call<T: Sendable>(_ body: @Sendable () async throws(ClusterCallError) -> T) async throws -> T {
        do {
            return try await body()
        } catch {
            throw UpgradeError(.failed, "the API server does not tell: \(error.message)")
        }
    }

    private func apiserverVersions(_ nodes: [ClusterNode], _ pods: [ClusterPod]) -> [String: KubernetesVersion] {
        var out: [String: KubernetesVersion] = [:]
        for pod in pods where pod.isMirror && pod.labels["component"] == "kube-apiserver" {
            if let version = pod.images.compactMap(imageVersion).first { out[pod.node] = version }
        }
        return out
    }

    /// Where `upgrade apply` runs: the one that is at the target already (a run that was cut off), else the first by name.
    private func firstControlPlane(
        _ nodes: [ClusterNode], _ apiservers: [String: KubernetesVersion], target: KubernetesVersion
    ) -> String? {
        let planes = nodes.filter(\.isControlPlane).map(\.name).sorted(by: naturallyPrecedes)
        return planes.first { apiservers[$0] == target } ?? planes.first
    }

    private func budgets(_ budgets: [ClusterBudget], planned: [String: DrainPlan]) -> [UpgradePlan.Budget] {
        let leaving = planned.sorted { naturallyPrecedes($0.key, $1.key) }.flatMap(\.value.evicted)
        return budgets.compactMap { budget in
            let pods = leaving.filter { !$0.isOver && budget.protects($0) }.map { "\($0.id) on \($0.node)" }
            guard !pods.isEmpty else { return nil }
            return UpgradePlan.Budget(
                name: budget.id, allowed: budget.disruptionsAllowed, healthy: budget.currentHealthy,
                desired: budget.desiredHealthy, pods: pods, neverAllows: budget.neverAllows)
        }.sorted { $0.name < $1.name }
    }

    // MARK: Machines

    private func look(_ nodes: [ClusterNode], target: KubernetesVersion) async -> [String: Looked] {
        await withTaskGroup(of: (String, Looked).self) { group in
            var waiting = nodes[...]
            // A few at a time: lists of packages are fetched by each.
            for _ in 0..<8 {
                if let node = waiting.popFirst() { group.addTask { (node.name, await look(node, target: target)) } }
            }
            var out: [String: Looked] = [:]
            for await (name, looked) in group {
                out[name] = looked
                if let node = waiting.popFirst() { group.addTask { (node.name, await look(node, target: target)) } }
            }
            return out
        }
    }

    private func look(_ node: ClusterNode, target: KubernetesVersion) async -> Looked {
        let address = context.options.node(node.name).address ?? node.address
        var looked = Looked(
            facts: UpgradeRun.NodeFacts(
                address: address, from: node.kubelet, isControlPlane: node.isControlPlane, manager: .auto,
                packages: [:],
                held: []))
        do {
            let executor = try context.executor(node.name, address)
            // Whether it is reached at all, and as root.
            let who = try await executor.run(HostCommand(["id", "-u"], timeout: 30_000))
            guard who.isSuccess, who.output.split(whereSeparator: \.isWhitespace).first == "0" else {
                looked.obstacles.append("commands there do not run as root: \(who.lastWords)")
                return looked
            }
            try await lookAtPackages(executor, &looked, target: target)
            try await lookAtDisk(executor, &looked, isControlPlane: node.isControlPlane)
        } catch let error as ExecutorError {
            looked.obstacles.append(error.message)
        } catch {
            looked.obstacles.append("\(error)")
        }
        return looked
    }

    private func lookAtPackages(
        _ executor: any Executor, _ looked: inout Looked, target: KubernetesVersion
    ) async throws {
        var manager = context.options.packages.manager
        if manager == .auto {
            guard let found = NodePackages.manager(detected: try await executor.run(NodePackages.detection).output)
            else {
                looked.obstacles.append("neither apt-get nor dnf is there: say in upgrade.packages how to install")
                return
            }
            manager = found
        }
        looked.facts.manager = manager
        let packages = NodePackages(
            manager: manager, options: context.options.packages, timeout: context.options.packageTimeout)
        if let refresh = packages.refresh {
            let result = try await executor.run(refresh)
            if !result.isSuccess { looked.warnings.append("the lists of packages are old: \(result.lastWords)") }
        }
        var programs = ["kubeadm", "kubelet"]
        if try await executor.run(HostCommand(["sh", "-c", "command -v kubectl"])).isSuccess {
            programs.append("kubectl")
        }
        for name in programs {
            if let version = packages.found(try await executor.run(packages.available(name, target)), name, target) {
                looked.facts.packages[name] = version
            } else if name != "kubectl" {
                looked.obstacles.append(
                    "no package \(name) of \(target) is to be had: a new minor version needs its own repository of packages"
                )
            }
        }
        if let held = packages.held {
            looked.facts.held = try await executor.run(held).output.split(whereSeparator: \.isWhitespace).map(
                String.init)
        }
    }

    /// kubeadm copies etcd's live directory to /etc/kubernetes/tmp on a control plane; images and packages need room too.
    private func lookAtDisk(
        _ executor: any Executor, _ looked: inout Looked, isControlPlane: Bool
    ) async throws {
        var etcd: Int64 = 0
        if isControlPlane {
            let used = try await executor.run(HostCommand(["du", "-sk", "/var/lib/etcd"]))
            etcd = used.output.split(whereSeparator: \.isWhitespace).first.flatMap { Int64($0) } ?? 0
        }
        for (path, needed) in [("/etc/kubernetes", etcd + 200_000), ("/var/lib", 1_000_000)] {
            let result = try await executor.run(HostCommand(["df", "-Pk", path]))
            guard result.isSuccess, let line = result.output.split(separator: "\n").last else { continue }
            let words = line.split(whereSeparator: \.isWhitespace)
            guard words.count >= 4, let free = Int64(words[3]), free < needed else { continue }
            looked.obstacles.append("\(path) has \(free / 1024) MiB free, the upgrade needs \(needed / 1024)")
        }
    }

    // MARK: kubeadm

    /// What the kubeadm that is there now says; it is of the old version, and offers only what it knows.
    private func kubeadmPlan(
        first: String?, nodes: [ClusterNode], target: KubernetesVersion
    ) async -> ([KubeadmOutput.Offer], [String]) {
        guard let first, let node = nodes.first(where: { $0.name == first }) else { return ([], []) }
        do {
            let executor = try context.executor(first, context.options.node(first).address ?? node.address)
            let base = ["kubeadm", "upgrade", "plan", target.description, "--allow-experimental-upgrades"]
            var result = try await executor.run(HostCommand(base + ["-o", "json"], timeout: 120_000))
            if result.isSuccess, let offers = KubeadmOutput.planJSON(result.output) {
                return (offers, KubeadmOutput.complaints(result.errors))
            }
            // kubeadm before 1.30 has no -o.
            result = try await executor.run(HostCommand(base, timeout: 120_000))
            guard result.isSuccess else {
                let complaints = KubeadmOutput.complaints(result.output + "\n" + result.errors)
                return ([], complaints.isEmpty ? ["kubeadm upgrade plan: \(result.lastWords)"] : complaints)
            }
            return (KubeadmOutput.planText(result.output), KubeadmOutput.complaints(result.output))
        } catch {
            return ([], ["kubeadm upgrade plan was not run: \(error)"])
        }
    }
}
