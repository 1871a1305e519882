import ClusterOps
import Platform

/// A machine that is none: a function answers each command. A stand-in for hosts that cannot be had in a test.
final class ScriptedExecutor: Executor {
    let host: String
    private let answer: @Sendable (HostCommand) async throws(ExecutorError) -> CommandResult
    private let seen = Lock<[HostCommand]>([])

    init(_ host: String, answer: @escaping @Sendable (HostCommand) async throws(ExecutorError) -> CommandResult) {
        self.host = host
        self.answer = answer
    }

    /// What was asked of it, in order.
    var commands: [HostCommand] { seen.withLock { $0 } }

    func run(_ command: HostCommand) async throws(ExecutorError) -> CommandResult {
        seen.withLock { $0.append(command) }
        return try await answer(command)
    }
}
