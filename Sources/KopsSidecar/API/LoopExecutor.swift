import NIOCore

/// Lets one request of all that an event loop finds at once be answered on its thread: the others go to the pool's threads, which work
/// side by side.
struct LoopTurn: Sendable {
    private let loop: any EventLoop
    /// Nil: free.
    private let taken: NIOLoopBoundBox<Bool?>

    init(_ loop: any EventLoop) {
        self.loop = loop
        taken = .makeEmptyBox(eventLoop: loop)
    }

    /// On the loop's thread: whether the turn was free. It is again when the loop has dealt with what it has found.
    func take() -> Bool {
        guard taken.value == nil else { return false }
        taken.value = true
        loop.execute { [taken] in taken.value = nil }
        return true
    }
}

/// Runs a service and its connections' tasks on one event loop's thread, so that a request is read, handed to the pool that
/// computes and answered without changing threads in between; waking one costs more than a small answer. Nothing that blocks
/// or computes for long may run there: that is what worker pools are for. Thread-safe.
final class LoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(_ loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
