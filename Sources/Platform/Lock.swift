import Glibc

/// A value guarded by a mutex of pthread's, which the thread sanitizer understands (the standard library's `Mutex` made
/// it report races that are none). Hold it briefly: no waiting, no input or output inside.
package final class Lock<Value>: @unchecked Sendable {
    // Unchecked: `value` is touched only while `mutex` is held. It lies behind it: one without a size would lie where the next
    // member does, and the sanitizer would take the one's use for the other's.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var value: Value

    package init(_ value: Value) {
        self.value = value
        mutex = .allocate(capacity: 1)
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    @inline(__always)
    package func withLock<R>(_ body: (inout Value) throws -> R) rethrows -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&value)
    }
}
