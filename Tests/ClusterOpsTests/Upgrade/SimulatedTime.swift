import Platform

@testable import ClusterOps

/// A clock that jumps to the next moment somebody waits for, as soon as nobody has anything else to do. Everything that lives in
/// it runs on one thread of its own (`run`, `task`), so that it is known when that is: time never runs ahead of a task that the
/// machine has not come to, however busy it is, and every run goes the same way.
final class SimulatedTime: Sendable {
    private struct Sleeper {
        var wake: Int64
        var continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var now: Int64
        var next = 0
        var sleepers: [Int: Sleeper] = [:]
        var cancelled: Set<Int> = []
        /// Jobs that wait for the thread or are on it.
        var jobs = 0
    }

    private let state: Lock<State>
    private let executor: SimulatedExecutor

    init(at now: Int64 = 1_800_000_000_000) {
        state = Lock(State(now: now))
        executor = SimulatedExecutor()
        executor.time.withLock { $0 = Weak(self) }
    }

    struct Weak: Sendable {
        weak let time: SimulatedTime?
        init(_ time: SimulatedTime) { self.time = time }
    }

    var now: Int64 { state.withLock { $0.now } }

    var pacing: Pacing { Pacing(now: { self.now }, sleep: { try await self.sleep($0) }) }

    /// Does something in this time. What it awaits must live here too, or time goes on without it.
    func run<R: Sendable>(_ body: @Sendable () async throws -> R) async rethrows -> R {
        try await withTaskExecutorPreference(executor) { try await body() }
    }

    fileprivate func begins() { state.withLock { $0.jobs += 1 } }

    fileprivate func ends() {
        let isIdle = state.withLock { state in
            state.jobs -= 1
            return state.jobs == 0
        }
        if isIdle { step() }
    }

    /// Wakes who wakes first.
    private func step() {
        let woken = state.withLock { state -> CheckedContinuation<Void, any Error>? in
            guard let first = state.sleepers.min(by: { ($0.value.wake, $0.key) < ($1.value.wake, $1.key) }) else {
                return nil
            }
            state.now = max(state.now, first.value.wake)
            state.sleepers[first.key] = nil
            return first.value.continuation
        }
        woken?.resume()
    }

    func sleep(_ milliseconds: Int64) async throws {
        let id = state.withLock { state in
            state.next += 1
            return state.next
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
                let isCancelled = state.withLock { state in
                    if state.cancelled.remove(id) != nil { return true }
                    state.sleepers[id] = Sleeper(wake: state.now + milliseconds, continuation: continuation)
                    return false
                }
                if isCancelled { continuation.resume(throwing: CancellationError()) }
            }
        } onCancel: {
            let sleeper = state.withLock { state in
                let sleeper = state.sleepers.removeValue(forKey: id)
                if sleeper == nil { state.cancelled.insert(id) }
                return sleeper
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }
}

/// One thread for all jobs of a simulated time.
private final class SimulatedExecutor: TaskExecutor {
    let time = Lock<SimulatedTime.Weak?>(nil)
    private let pool = WorkerPool(name: "simulated", threads: 1, queueLimit: 100_000)

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let time = time.withLock { $0?.time }
        time?.begins()
        let taken = pool.submit { [self] in
            job.runSynchronously(on: asUnownedTaskExecutor())
            time?.ends()
        }
        precondition(taken, "more than 100,000 jobs wait")
    }
}
