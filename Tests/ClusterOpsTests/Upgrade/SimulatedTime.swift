import Platform

@testable import ClusterOps

/// A clock that jumps to the next moment somebody waits for, as soon as nobody has anything else to do.
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
    }

    private let state: Lock<State>
    private let driver = Lock<Task<Void, Never>?>(nil)

    init(at now: Int64 = 1_800_000_000_000) {
        state = Lock(State(now: now))
        let task = Task { [weak self] in
            while !Task.isCancelled {
                // Whoever can run does so first.
                for _ in 0..<12 { await Task.yield() }
                guard let self else { return }
                if !self.step() { try? await Task.sleep(for: .microseconds(200)) }
            }
        }
        driver.withLock { $0 = task }
    }

    deinit { driver.withLock { $0?.cancel() } }

    var now: Int64 { state.withLock { $0.now } }

    var pacing: Pacing { Pacing(now: { self.now }, sleep: { try await self.sleep($0) }) }

    /// Wakes who wakes first; false where nobody sleeps.
    private func step() -> Bool {
        let woken = state.withLock { state -> CheckedContinuation<Void, any Error>? in
            guard let first = state.sleepers.min(by: { ($0.value.wake, $0.key) < ($1.value.wake, $1.key) }) else {
                return nil
            }
            state.now = max(state.now, first.value.wake)
            state.sleepers[first.key] = nil
            return first.value.continuation
        }
        woken?.resume()
        return woken != nil
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
