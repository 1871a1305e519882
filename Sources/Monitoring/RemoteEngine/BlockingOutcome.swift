import Glibc

/// Runs asynchronous work and blocks the calling thread, which is one of a worker pool's, until it is done.
func waitFor<R: Sendable>(_ body: @escaping @Sendable () async throws -> R) throws -> R {
    let outcome = BlockingOutcome<R>()
    Task { outcome.set(await Result { try await body() }) }
    return try outcome.wait().get()
}

extension Result where Failure == any Error {
    fileprivate init(_ body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}

/// A result that one thread waits for and a task sets. Thread-safe.
final class BlockingOutcome<R: Sendable>: @unchecked Sendable {
    // Unchecked: `result` is touched only while `mutex` is held.
    private var result: Result<R, any Error>?
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let ready = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

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

    func set(_ value: Result<R, any Error>) {
        pthread_mutex_lock(mutex)
        result = value
        pthread_cond_signal(ready)
        pthread_mutex_unlock(mutex)
    }

    /// Blocks until there is a result. `check` is called every 100 ms meanwhile and ends the wait by throwing.
    func wait(checking check: () throws -> Void = {}) throws -> Result<R, any Error> {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result { return result }
            var until = timespec()
            clock_gettime(CLOCK_REALTIME, &until)
            until.tv_nsec += 100_000_000
            if until.tv_nsec >= 1_000_000_000 {
                until.tv_sec += 1
                until.tv_nsec -= 1_000_000_000
            }
            pthread_cond_timedwait(ready, mutex, &until)
            try check()
        }
    }
}
