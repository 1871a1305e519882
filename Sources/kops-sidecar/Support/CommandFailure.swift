import Glibc

/// Why a command ends without success: the lines for standard error and the exit status.
struct CommandFailure: Error {
    let status: Int32
    let lines: [String]

    /// The thing asked for failed or was found wrong.
    static func failed(_ lines: String...) -> CommandFailure { CommandFailure(status: 1, lines: lines) }
    static func failed(_ lines: [String]) -> CommandFailure { CommandFailure(status: 1, lines: lines) }
    /// Unusable arguments or configuration.
    static func unusable(_ lines: String...) -> CommandFailure { CommandFailure(status: 2, lines: lines) }
    static func unusable(_ lines: [String]) -> CommandFailure { CommandFailure(status: 2, lines: lines) }
    /// Refused for safety; the line says which flag overrides it.
    static func refused(_ lines: String...) -> CommandFailure { CommandFailure(status: 3, lines: lines) }
}

func printError(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    bytes.withUnsafeBytes { buffer in
        var sent = 0
        while sent < buffer.count {
            let n = write(STDERR_FILENO, buffer.baseAddress.map { $0 + sent }, buffer.count - sent)
            if n <= 0 { return }
            sent += n
        }
    }
}

func flushOutput() { fflush(nil) }

/// Writes bytes to standard output; throws where the reader has gone.
func writeOutput(_ bytes: [UInt8]) throws {
    try bytes.withUnsafeBytes { buffer in
        var sent = 0
        while sent < buffer.count {
            let n = write(STDOUT_FILENO, buffer.baseAddress.map { $0 + sent }, buffer.count - sent)
            if n < 0, errno == EINTR { continue }
            if n <= 0 { throw CommandFailure.failed("cannot write to standard output") }
            sent += n
        }
    }
}

var standardOutputIsTerminal: Bool { isatty(STDOUT_FILENO) == 1 }
var standardErrorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }
