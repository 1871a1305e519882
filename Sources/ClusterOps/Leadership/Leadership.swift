package import Logging
package import Platform

/// Where the lease is kept.
package protocol LeaseStore: Sendable {
    /// Nil where there is none. The text is the version that `update` wants.
    func read() async throws -> (record: LeaseRecord, version: String)?
    /// Returns the new version; throws `LeaseConflict` where there is one already.
    func create(_ record: LeaseRecord, isNew: Bool) async throws -> String
    /// Returns the new version; throws `LeaseConflict` where the version is another by now. `isNew` where the holder changes.
    func update(_ record: LeaseRecord, version: String, isNew: Bool) async throws -> String
}

/// Somebody else wrote the lease in between.
package struct LeaseConflict: Error, Sendable {
    package init() {}
}

/// Whether this sidecar runs what only one of several may run. Thread-safe.
package final class Leadership: Sendable {
    package enum Role: Sendable, Hashable {
        case leader
        /// Another one leads, or nobody yet.
        case follower(leader: String)
        /// The lease has been out of reach for longer than it lasts: nobody can know who leads.
        case unknown
    }

    private struct State {
        /// For tests: sends nothing any more, as after a kill.
        var isFrozen = false
        var elector: LeaderElector
        var lastContact: Int64
        var role = Role.unknown
        var watchers: [Int: AsyncStream<Role>.Continuation] = [:]
        var nextWatcher = 0
    }

    private let store: (any LeaseStore)?
    private let state: Lock<State>
    private let log: Logger
    private let metrics: MetricRegistry
    private let isLeaderGauge: Gauge
    private let requestTimeout: Duration

    /// Without a store this sidecar is the only one, and leads always.
    package init(
        identity: String, timing: LeaderElector.Timing = LeaderElector.Timing(), store: (any LeaseStore)?,
        metrics: MetricRegistry, log: Logger
    ) {
        self.store = store
        self.log = log
        self.metrics = metrics
        // A request that takes longer than this could not be followed by another one in time.
        requestTimeout = .milliseconds(max(500, (timing.renewDeadline - timing.retryPeriod) / 2))
        var begun = State(
            elector: LeaderElector(identity: identity, timing: timing), lastContact: monotonicMilliseconds())
        begun.role = store == nil ? .leader : .follower(leader: "")
        state = Lock(begun)
        isLeaderGauge = metrics.gauge(
            "kops_leader_is_leader", "Whether this sidecar runs the jobs of which the cluster needs one (1) or not (0)."
        )
        isLeaderGauge.set(store == nil ? 1 : 0)
    }

    /// True while this sidecar may run a cluster's job. Ends by itself, also where `run` hangs.
    package var isLeader: Bool {
        store == nil || state.withLock { $0.elector.isLeader(now: monotonicMilliseconds()) }
    }

    /// True while this sidecar should tell people: it leads, or nobody can know who does. With the API server dead every
    /// sidecar speaks, so that a repeat is the worst that happens and silence cannot.
    package var mayNotify: Bool { isLeader || state.withLock { $0.role == .unknown } }

    package var role: Role {
        isLeader ? .leader : state.withLock { $0.role == .leader ? .follower(leader: "") : $0.role }
    }

    /// Each change of the role, beginning with what it is now.
    package func changes() -> AsyncStream<Role> {
        AsyncStream(bufferingPolicy: .bufferingNewest(1)) { continuation in
            let number = state.withLock { state -> Int in
                state.nextWatcher += 1
                state.watchers[state.nextWatcher] = continuation
                continuation.yield(state.role)
                return state.nextWatcher
            }
            continuation.onTermination = { [state] _ in
                state.withLock { state in state.watchers[number] = nil }
            }
        }
    }

    /// Takes part in the election until the task is cancelled, then gives the lease up.
    package func run() async {
        guard let store else {
            while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
            return
        }
        while !Task.isCancelled {
            let request = state.withLock { $0.isFrozen ? nil : $0.elector.next(now: monotonicMilliseconds()) }
            if let request {
                let reply = await send(request, store)
                let now = monotonicMilliseconds()
                state.withLock { state in
                    state.elector.handle(reply, now: now)
                    if reply != .failed { state.lastContact = now }
                }
            }
            settle()
            let now = monotonicMilliseconds()
            let wait = max(now, state.withLock { $0.elector.wakeAt }) - now
            if wait > 0 || request == nil { try? await Task.sleep(for: .milliseconds(min(max(wait, 50), 500))) }
        }
        // The task is cancelled already; this one is not.
        await Task { [self] in await giveUp(store) }.value
        settle()
    }

    private func giveUp(_ store: any LeaseStore) async {
        let (isHeld, request) = state.withLock { state -> (Bool, LeaderElector.Request?) in
            let now = monotonicMilliseconds()
            let isHeld = !state.isFrozen && state.elector.isLeader(now: now)
            return (isHeld, isHeld ? state.elector.release(now: now) : nil)
        }
        guard isHeld else { return }
        if let request, case .written = await send(request, store) { return }
        // A renewal that the end cut off may have been written all the same: then the lease is another than the one known.
        guard case .found(var record, let version) = await send(.read, store), record.holder == identity else { return }
        (record.holder, record.duration) = ("", 1000)
        _ = await send(.update(record, version: version), store)
    }

    private var identity: String { state.withLock { $0.elector.identity } }

    func freeze() { state.withLock { $0.isFrozen = true } }

    private func settle() {
        let now = monotonicMilliseconds()
        let (before, after) = state.withLock { state -> (Role, Role) in
            let before = state.role
            let elector = state.elector
            if elector.isLeader(now: now) {
                state.role = .leader
            } else if now - state.lastContact > elector.timing.lease {
                state.role = .unknown
            } else if elector.observed != nil || before != .unknown {
                state.role = .follower(leader: elector.holder == elector.identity ? "" : elector.holder)
            }
            if state.role != before { for watcher in state.watchers.values { watcher.yield(state.role) } }
            return (before, state.role)
        }
        guard before != after else { return }
        isLeaderGauge.set(after == .leader ? 1 : 0)
        metrics.counter(
            "kops_leader_transitions_total", "Changes of this sidecar's role in the election."
        ).add()
        log.info("leadership", metadata: ["role": "\(after)"])
    }

    private func send(_ request: LeaderElector.Request, _ store: any LeaseStore) async -> LeaderElector.Reply {
        let holderBefore = state.withLock { $0.elector.holder }
        let identity = identity
        let limit = requestTimeout
        return await withTaskGroup(of: LeaderElector.Reply.self) { group in
            group.addTask { [log, metrics] in
                do {
                    switch request {
                    case .read:
                        guard let (record, version) = try await store.read() else { return .absent }
                        return .found(record, version: version)
                    case .create(let record):
                        return .written(version: try await store.create(record, isNew: true))
                    case .update(let record, let version):
                        return .written(
                            version: try await store.update(record, version: version, isNew: holderBefore != identity))
                    }
                } catch is LeaseConflict {
                    return .conflict
                } catch {
                    if !(error is CancellationError) {
                        log.debug("the lease is out of reach", metadata: ["error": "\(error)"])
                        metrics.counter(
                            "kops_leader_request_failures_total", "Requests about the lease that came to nothing."
                        ).add()
                    }
                    return .failed
                }
            }
            group.addTask {
                try? await Task.sleep(for: limit)
                return .failed
            }
            let first = await group.next() ?? .failed
            group.cancelAll()
            return first
        }
    }
}

/// Milliseconds of a clock that never jumps.
func monotonicMilliseconds() -> Int64 { monotonicNanoseconds() / 1_000_000 }
