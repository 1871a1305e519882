package import Kubernetes
import Platform

/// `UpgradeCluster` over the API server. Thread-safe.
package struct KubernetesUpgradeCluster: UpgradeCluster {
    private let client: KubernetesClient

    package init(_ client: KubernetesClient) { self.client = client }

    private func call<T: Sendable>(
        _ body: @Sendable () async throws(KubernetesError) -> T
    ) async throws(ClusterCallError) -> T {
        do {
            return try await body()
        } catch {
            throw ClusterCallError(kind(error), error.description)
        }
    }

    private func kind(_ error: KubernetesError) -> ClusterCallError.Kind {
        switch error.kind {
        case .unreachable, .server, .tooManyRequests, .decoding, .cancelled: .away
        // While the API server begins, its authorisation may not know anybody yet.
        case .unauthorized, .forbidden: .away
        case .notFound: .notFound
        case .conflict: .conflict
        case .gone: .away
        case .invalid: .refused
        }
    }

    package func serverVersion() async throws(ClusterCallError) -> KubernetesVersion {
        let version = try await call { () async throws(KubernetesError) in try await client.version() }
        guard let parsed = KubernetesVersion(version.gitVersion) else {
            throw ClusterCallError(.refused, "the API server calls its version \(version.gitVersion)")
        }
        return parsed
    }

    package func configuredVersion() async throws(ClusterCallError) -> KubernetesVersion? {
        let map = try await call { () async throws(KubernetesError) in
            try await client.find(ConfigMap.self, "kubeadm-config", namespace: "kube-system")
        }
        guard let text = map?.data?["ClusterConfiguration"] else { return nil }
        return BlockYAML.paths(text)["kubernetesVersion"].flatMap { KubernetesVersion($0) }
    }

    package func nodes() async throws(ClusterCallError) -> [ClusterNode] {
        try await call { () async throws(KubernetesError) in try await client.list(Node.self) }.map(ClusterNode.init)
    }

    package func node(_ name: String) async throws(ClusterCallError) -> ClusterNode? {
        try await call { () async throws(KubernetesError) in try await client.find(Node.self, name) }
            .map(ClusterNode.init)
    }

    package func pods(on node: String?) async throws(ClusterCallError) -> [ClusterPod] {
        let options = ListOptions(fieldSelector: node.map { "spec.nodeName=\($0)" })
        return try await call { () async throws(KubernetesError) in try await client.list(Pod.self, options: options) }
            .map(ClusterPod.init)
    }

    package func budgets() async throws(ClusterCallError) -> [ClusterBudget] {
        try await call { () async throws(KubernetesError) in try await client.list(PodDisruptionBudget.self) }
            .map { budget in
                var out = ClusterBudget(namespace: budget.namespace, name: budget.name) { labels in
                    guard let selector = budget.spec?.selector else { return false }
                    let isEmpty = (selector.matchLabels ?? [:]).isEmpty && (selector.matchExpressions ?? []).isEmpty
                    return isEmpty ? (budget.status?.expectedPods ?? 0) > 0 : selector.matches(labels)
                }
                out.disruptionsAllowed = budget.status?.disruptionsAllowed ?? 0
                out.currentHealthy = budget.status?.currentHealthy ?? 0
                out.desiredHealthy = budget.status?.desiredHealthy ?? 0
                out.expectedPods = budget.status?.expectedPods ?? 0
                return out
            }
    }

    private struct CordonPatch: Encodable {
        struct Metadata: Encodable {
            var resourceVersion: String
            var annotations: [String: String?]
        }
        struct Spec: Encodable { var unschedulable: Bool }
        var metadata: Metadata
        var spec: Spec
    }

    private func setCordon(_ node: ClusterNode, _ isOn: Bool, run: String?) async throws(ClusterCallError) {
        let patch = CordonPatch(
            metadata: .init(resourceVersion: node.resourceVersion, annotations: [ClusterNode.cordonAnnotation: run]),
            spec: .init(unschedulable: isOn))
        _ = try await call { () async throws(KubernetesError) in
            try await client.patch(Node.self, node.name, .merge, patch)
        }
    }

    package func cordon(_ node: ClusterNode, run: String) async throws(ClusterCallError) {
        try await setCordon(node, true, run: run)
    }

    package func uncordon(_ node: ClusterNode) async throws(ClusterCallError) {
        try await setCordon(node, false, run: nil)
    }

    package func evict(_ pod: ClusterPod, gracePeriod: Int64?) async throws(ClusterCallError) -> EvictionAnswer {
        do {
            try await client.evict(
                namespace: pod.namespace, pod: pod.name, uid: pod.uid.isEmpty ? nil : pod.uid,
                gracePeriodSeconds: gracePeriod.map(Int.init))
            return .accepted
        } catch {
            if error.kind == .notFound { return .gone }
            // Another pod has its name by now.
            if error.kind == .conflict { return .gone }
            let detail = error.causes.compactMap(\.message).joined(separator: "; ")
            if error.kind == .tooManyRequests, error.isDisruptionBudget || error.message.contains("disruption budget") {
                return .blocked(detail.isEmpty ? error.message : detail)
            }
            if error.kind == .server, error.message.contains("more than one PodDisruptionBudget") {
                return .refused("more than one disruption budget selects it: the server evicts no such pod")
            }
            if error.kind == .forbidden { return .refused("this user may not evict: \(error.message)") }
            throw ClusterCallError(kind(error), error.description)
        }
    }

    package func delete(_ pod: ClusterPod, gracePeriod: Int64?) async throws(ClusterCallError) {
        var options = DeleteOptions()
        options.gracePeriodSeconds = gracePeriod.map(Int.init)
        if !pod.uid.isEmpty { options.preconditions = .init(uid: pod.uid) }
        let asked = options
        try await call { () async throws(KubernetesError) in
            try await client.delete(Pod.self, pod.name, namespace: pod.namespace, asked)
        }
    }

    package func deprecatedAPIs() async throws(ClusterCallError) -> [DeprecatedAPI] {
        let body = try await call { () async throws(KubernetesError) in
            try await client.send("GET", "/metrics", accept: "text/plain").body
        }
        return DeprecatedAPI.inMetrics(body)
    }

    package func checkReady() async throws(ClusterCallError) {
        _ = try await call { () async throws(KubernetesError) in
            try await client.send("GET", "/readyz", accept: "text/plain")
        }
    }
}

extension DeprecatedAPI {
    /// From the API server's own metrics: `apiserver_requested_deprecated_apis{group="…",…} 1`.
    static func inMetrics(_ text: [UInt8]) -> [DeprecatedAPI] {
        var out: Set<DeprecatedAPI> = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            guard line.starts(with: "apiserver_requested_deprecated_apis{".utf8) else { continue }
            let line = String(decoding: line, as: UTF8.self)
            guard let open = line.firstIndex(of: "{"), let close = line.lastIndex(of: "}"),
                line[line.index(after: close)...].contains(where: { ("1"..."9").contains($0) })
            else { continue }
            var labels: [Substring: Substring] = [:]
            // No value of these labels holds a quote or a comma.
            for pair in line[line.index(after: open)..<close].split(separator: ",") {
                let parts = pair.split(separator: "=", maxSplits: 1)
                if parts.count == 2 { labels[parts[0]] = parts[1].dropFirst().dropLast() }
            }
            out.insert(
                DeprecatedAPI(
                    group: String(labels["group"] ?? ""), version: String(labels["version"] ?? ""),
                    resource: String(labels["resource"] ?? ""), removedRelease: String(labels["removed_release"] ?? ""))
            )
        }
        return out.sorted { $0.id < $1.id }
    }
}

extension ClusterNode {
    init(_ node: Node) {
        self.init(name: node.name)
        resourceVersion = node.metadata.resourceVersion ?? ""
        isControlPlane = node.isControlPlane
        isReady = node.isReady
        readyMessage = node.status?.conditions?.first { $0.type == "Ready" }?.message ?? "its kubelet says nothing"
        kubelet = node.status?.nodeInfo?.kubeletVersion.flatMap { KubernetesVersion($0) }
        address = node.address("InternalIP") ?? node.address("Hostname") ?? node.name
        isUnschedulable = node.isUnschedulable
        cordonedBy = node.metadata.annotations?[ClusterNode.cordonAnnotation]
    }
}

extension ClusterPod {
    init(_ pod: Pod) {
        self.init(namespace: pod.namespace, name: pod.name)
        uid = pod.metadata.uid ?? ""
        node = pod.spec?.nodeName ?? ""
        labels = pod.metadata.labels ?? [:]
        phase = pod.status?.phase ?? ""
        isReady = pod.isReady
        isTerminating = pod.metadata.deletionTimestamp != nil
        isMirror = pod.isMirror
        controllerKind = pod.metadata.controller?.kind
        hasEmptyDir = pod.spec?.volumes?.contains { $0.emptyDir != nil } ?? false
        images = pod.spec?.containers?.compactMap(\.image) ?? []
    }
}
