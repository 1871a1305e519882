import Platform

/// Cuts a watch's stream into lines between libcurl's thread, which fills, and the watch's task, which takes. Bounded by
/// bytes. Thread-safe; one taker.
final class WatchLines: Sendable {
    enum Ending: Sendable {
        /// The server ended it, as it does after its timeout.
        case closed(status: Int, body: [UInt8], retryAfter: String?)
        case failed(HTTPError)
        /// The taker was too slow, or a line is larger than the whole buffer.
        case overflow
    }

    private struct State {
        var lines: [[UInt8]] = []
        var head = 0
        var bytes = 0
        var partial: [UInt8] = []
        var status = 0
        var refusal: [UInt8] = []
        var overflowed = false
        var ending: Ending?
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Lock(State())
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    func begin(status: Int) { state.withLock { $0.status = status } }

    /// False ends the transfer.
    func take(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let (goOn, waiter) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
            if state.status != 200 {
                // An error's body: a Status object.
                if state.refusal.count < 65_536 { state.refusal.append(contentsOf: bytes) }
                return (true, nil)
            }
            var rest = bytes[...]
            while let end = rest.firstIndex(of: 10) {
                state.partial.append(contentsOf: rest[..<end])
                rest = rest[(end + 1)...]
                if !state.partial.isEmpty {
                    state.bytes += state.partial.count
                    state.lines.append(state.partial)
                }
                state.partial = []
            }
            state.partial.append(contentsOf: rest)
            if state.bytes + state.partial.count > limit {
                state.overflowed = true
                return (false, nil)
            }
            if state.head == state.lines.count { return (true, nil) }
            defer { state.waiter = nil }
            return (true, state.waiter)
        }
        waiter?.resume()
        return goOn
    }

    func end(_ result: Result<HTTPResponse, HTTPError>) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if state.overflowed {
                state.ending = .overflow
            } else {
                switch result {
                case .success(let response):
                    state.ending = .closed(
                        status: response.status, body: state.refusal, retryAfter: response.header("retry-after"))
                case .failure(let error): state.ending = .failed(error)
                }
            }
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    enum Next: Sendable {
        case line([UInt8])
        case ended(Ending)
    }

    /// The next line, waiting for it; lines that came before the end are given out first.
    func next() async -> Next {
        while true {
            let found = state.withLock { state -> Next? in
                if state.head < state.lines.count {
                    let line = state.lines[state.head]
                    state.lines[state.head] = []
                    state.head += 1
                    state.bytes -= line.count
                    if state.head == state.lines.count || state.head > 1024 {
                        state.lines.removeFirst(state.head)
                        state.head = 0
                    }
                    return .line(line)
                }
                return state.ending.map { .ended($0) }
            }
            if let found { return found }
            await withCheckedContinuation { continuation in
                let ready = state.withLock { state in
                    if state.head < state.lines.count || state.ending != nil { return true }
                    state.waiter = continuation
                    return false
                }
                if ready { continuation.resume() }
            }
        }
    }
}
