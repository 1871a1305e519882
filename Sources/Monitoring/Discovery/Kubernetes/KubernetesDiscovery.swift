package import Kubernetes
import Logging
import Platform

/// One entry of `kubernetes_sd_configs`.
package struct KubernetesDiscoveryConfig: Sendable, Hashable {
    package enum Role: String, Sendable, CaseIterable { case node, pod, service, endpoints, endpointslice, ingress }

    package enum Access: Sendable, Hashable {
        case inCluster
        case kubeconfig(String)
        /// `api_server` with the client settings beside it.
        case server(ClusterAccess)
    }

    package struct Selector: Sendable, Hashable {
        package var role: Role
        package var label: String?
        package var field: String?
        package init(role: Role) { self.role = role }
    }

    package var role: Role
    package var access = Access.inCluster
    /// Empty: all of them.
    package var namespaces: [String] = []
    package var ownNamespace = false
    package var selectors: [Selector] = []
    package var attachNode = false
    package var attachNamespace = false

    package init(role: Role) { self.role = role }

    func options(_ role: Role) -> ListOptions {
        let selector = selectors.first { $0.role == role }
        return ListOptions(labelSelector: selector?.label, fieldSelector: selector?.field)
    }

    /// Which selectors a role may have: those of the resources that it watches.
    package static func allowedSelectors(_ role: Role) -> [Role] {
        switch role {
        case .endpoints: [.pod, .service, .endpoints]
        case .endpointslice: [.pod, .service, .endpointslice]
        default: [role]
        }
    }
}

/// `kubernetes_sd_configs`: watches what its role needs and makes target groups under Prometheus' labels. Watches are
/// shared; targets stay while the API server is away.
struct KubernetesDiscovery: Sendable {
    /// As Prometheus: a change is told at once, more of them once in so long.
    static let pause: Duration = .seconds(5)

    let config: KubernetesDiscoveryConfig

    func run(_ environment: DiscoveryEnvironment, update: @Sendable ([TargetGroup]) async -> Void) async {
        guard let hub = environment.clusters else { return }
        var access: ClusterAccess?
        var said = ""
        while access == nil, !Task.isCancelled {
            do {
                access = try resolve()
            } catch {
                // A kubeconfig that is not there yet, or that is being written.
                if said != error.description {
                    environment.log.error("kubernetes discovery has no access", metadata: ["error": "\(error)"])
                    said = error.description
                }
                try? await Task.sleep(for: .seconds(10))
            }
        }
        guard let access else { return }
        let source = KubernetesTargetSource(config, access, hub)
        let changes = source.changes()
        var iterator = changes.makeAsyncIterator()
        while await iterator.next() != nil {
            if Task.isCancelled { return }
            guard source.isSynced else { continue }
            guard let groups = try? await WorkerPool.shared.run({ source.groups() }) else { continue }
            await update(groups)
            try? await Task.sleep(for: Self.pause)
        }
    }

    private func resolve() throws(ClusterAccessError) -> ClusterAccess {
        switch config.access {
        case .inCluster: try ClusterAccess.inCluster()
        case .kubeconfig(let path): try Kubeconfig.load(path: path)
        case .server(let access): access
        }
    }
}

/// The caches of a discovery and the groups that they make.
struct KubernetesTargetSource: Sendable {
    private let config: KubernetesDiscoveryConfig
    private var nodes: ObjectCache<Node>?
    private var namespaces: ObjectCache<Namespace>?
    private var pods: [ObjectCache<Pod>] = []
    private var services: [ObjectCache<Service>] = []
    private var endpoints: [ObjectCache<Endpoints>] = []
    private var slices: [ObjectCache<EndpointSlice>] = []
    private var ingresses: [ObjectCache<Ingress>] = []

    init(_ config: KubernetesDiscoveryConfig, _ access: ClusterAccess, _ hub: ClusterHub) {
        self.config = config
        var names: [String?] = config.namespaces
        if config.ownNamespace, !config.namespaces.contains(access.namespace) { names.append(access.namespace) }
        if names.isEmpty { names = [nil] }
        func caches<T: KubernetesObject>(_ type: T.Type, _ role: KubernetesDiscoveryConfig.Role) -> [ObjectCache<T>] {
            names.map { hub.cache(type, access, namespace: $0, config.options(role)) }
        }
        switch config.role {
        case .node: nodes = hub.cache(Node.self, access, config.options(.node))
        case .pod: pods = caches(Pod.self, .pod)
        case .service: services = caches(Service.self, .service)
        case .ingress: ingresses = caches(Ingress.self, .ingress)
        case .endpoints:
            endpoints = caches(Endpoints.self, .endpoints)
            services = caches(Service.self, .service)
            pods = caches(Pod.self, .pod)
        case .endpointslice:
            slices = caches(EndpointSlice.self, .endpointslice)
            services = caches(Service.self, .service)
            pods = caches(Pod.self, .pod)
        }
        if config.attachNode, nodes == nil, [.pod, .endpoints, .endpointslice].contains(config.role) {
            nodes = hub.cache(Node.self, access)
        }
        if config.attachNamespace, config.role != .node { namespaces = hub.cache(Namespace.self, access) }
    }

    /// Whether every watch has seen a whole list: before that, targets would come and go.
    var isSynced: Bool {
        (nodes?.isSynced ?? true) && (namespaces?.isSynced ?? true) && pods.allSatisfy(\.isSynced)
            && services.allSatisfy(\.isSynced) && endpoints.allSatisfy(\.isSynced) && slices.allSatisfy(\.isSynced)
            && ingresses.allSatisfy(\.isSynced)
    }

    /// One stream for all caches. It ends when the task that reads it is cancelled.
    func changes() -> AsyncStream<Void> {
        var streams: [AsyncStream<Void>] = []
        if let nodes { streams.append(nodes.changes()) }
        if let namespaces { streams.append(namespaces.changes()) }
        streams += pods.map { $0.changes() } + services.map { $0.changes() } + endpoints.map { $0.changes() }
        streams += slices.map { $0.changes() } + ingresses.map { $0.changes() }
        let (merged, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let tasks = streams.map { stream in Task { for await _ in stream { continuation.yield() } } }
        continuation.onTermination = { _ in for task in tasks { task.cancel() } }
        return merged
    }

    func groups() -> [TargetGroup] {
        let context = KubernetesContext(
            pods: merged(pods), services: merged(services), nodes: nodes?.objects ?? [:],
            namespaces: namespaces?.objects ?? [:], attachNode: config.attachNode,
            attachNamespace: config.attachNamespace)
        func each<T: KubernetesObject>(_ caches: [ObjectCache<T>], _ make: (T) -> TargetGroup?) -> [TargetGroup] {
            let objects = caches.flatMap { $0.objects.values }
            return objects.sorted { ($0.namespace, $0.name) < ($1.namespace, $1.name) }.compactMap(make)
        }
        return switch config.role {
        case .node: each(nodes.map { [$0] } ?? [], nodeGroup)
        case .pod: each(pods) { podGroup($0, context) }
        case .service: each(services) { serviceGroup($0, context) }
        case .endpoints: each(endpoints) { endpointsGroup($0, context) }
        case .endpointslice: each(slices) { sliceGroup($0, context) }
        case .ingress: each(ingresses) { ingressGroup($0, context) }
        }
    }

    private func merged<T: KubernetesObject>(_ caches: [ObjectCache<T>]) -> [ObjectKey: T] {
        guard let first = caches.first else { return [:] }
        return caches.dropFirst().reduce(into: first.objects) { all, cache in
            all.merge(cache.objects) { _, new in new }
        }
    }
}
