import NIOCore

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
