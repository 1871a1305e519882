import Glibc

/// A value guarded by a mutex of pthread's, which the thread sanitizer understands (the standard library's `Mutex` made
/// it report races that are none). Hold it briefly: no waiting, no input or output inside.
package final class Lock<Value>: @unchecked Sendable {
    // Unchecked: `held` is touched only while `mutex` is held. The byte gives a value without a size a place of its own: it
    // would lie where the object begins, and the sanitizer would take reading that for a use of the value.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var held: (value: Value, place: UInt8)

    package init(_ value: Value) {
        held = (value, 0)
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
        return try body(&held.value)
    }
}
