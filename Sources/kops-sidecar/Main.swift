import ArgumentParser
import Glibc
import Platform

/// The program: parses the arguments, runs the command and ends with the status that INTERFACE promises: 0 done, 1 failed
/// or found wrong, 2 unusable arguments or configuration, 3 refused for safety, 130 interrupted.
@main
enum Main {
    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        ProcessMemory.limitHeaps()
        do {
            try await runInterruptibly()
            end(0)
        } catch let failure as CommandFailure {
            flushOutput()
            for line in failure.lines { printError(line) }
            end(failure.status)
        } catch is CancellationError {
            flushOutput()
            printError("interrupted")
            end(130)
        } catch {
            let status = KopsSidecarCommand.exitCode(for: error)
            let message = KopsSidecarCommand.fullMessage(for: error)
            flushOutput()
            if status.isSuccess {
                if !message.isEmpty { print(message) }
                end(0)
            }
            if status == .validationFailure {
                printError(usageLine(KopsSidecarCommand.message(for: error), message))
                end(2)
            }
            if !message.isEmpty { printError(message) }
            end(status.rawValue)
        }
    }

    /// Ends the process without the handlers that libraries have left for its end: OpenSSL's would take away what threads of
    /// HTTP clients, closing their connections, still use (SSH takes its leave), and the process would end by a signal.
    private static func end(_ status: Int32) -> Never {
        flushOutput()
        _exit(status)
    }
}

/// What is wrong with the arguments, and where to read on, as one line; the parser's own text has the usage below it.
private func usageLine(_ problem: String, _ text: String) -> String {
    let words = problem.split(whereSeparator: \.isNewline).map { $0.trimmingPrefix(while: \.isWhitespace) }
    let line = words.joined(separator: " ")
    guard
        let quoted = text.split(separator: "'").last(where: { $0.hasPrefix("kops-sidecar") && $0.hasSuffix("--help") })
    else { return line }
    return "\(line); see '\(quoted)'"
}
