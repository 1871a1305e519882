package import Kubernetes
package import Logging
package import MetricModel
package import Platform

/// What of a cluster is collected beside scraping. Milliseconds.
package struct ClusterCollectorOptions: Sendable, Hashable {
    package var kubeconfig: String
    /// Nil: not collected.
    package var objectsInterval: Int64?
    package var metricsServerInterval: Int64?

    package init(kubeconfig: String) { self.kubeconfig = kubeconfig }
}

/// Collects cluster objects and metrics-server's figures, each on its beat. Thread-safe.
package final class ClusterCollector: Sendable {
    private struct State {
        var options: ClusterCollectorOptions?
        var task: Task<Void, Never>?
        var isRunning = false
        var objects: ClusterObjects?
    }

    private let hub: ClusterHub
    private let appender: any SampleAppender
    private let clock: WallClock
    private let metrics: MetricRegistry
    private let log: Logger
    private let state = Lock(State())

    package init(
        hub: ClusterHub, appender: any SampleAppender, clock: WallClock, metrics: MetricRegistry, log: Logger
    ) {
        self.hub = hub
        self.appender = appender
        self.clock = clock
        self.metrics = metrics
        self.log = log
    }

    /// Takes other options; what did not change goes on undisturbed.
    package func apply(_ options: ClusterCollectorOptions?) {
        state.withLock { state in
            if state.options == options { return }
            state.options = options
            state.objects = nil
            state.task?.cancel()
            state.task = state.isRunning ? start(options, after: state.task) : nil
        }
    }

    /// The nodes as they were last told, by name; nil where cluster objects are not collected.
    package func nodes() -> [Node]? {
        let (options, objects) = state.withLock { ($0.options, $0.objects) }
        guard options?.objectsInterval != nil else { return nil }
        return objects?.nodes() ?? []
    }

    /// Collects until the task is cancelled.
    package func run() async {
        state.withLock { state in
            state.isRunning = true
            state.task = start(state.options, after: nil)
        }
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
        let task = state.withLock { state in
            state.isRunning = false
            return state.task
        }
        task?.cancel()
        await task?.value
    }

    private func start(_ options: ClusterCollectorOptions?, after previous: Task<Void, Never>?) -> Task<Void, Never>? {
        guard let options else { return nil }
        return Task { [self] in
            await previous?.value
            guard let access = await access(options.kubeconfig) else { return }
            await withTaskGroup(of: Void.self) { group in
                if let interval = options.objectsInterval {
                    let objects = ClusterObjects(access, hub, appender: appender, metrics: metrics, log: log)
                    state.withLock { $0.objects = objects }
                    group.addTask { [self] in
                        await beat(every: interval) { [log] time in
                            do {
                                try await WorkerPool.shared.run { try objects.write(at: time) }
                            } catch {
                                log.error("cluster objects are not stored", metadata: ["error": "\(error)"])
                            }
                        }
                        if goesOn { objects.end(at: clock.nowMilliseconds()) }
                    }
                }
                if let interval = options.metricsServerInterval {
                    let server = MetricsServer(
                        hub.client(access), server: access.server, appender: appender, metrics: metrics, log: log)
                    group.addTask { [self] in
                        await beat(every: interval) { await server.collect(at: $0) }
                        if goesOn { server.end(at: clock.nowMilliseconds()) }
                    }
                }
            }
        }
    }

    /// Whether only the options changed: then series that are collected no more end. The end of the process says nothing of
    /// the cluster, and the next one finds its alerts where they were.
    private var goesOn: Bool { state.withLock { $0.isRunning } }

    /// The kubeconfig, waited for: on a node that joins later it appears later.
    private func access(_ path: String) async -> ClusterAccess? {
        var said = ""
        while !Task.isCancelled {
            do {
                return try Kubeconfig.load(path: path)
            } catch {
                if said != error.description {
                    said = error.description
                    log.error("the cluster cannot be collected from yet", metadata: ["error": "\(error)"])
                }
                try? await Task.sleep(for: .seconds(10))
            }
        }
        return nil
    }

    /// Calls on multiples of the interval: even distances take no room in the store.
    private func beat(every interval: Int64, _ body: @Sendable (Int64) async -> Void) async {
        while !Task.isCancelled {
            let now = clock.nowMilliseconds()
            let due = (now / interval + 1) * interval
            try? await Task.sleep(for: .milliseconds(due - now))
            if Task.isCancelled { return }
            await body(due)
        }
    }
}
