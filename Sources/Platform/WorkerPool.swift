import CPlatform
import Glibc

/// Threads of our own for work that blocks or computes, so that the cooperative pool never waits. Thread-safe.
///
/// Jobs start in the order in which they came. The queue is bounded: a job that finds it full is refused with
/// `WorkerPoolError.full` rather than kept without limit.
package final class WorkerPool: Sendable {
    /// For queries, inflating, compressing and parsing: one thread for each core, at least two.
    package static let shared = WorkerPool(name: "kops-work", threads: max(2, processorCount()), queueLimit: 100_000)
    /// For work that mostly waits: files, DNS, child processes.
    package static let blocking = WorkerPool(name: "kops-block", threads: 8, queueLimit: 10_000)

    private struct State {
        var queue: [@Sendable () -> Void] = []
        var head = 0
        var stopped = false
    }

    private final class Shared: @unchecked Sendable {
        // Unchecked: `state` is touched only while `mutex` is held.
        var state = State()
        let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
        let ready = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

        init() {
            pthread_mutex_init(mutex, nil)
            pthread_cond_init(ready, nil)
        }

        deinit {
            pthread_mutex_destroy(mutex)
            pthread_cond_destroy(ready)
            mutex.deallocate()
            ready.deallocate()
        }

        func work() {
            while true {
                pthread_mutex_lock(mutex)
                while state.head == state.queue.count && !state.stopped { pthread_cond_wait(ready, mutex) }
                if state.head == state.queue.count {
                    pthread_mutex_unlock(mutex)
                    return
                }
                let job = state.queue[state.head]
                state.queue[state.head] = {}
                state.head += 1
                if state.head == state.queue.count {
                    state.queue.removeAll(keepingCapacity: state.queue.capacity < 4096)
                    state.head = 0
                } else if state.head > 4096 && state.head * 2 > state.queue.count {
                    state.queue.removeFirst(state.head)
                    state.head = 0
                }
                pthread_mutex_unlock(mutex)
                job()
            }
        }
    }

    private let shared = Shared()
    private let queueLimit: Int

    package init(name: String, threads: Int, queueLimit: Int) {
        self.queueLimit = queueLimit
        for i in 0..<threads {
            let shared = shared
            startThread(name: "\(name)-\(i)") { shared.work() }
        }
    }

    deinit { stop() }

    /// Lets the threads end once the queue is empty.
    package func stop() {
        pthread_mutex_lock(shared.mutex)
        shared.state.stopped = true
        pthread_cond_broadcast(shared.ready)
        pthread_mutex_unlock(shared.mutex)
    }

    /// Queues the job; false when the queue is full or the pool stopped.
    package func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
        pthread_mutex_lock(shared.mutex)
        let taken = !shared.state.stopped && shared.state.queue.count - shared.state.head < queueLimit
        if taken { shared.state.queue.append(job) }
        pthread_mutex_unlock(shared.mutex)
        // A thread that is woken before the mutex is free only waits for it.
        if taken { pthread_cond_signal(shared.ready) }
        return taken
    }

    /// Jobs waiting for a thread.
    package var queueLength: Int {
        pthread_mutex_lock(shared.mutex)
        defer { pthread_mutex_unlock(shared.mutex) }
        return shared.state.queue.count - shared.state.head
    }

    /// Runs `body` on one of the threads and returns what it returns.
    package func run<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<R, any Error>) in
            let taken = submit { continuation.resume(with: Result(catching: body)) }
            if !taken { continuation.resume(throwing: WorkerPoolError.full) }
        }
    }
}

package enum WorkerPoolError: Error, CustomStringConvertible {
    case full

    package var description: String { "too much work is waiting already; try again later" }
}

/// Online processors.
package func processorCount() -> Int { max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN)))) }

/// Starts a detached thread with 8 MiB of stack; its name is cut to 15 bytes, as the kernel asks. A machine out of
/// threads makes this a no-op that is said on standard error: whoever waits for the thread then runs into its time limit.
package func startThread(name: String, _ body: @escaping @Sendable () -> Void) {
    final class Box {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    let box = Unmanaged.passRetained(Box(body))
    let result = kops_start_thread(
        name,
        { raw in
            guard let raw else { return }
            Unmanaged<Box>.fromOpaque(raw).takeRetainedValue().body()
        }, box.toOpaque())
    if result != 0 {
        box.release()
        let line = Array("kops-sidecar: cannot start thread \(name): \(systemMessage(result))\n".utf8)
        _ = write(2, line, line.count)
    }
}
