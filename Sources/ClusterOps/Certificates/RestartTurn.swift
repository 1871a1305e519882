import Kubernetes
package import Platform

/// One node at a time restarts what its control plane is made of. The turn is a Lease of the cluster's own, held by the node
/// that is at it; a node that was killed has it back at once, and one that never comes back loses it after ten minutes. With the
/// API server away nobody can be asked: then etcd's quorum, looked at right before a member is stopped, is what is left.
/// Thread-safe; one restart at a time is the caller's business.
package final class RestartTurn: Sendable {
    package enum Answer: Sendable, Equatable {
        case ours
        /// The lease was out of reach for `patience`.
        case nobodyToAsk(String)
    }

    package struct Limits: Sendable {
        /// Others take the lease when they saw no change of it for so long: longer than a node's API server is away.
        package var timing: LeaderElector.Timing
        /// How long others may be at it.
        package var wait: Duration = .seconds(45 * 60)
        /// How long the API server may be away before it counts as down.
        package var patience: Duration = .seconds(30)
        package var poll: Duration = .milliseconds(500)

        package init() {
            timing = LeaderElector.Timing()
            timing.lease = 600_000
            timing.renewDeadline = 540_000
            timing.retryPeriod = 5_000
        }
    }

    package static let leaseName = "kops-sidecar-restarts"

    private struct State {
        var elector: LeaderElector
        var keeper: Task<Void, Never>?
        var lastProblem = ""
        var lastAnswer: ContinuousClock.Instant?
    }

    private let store: any LeaseStore
    private let limits: Limits
    private let state: Lock<State>

    package init(node: String, store: any LeaseStore, limits: Limits = Limits()) {
        self.store = store
        self.limits = limits
        state = Lock(State(elector: LeaderElector(identity: node, timing: limits.timing)))
    }

    /// The Lease in `kube-system`, with the administrator's kubeconfig of this node.
    package convenience init(node: String, kubeconfig: String, clock: WallClock = .system) {
        var options = KubernetesClient.Options()
        options.attempts = 1
        options.timeout = .seconds(10)
        let settings = options
        let http = HTTPClient(name: "kops-turn")
        let lease = KubernetesLease(namespace: "kube-system", name: Self.leaseName, clock: clock) {
            let access = try await WorkerPool.blocking.run { try Kubeconfig.load(path: kubeconfig) }
            return KubernetesClient(access, http: http, clock: clock, options: settings)
        }
        self.init(node: node, store: lease)
    }

    private var isOurs: Bool { state.withLock { $0.elector.isLeader(now: monotonicMilliseconds()) } }

    /// Returns when this node may stop a component; at once where the turn is its own already. Throws where another node is at
    /// it for too long, and `CancellationError` where `isEnding` says so meanwhile.
    package func take(isEnding: @Sendable () -> Bool, tell: @Sendable (String) -> Void) async throws -> Answer {
        if isOurs { return .ours }
        let begun = ContinuousClock.now
        var told = ""
        while true {
            await step()
            if isOurs {
                keep()
                return .ours
            }
            if isEnding() { throw CancellationError() }
            let now = ContinuousClock.now
            let (holder, answered, problem) = state.withLock { ($0.elector.holder, $0.lastAnswer, $0.lastProblem) }
            if now - max(answered ?? begun, begun) > limits.patience { return .nobodyToAsk(problem) }
            if !holder.isEmpty, holder != told {
                told = holder
                tell("waits for \(holder), which restarts its components")
            }
            if now - begun > limits.wait {
                throw RenewalError(
                    "\(holder) has been restarting its components for \(limits.wait.components.seconds / 60) min: look there, or delete the lease kube-system/\(Self.leaseName)"
                )
            }
            try? await Task.sleep(for: limits.poll)
        }
    }

    /// Lets the next node have it.
    package func give() async {
        let keeper = state.withLock { state in
            defer { state.keeper = nil }
            return state.keeper
        }
        keeper?.cancel()
        await keeper?.value
        guard isOurs else { return }
        // After a write whose answer was lost the lease has to be read first; the API server has been away just now.
        for _ in 0..<20 where state.withLock({ $0.elector.mustRead }) {
            await step()
            try? await Task.sleep(for: limits.poll)
        }
        guard let request = state.withLock({ $0.elector.release(now: monotonicMilliseconds()) }) else { return }
        // Where it does not come through, the lease runs out.
        _ = await send(request)
    }

    /// Renews the lease while it is held, as often as the API server answers.
    private func keep() {
        state.withLock { state in
            guard state.keeper == nil else { return }
            state.keeper = Task { [weak self, poll = limits.poll] in
                while !Task.isCancelled {
                    try? await Task.sleep(for: poll)
                    guard let self, !Task.isCancelled else { return }
                    await self.step()
                }
            }
        }
    }

    private func step() async {
        guard let request = state.withLock({ $0.elector.next(now: monotonicMilliseconds()) }) else { return }
        let reply = await send(request)
        state.withLock { state in
            state.elector.handle(reply, now: monotonicMilliseconds())
            if reply != .failed { state.lastAnswer = ContinuousClock.now }
        }
    }

    private func send(_ request: LeaderElector.Request) async -> LeaderElector.Reply {
        let before = state.withLock { ($0.elector.holder, $0.elector.identity) }
        do {
            switch request {
            case .read:
                guard let (record, version) = try await store.read() else { return .absent }
                return .found(record, version: version)
            case .create(let record): return .written(version: try await store.create(record, isNew: true))
            case .update(let record, let version):
                return .written(
                    version: try await store.update(record, version: version, isNew: before.0 != before.1))
            }
        } catch is LeaseConflict {
            return .conflict
        } catch {
            state.withLock { $0.lastProblem = "\(error)" }
            return .failed
        }
    }
}
