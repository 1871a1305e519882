import Glibc

/// Results of pieces of work that are done side by side.
final class ParallelResults<Result: Sendable>: @unchecked Sendable {
    // Unchecked: `results` is touched only while `mutex` is held.
    private var results: [Result?]
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init(count: Int) {
        results = [Result?](repeating: nil, count: count)
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func set(_ i: Int, _ result: Result) {
        pthread_mutex_lock(mutex)
        results[i] = result
        pthread_mutex_unlock(mutex)
    }

    /// In order; those that were not set are left out.
    func all() -> [Result] {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return results.compactMap { $0 }
    }
}

/// Makes `EngineOptions.parallel` of something that runs jobs on other threads (`submit`, false where it takes none now).
///
/// The caller works too, and waits only for pieces that another thread has begun: so it may itself be one of the threads that
/// `submit` uses, and nothing waits for ever when all of them are busy.
package func sharedWork(
    threads: Int, submit: @escaping @Sendable (@escaping @Sendable () -> Void) -> Bool
) -> @Sendable (_ n: Int, _ body: @escaping @Sendable (Int) -> Void) -> Void {
    { n, body in
        let work = SharedWork(n, body)
        for _ in 1..<max(1, min(threads, n)) where !submit({ work.help() }) { break }
        work.help()
        work.wait()
    }
}

/// Pieces 0..<n, taken one by one by whoever has time.
private final class SharedWork: @unchecked Sendable {
    // Unchecked: `next` and `done` are touched only while `mutex` is held.
    private let n: Int
    private let body: @Sendable (Int) -> Void
    private var next = 0
    private var done = 0
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let finished = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init(_ n: Int, _ body: @escaping @Sendable (Int) -> Void) {
        self.n = n
        self.body = body
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(finished, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        pthread_cond_destroy(finished)
        mutex.deallocate()
        finished.deallocate()
    }

    func help() {
        while true {
            pthread_mutex_lock(mutex)
            let i = next
            if i < n { next += 1 }
            pthread_mutex_unlock(mutex)
            guard i < n else { return }
            body(i)
            pthread_mutex_lock(mutex)
            done += 1
            if done == n { pthread_cond_broadcast(finished) }
            pthread_mutex_unlock(mutex)
        }
    }

    func wait() {
        pthread_mutex_lock(mutex)
        while done < n { pthread_cond_wait(finished, mutex) }
        pthread_mutex_unlock(mutex)
    }
}
