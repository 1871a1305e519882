import Platform

/// What the steps of an upgrade work with.
package struct UpgradeContext: Sendable {
    package var cluster: any UpgradeCluster
    /// The way to a node, by its name and address.
    package var executor: @Sendable (_ node: String, _ address: String) throws -> any Executor
    package var options: UpgradeOptions
    package var pacing: Pacing
    /// Whether etcd is well; throws with what is wrong. Asked after each control plane.
    package var checkEtcd: (@Sendable () async throws -> Void)?
    /// Sends an HTTP hook; the status of the answer.
    package var sendHTTP: @Sendable (UpgradeOptions.Hook, _ fill: @Sendable (String) -> String) async throws -> Int
    /// Runs a hook's command on this machine.
    package var here: any Executor
    /// How long a step has waited for the API server so far; its own limits do not count that time.
    var away = AwayTime()

    package init(
        cluster: any UpgradeCluster, options: UpgradeOptions, pacing: Pacing, here: any Executor,
        executor: @escaping @Sendable (_ node: String, _ address: String) throws -> any Executor,
        sendHTTP: @escaping @Sendable (UpgradeOptions.Hook, _ fill: @Sendable (String) -> String) async throws -> Int
    ) {
        self.cluster = cluster
        self.options = options
        self.pacing = pacing
        self.here = here
        self.executor = executor
        self.sendHTTP = sendHTTP
    }
}

/// Milliseconds that were spent on waiting for the API server. Thread-safe.
final class AwayTime: Sendable {
    private let total = Lock<Int64>(0)
    var milliseconds: Int64 { total.withLock { $0 } }
    func add(_ milliseconds: Int64) { total.withLock { $0 += milliseconds } }
}

extension UpgradeContext {
    /// The same for one step: with limits of its own.
    func forStep() -> UpgradeContext {
        var copy = self
        copy.away = AwayTime()
        return copy
    }

    /// The time by which a step's limits are measured: it stands still while the API server is away.
    var stepTime: Int64 { pacing.now() - away.milliseconds }

    /// Calls the API, and again while it is away, until `apiTimeout` is over.
    func patiently<T: Sendable>(
        _ tell: @Sendable (String) -> Void = { _ in },
        _ body: @Sendable () async throws(ClusterCallError) -> T
    ) async throws -> T {
        let deadline = pacing.now() + options.apiTimeout
        var wait: Int64 = 2000
        var hasWaited = false
        while true {
            do {
                let answer = try await body()
                if hasWaited { tell("") }
                return answer
            } catch  where error.kind == .away {
                try Task.checkCancellation()
                guard pacing.now() < deadline else {
                    throw UpgradeError(
                        .failed,
                        "the API server has been away for \(options.apiTimeout / 60_000) min: \(error.message)")
                }
                hasWaited = true
                tell("waits for the API server: \(error.message)")
                let begun = pacing.now()
                try await pacing.sleep(wait)
                away.add(pacing.now() - begun)
                wait = min(wait * 2, 15_000)
            } catch {
                throw UpgradeError(error.kind == .notFound ? .nodeGone : .failed, error.message)
            }
        }
    }

    /// Waits until a thing is so. `body` tells what is still missing, nil where nothing is.
    func wait(
        _ limit: Int64, _ tell: @Sendable (String) -> Void, every pause: Int64 = 3000,
        _ body: @Sendable () async throws -> String?
    ) async throws {
        let deadline = stepTime + limit
        while true {
            guard let missing = try await body() else { return tell("") }
            try Task.checkCancellation()
            guard stepTime < deadline else {
                throw UpgradeError(.failed, "after \(limit / 1000) s: \(missing)")
            }
            tell("waits: \(missing)")
            try await pacing.sleep(pause)
        }
    }

    /// Runs a program on a node, and again while the node cannot be reached, until `nodeTimeout` is over.
    func run(
        _ command: HostCommand, on executor: any Executor, _ tell: @Sendable (String) -> Void = { _ in }
    ) async throws -> CommandResult {
        let deadline = pacing.now() + options.nodeTimeout
        while true {
            do {
                return try await executor.run(command)
            } catch {
                try Task.checkCancellation()
                guard error.isTransient, pacing.now() < deadline else { throw UpgradeError(.failed, error.description) }
                tell("waits for the machine: \(error.message)")
                try await pacing.sleep(5000)
            }
        }
    }

    /// As `run`, with an error where the program does not end with 0.
    func require(
        _ command: HostCommand, on executor: any Executor, _ tell: @Sendable (String) -> Void = { _ in }
    ) async throws -> CommandResult {
        let result = try await run(command, on: executor, tell)
        guard result.isSuccess else {
            throw UpgradeError(.failed, "\(command.text.prefix(160)) ended with \(result.status): \(result.lastWords)")
        }
        return result
    }
}
