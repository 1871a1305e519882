import Glibc

/// Runs programs on this very machine.
package struct LocalExecutor: Executor {
    package let host: String
    private let isRoot: Bool

    package init(host: String) {
        self.host = host
        isRoot = geteuid() == 0
    }

    package func run(_ command: HostCommand) async throws(ExecutorError) -> CommandResult {
        try await run(command, line: nil)
    }

    package func run(
        _ command: HostCommand, line: (@Sendable (String) -> Void)?
    ) async throws(ExecutorError) -> CommandResult {
        var arguments = command.guardedArguments
        if command.needsRoot, !isRoot { arguments = ["sudo", "-n", "--"] + arguments }
        let result: CommandResult
        do {
            result = try await runProcess(
                arguments, input: command.input, inputFile: command.inputFile, timeout: command.outerTimeout,
                outputLimit: command.outputLimit, line: line)
        } catch is ProcessTimeout {
            throw ExecutorError(.timeout, host: host, took(command))
        } catch {
            throw ExecutorError(.notStarted, host: host, "\(command.arguments.first ?? "") was not run: \(error)")
        }
        return try checked(result, command, host: host)
    }
}

/// What the wrapping of a command tells by its own exit status, told apart from the command's.
func checked(_ result: CommandResult, _ command: HostCommand, host: String) throws(ExecutorError) -> CommandResult {
    // coreutils' timeout: 124 after SIGTERM, 137 where it had to kill.
    if result.status == 124 || result.status == 137 {
        throw ExecutorError(.timeout, host: host, took(command))
    }
    if command.isExclusive, result.status == 75, result.output.isEmpty {
        throw ExecutorError(
            .timeout, host: host,
            "another command of kops-sidecar holds \(command.lockFile) for more than \(command.timeout / 1000) s")
    }
    if command.isExclusive, result.status == 76, result.output.isEmpty {
        throw ExecutorError(
            .notStarted, host: host,
            "\(command.text.prefix(200)) was not run: another command of kops-sidecar came after it and took its place")
    }
    if result.status == 1, result.errors.hasPrefix("sudo: ") {
        throw ExecutorError(
            .noRoot, host: host,
            "sudo asks for a password or refuses: allow this user to run commands with NOPASSWD (\(result.lastWords))")
    }
    return result
}

func took(_ command: HostCommand) -> String {
    "\(command.text.prefix(200)) took longer than \(command.timeout / 1000) s and was ended"
}
