import Platform

/// Says that a client has gone away to whatever works for it. Thread-safe.
package final class Cancellation: Sendable {
    private struct State {
        var cancelled = false
        var handlers: [@Sendable () -> Void] = []
    }

    private let state = Lock(State())

    package init() {}

    package var isCancelled: Bool { state.withLock { $0.cancelled } }

    package func cancel() {
        let handlers = state.withLock { state in
            state.cancelled = true
            defer { state.handlers = [] }
            return state.handlers
        }
        for handler in handlers { handler() }
    }

    /// Calls `handler` once: on cancellation, or at once where that has been.
    package func onCancel(_ handler: @escaping @Sendable () -> Void) {
        let now = state.withLock { state in
            if !state.cancelled { state.handlers.append(handler) }
            return state.cancelled
        }
        if now { handler() }
    }
}
