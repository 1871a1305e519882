import GRDB
package import Kubernetes
package import Logging
package import Platform

/// What of the cluster's events is kept, and where it is sent.
package struct ClusterEventOptions: Sendable {
    package var kubeconfig: String
    /// Milliseconds.
    package var retention: Int64 = 7 * 86_400_000
    package var maxEvents = 100_000
    package var sinks: [any LogSink] = []
    package var origin: LogOrigin

    package init(kubeconfig: String, origin: LogOrigin) {
        self.kubeconfig = kubeconfig
        self.origin = origin
    }
}

/// Follows the cluster's events and keeps them: the API server forgets them after an hour, and with the API server dead nobody
/// else has them. Where several sidecars keep them, the one that leads sends them on. Thread-safe.
package final class ClusterEventKeeper: Sendable {
    private struct State {
        var options: ClusterEventOptions?
        /// Grows with each change of the options.
        var version = 0
        var waiting: [ClusterEvent] = []
        /// Nil before the API server was asked.
        var isUp: Bool?
        var cutAt: Int64?
        /// Up to where a sidecar that does not lead has passed events over.
        var passed: Int64 = 0
    }

    /// Events that may wait to be written: past that the watch waits for them.
    private static let maxWaiting = 1000
    /// A sidecar that does not lead passes over what is older: the leader has sent it.
    static let handover: Int64 = 300_000

    package let store: ClusterEventStore
    private let hub: ClusterHub
    private let clock: WallClock
    private let metrics: MetricRegistry
    private let log: Logger
    private let isLeader: @Sendable () -> Bool
    private let state = Lock(State())
    private let shipping: LogShipping
    private let lost: Counter

    package init(
        path: String, hub: ClusterHub, clock: WallClock, metrics: MetricRegistry, log: Logger,
        isLeader: @escaping @Sendable () -> Bool
    ) throws {
        store = try ClusterEventStore(path: path, care: StateFile.Care(clock: clock, metrics: metrics, log: log))
        self.hub = hub
        self.clock = clock
        self.metrics = metrics
        self.log = log
        self.isLeader = isLeader
        let state = state
        shipping = LogShipping(
            store.database,
            .init(
                shipped: "kops_events_shipped_total", failures: "kops_events_ship_failures_total",
                lines: "Events of the cluster"), metrics: metrics, log: log
        ) { db, after, limit in
            guard let origin = state.withLock({ $0.options?.origin }) else { return [] }
            return try Row.fetchAll(
                db, sql: "SELECT * FROM event WHERE id > ? ORDER BY id LIMIT ?", arguments: [after, limit]
            ).map { ClusterEventStore.event($0).line(origin) }
        }
        lost = metrics.counter("kops_events_lost_total", "Events of the cluster that could not be kept.")
        metrics.onCollect { [store] writer in
            guard let isUp = state.withLock({ $0.options == nil ? nil : $0.isUp ?? false }) else { return }
            writer.write(
                "kops_events_watch_up", "Whether the cluster's events are told by the API server now.", labels: [],
                isUp ? 1 : 0)
            writer.write("kops_events_stored", "Events of the cluster that are kept.", labels: [], Double(store.count))
        }
    }

    /// Whether events are kept.
    package var isOn: Bool { state.withLock { $0.options != nil } }

    /// Puts the file in order, once nothing runs any more.
    package func close() async { _ = try? await WorkerPool.blocking.run { [store] in try store.database.close() } }

    /// Nil: events are not followed; what is kept stays until it is too old.
    package func apply(_ options: ClusterEventOptions?) {
        state.withLock { state in
            state.options = options
            state.version += 1
            state.cutAt = nil
        }
    }

    /// Follows, writes, cuts and sends until the task is cancelled.
    package func run() async {
        var following: (version: Int, task: Task<Void, Never>)?
        while !Task.isCancelled {
            let (version, options) = state.withLock { ($0.version, $0.options) }
            if following?.version != version {
                following?.task.cancel()
                await following?.task.value
                following = options.map { options in (version, Task { [self] in await follow(options) }) }
            }
            await write()
            if let options {
                await cut(options)
                await send(options)
            }
            try? await Task.sleep(for: .seconds(1))
        }
        following?.task.cancel()
        await following?.task.value
        await write()
    }

    private func follow(_ options: ClusterEventOptions) async {
        defer { state.withLock { $0.isUp = nil } }
        while !Task.isCancelled {
            // On a node that joins later the kubeconfig appears later.
            guard let access = try? await WorkerPool.blocking.run({ try Kubeconfig.load(path: options.kubeconfig) })
            else {
                try? await Task.sleep(for: .seconds(10))
                continue
            }
            await hub.client(access).watch(Event.self) { [self] event in await take(event) }
        }
    }

    /// What the watch tells. Waits while too much waits to be written.
    func take(_ event: WatchEvent<Event>) async {
        switch event {
        case .added(let object), .modified(let object):
            let kept = ClusterEvent(object, now: clock.nowMilliseconds())
            let isFull = state.withLock { state in
                state.isUp = true
                state.waiting.append(kept)
                return state.waiting.count >= Self.maxWaiting
            }
            if isFull { await write() }
        case .synced: state.withLock { $0.isUp = true }
        case .failed(let error):
            let wasUp = state.withLock { state in
                defer { state.isUp = false }
                return state.isUp ?? true
            }
            if wasUp {
                log.warning("the cluster's events cannot be followed", metadata: ["error": "\(error)"])
            }
        // That the API server forgets it is why it is kept here.
        case .deleted: break
        }
    }

    func write() async {
        let events = state.withLock { state in
            defer { state.waiting = [] }
            return state.waiting
        }
        if events.isEmpty { return }
        do {
            let kept = try await WorkerPool.blocking.run { [store] in try store.keep(events) }
            metrics.counter("kops_events_total", "Changes of the cluster's events that were kept.").add(Double(kept))
        } catch {
            lost.add(Double(events.count))
            log.error("events of the cluster cannot be kept", metadata: ["error": "\(error)"])
        }
    }

    func cut(_ options: ClusterEventOptions) async {
        let now = clock.nowMilliseconds()
        let isDue = state.withLock { state in
            if let before = state.cutAt, now >= before, now - before < 30_000 { return false }
            state.cutAt = now
            return true
        }
        guard isDue else { return }
        do {
            try await WorkerPool.blocking.run { [store] in
                try store.cut(before: now - options.retention, keeping: options.maxEvents)
            }
        } catch {
            log.error("events of the cluster cannot be cut", metadata: ["error": "\(error)"])
        }
    }

    func send(_ options: ClusterEventOptions) async {
        if options.sinks.isEmpty { return }
        if isLeader() { return await shipping.ship(options.sinks) }
        let oldest = clock.nowMilliseconds() - Self.handover
        do {
            let passed = try await WorkerPool.blocking.run { [store] in
                // Up to the first that is young.
                try store.database.read { db in
                    try Int64.fetchOne(
                        db,
                        sql: """
                            SELECT coalesce((SELECT min(id) - 1 FROM event WHERE last >= ?), (SELECT max(id) FROM event), 0)
                            """, arguments: [oldest]) ?? 0
                }
            }
            guard passed > state.withLock({ $0.passed }) else { return }
            for sink in options.sinks { try await shipping.mark(sink, passed) }
            state.withLock { $0.passed = passed }
        } catch {
            log.error("events of the cluster cannot be passed over", metadata: ["error": "\(error)"])
        }
    }
}
