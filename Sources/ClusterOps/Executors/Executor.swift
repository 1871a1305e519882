/// A program to run on a machine. No shell reads the arguments: each reaches the program as it is.
package struct HostCommand: Sendable, Hashable {
    /// The program, then its arguments.
    package var arguments: [String]
    /// How long it may take, in milliseconds. On the machine itself it is ended a little later, so that nothing that was
    /// given up goes on unseen.
    package var timeout: Int64
    /// Whether it needs root: a user who is not gets there by `sudo -n`.
    package var needsRoot = true
    /// Runs alone: whoever holds the machine's lock goes first. For what changes the machine, so that a step done again
    /// after a kill never meets the one before.
    package var isExclusive = false
    /// Where that lock lies on the machine.
    var lockFile = HostCommand.lockFile
    /// A file on the machine that takes the output before it is handed on, so that the program outlives a lost connection.
    package var logFile: String?
    package var input: [UInt8] = []
    /// A file of this machine whose contents are the input, streamed: for what is too large to hold.
    package var inputFile: String?
    /// Of standard output and standard error each; what is more is cut out of the middle.
    package var outputLimit = 1 << 20

    package init(_ arguments: [String], timeout: Int64 = 60_000) {
        self.arguments = arguments
        self.timeout = timeout
    }

    /// The command as one would type it, for messages.
    package var text: String { arguments.map(quoteForShell).joined(separator: " ") }
}

/// What a program left: its exit status and what it printed.
package struct CommandResult: Sendable, Hashable {
    /// 128 and the signal's number where a signal ended it; 127 where there is no such program.
    package var status: Int32
    package var output: String
    package var errors: String

    package init(status: Int32, output: String = "", errors: String = "") {
        self.status = status
        self.output = output
        self.errors = errors
    }

    package var isSuccess: Bool { status == 0 }

    /// The last line that says something, for messages.
    package var lastWords: String {
        func last(_ text: String) -> String? {
            text.split(whereSeparator: \.isNewline).map { $0.drop { $0 == " " || $0 == "\t" } }
                .last { !$0.isEmpty && !$0.hasPrefix("To see the stack trace") }.map { String($0.prefix(400)) }
        }
        return last(errors) ?? last(output) ?? "it printed nothing"
    }
}

/// Why a program could not be run to its end on a machine. What the program itself says is no such error.
package struct ExecutorError: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        /// The machine does not answer, or went away in the midst.
        case unreachable
        /// The machine shows another key than the known one.
        case hostKeyChanged
        /// No key of the machine is known.
        case hostKeyUnknown
        /// The machine refuses the user or the key.
        case authentication
        /// `sudo -n` is refused.
        case noRoot
        case timeout
        /// The program for reaching the machine could not be started.
        case notStarted
    }

    package let kind: Kind
    package let host: String
    package let message: String

    package init(_ kind: Kind, host: String, _ message: String) {
        self.kind = kind
        self.host = host
        self.message = message
    }

    package var description: String { "\(host): \(message)" }

    /// Whether the same may go well later without anybody doing something.
    package var isTransient: Bool { kind == .unreachable }
}

/// A way to run programs on one machine. Thread-safe; several programs may run at the same time.
package protocol Executor: Sendable {
    /// The machine, for messages.
    var host: String { get }

    /// Runs the program to its end. Whatever its exit status is, that is a result; an error says that it could not be run or
    /// took too long.
    func run(_ command: HostCommand) async throws(ExecutorError) -> CommandResult

    /// The same, and hands on each line of output and errors as it comes.
    func run(_ command: HostCommand, line: (@Sendable (String) -> Void)?) async throws(ExecutorError) -> CommandResult

    /// Lets go of connections.
    func close() async
}

extension Executor {
    package func close() async {}

    /// For those that cannot: all lines at the end.
    package func run(
        _ command: HostCommand, line: (@Sendable (String) -> Void)?
    ) async throws(ExecutorError) -> CommandResult {
        let result = try await run(command)
        if let line { for text in (result.errors + result.output).split(separator: "\n") { line(String(text)) } }
        return result
    }
}

/// The argument as a POSIX shell reads it back unchanged.
package func quoteForShell(_ text: String) -> String {
    let plain = text.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
            UInt8(ascii: "/"), UInt8(ascii: ":"), UInt8(ascii: "="), UInt8(ascii: ","), UInt8(ascii: "@"),
            UInt8(ascii: "+"), UInt8(ascii: "%"):
            true
        default: false
        }
    }
    if plain, !text.isEmpty { return text }
    var out = "'"
    for character in text.unicodeScalars {
        if character == "'" { out += "'\\''" } else { out.unicodeScalars.append(character) }
    }
    return out + "'"
}

extension HostCommand {
    /// One for all of a machine's sidecars and commands.
    static let lockFile = "/run/lock/kops-sidecar.lock"

    /// Takes its arguments' turn: a token, the lock, how long to wait for it, then the program. Whoever comes later wants the
    /// same done anew, so one that has waited and is no longer the last to have come does nothing: a command whose
    /// sender was killed must not run after those of its successor. Ends with 75 where the lock was not to be had,
    /// with 76 where another came.
    private static let takingTurns =
        "token=$1; lock=$2; wait=$3; shift 3; printf %s \"$token\" > \"$lock.last\" || exit 1; "
        + "exec flock --close -E 75 -w \"$wait\" \"$lock\" sh -c "
        + "'[ \"$(cat \"$2.last\")\" = \"$1\" ] || exit 76; shift 2; exec \"$@\"' sh \"$token\" \"$lock\" \"$@\""

    /// The program with what its timeout, lock and log file ask for put around it: coreutils' `timeout`, util-linux' `flock`.
    /// `timeout` alone counts for the program; waiting for the lock may take as long again.
    var guardedArguments: [String] {
        let seconds = max(1, timeout / 1000)
        var out = arguments
        if let logFile {
            out =
                [
                    "sh", "-c", "log=$1; shift; \"$@\" > \"$log\" 2>&1; status=$?; cat \"$log\"; exit $status", "sh",
                    logFile,
                ]
                + out
        }
        out = ["timeout", "-k", "10", String(seconds)] + out
        if isExclusive {
            let token = String(UInt64.random(in: 0...UInt64.max), radix: 16)
            out = ["sh", "-c", Self.takingTurns, "sh", token, lockFile, String(seconds)] + out
        }
        return out
    }

    /// How long the whole may take as seen from here, in milliseconds.
    var outerTimeout: Int64 { (isExclusive ? 2 : 1) * timeout + 15_000 }
}
