import ArgumentParser
import Glibc
import Platform

/// A command that leaves nothing half done behind when its task is cancelled: files of its own, a child process. Every other
/// one may end at once, for what it changes is journalled or written aside.
protocol CleansUpWhenInterrupted {}

/// Runs the command that the arguments name so that SIGINT and SIGTERM end it with exit status 130. A second one ends it at
/// once, and so does the first where there is nothing to clean up. The service knows itself how to end.
func runInterruptibly() async throws {
    let cancel = Lock<(@Sendable () -> Void)?>(nil)
    let wasInterrupted = Lock(false)
    let work = Task {
        var command = try KopsSidecarCommand.parseAsRoot()
        guard var waiting = command as? any AsyncParsableCommand else { return try command.run() }
        if !(waiting is RunCommand) {
            let cleansUp = waiting is any CleansUpWhenInterrupted
            onInterrupt { isFirst in
                guard isFirst, cleansUp, let cancel = cancel.withLock({ $0 }) else {
                    printError("interrupted")
                    _exit(130)
                }
                wasInterrupted.withLock { $0 = true }
                cancel()
            }
        }
        try await waiting.run()
    }
    cancel.withLock { $0 = { work.cancel() } }
    do {
        try await work.value
    } catch {
        // Whatever the work said of being cancelled.
        if wasInterrupted.withLock({ $0 }) { throw CancellationError() }
        throw error
    }
}

/// Where the signals' handler writes: it may do no more than that.
private let wakeUp: (read: Int32, write: Int32) = {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { return (-1, -1) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    return (ends[0], ends[1])
}()

/// Calls `body` on a thread of its own at every SIGINT and SIGTERM that is not ignored already. Handlers do not outlive an
/// exec, so that children take the signals as ever.
private func onInterrupt(_ body: @escaping @Sendable (_ isFirst: Bool) -> Void) {
    let end = wakeUp.read
    guard end >= 0 else { return }
    for number in [SIGINT, SIGTERM] {
        var before = sigaction()
        sigaction(number, nil, &before)
        if unsafeBitCast(before.__sigaction_handler.sa_handler, to: Int.self) == 1 { continue }
        signal(number) { _ in
            let saved = errno
            var byte: UInt8 = 1
            _ = write(wakeUp.write, &byte, 1)
            errno = saved
        }
    }
    startThread(name: "interrupts") {
        var isFirst = true
        var byte: UInt8 = 0
        while true {
            let n = read(end, &byte, 1)
            if n < 0, errno == EINTR { continue }
            if n <= 0 { return }
            body(isFirst)
            isFirst = false
        }
    }
}
