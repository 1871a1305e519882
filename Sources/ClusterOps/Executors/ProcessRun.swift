import Glibc
import Platform
import Subprocess

/// The beginning and the end of a stream, at most `limit` bytes in all.
struct BoundedOutput {
    private let limit: Int
    private var head: [UInt8] = []
    private var tail: [UInt8] = []
    private var dropped = 0

    init(limit: Int) { self.limit = max(2, limit) }

    mutating func append(_ bytes: [UInt8]) {
        var rest = bytes[...]
        let room = limit / 2 - head.count
        if room > 0 {
            head.append(contentsOf: rest.prefix(room))
            rest = rest.dropFirst(room)
        }
        tail.append(contentsOf: rest)
        // Cut now and then only, so that appending stays linear.
        if tail.count > 2 * limit { cut() }
    }

    private mutating func cut() {
        let excess = tail.count - (limit - limit / 2)
        guard excess > 0 else { return }
        dropped += excess
        tail.removeFirst(excess)
    }

    /// The text; malformed UTF-8 is replaced.
    mutating func text() -> String {
        cut()
        let first = String(decoding: head, as: UTF8.self)
        if dropped == 0 { return first + String(decoding: tail, as: UTF8.self) }
        return first + "\n… \(dropped) bytes left out …\n" + String(decoding: tail, as: UTF8.self)
    }
}

/// A program that was given up.
struct ProcessTimeout: Error {
    /// What it had printed by then.
    var result: CommandResult
}

/// Runs a program of this machine in a process group of its own. When it takes too long, or the task is cancelled, the whole
/// group is asked to end and killed five seconds later.
///
/// The input is `input`, or the file `inputFile`; `line` gets each line of output and errors as it comes.
///
/// Throws `ProcessTimeout`, `CancellationError`, or what kept the program from starting.
func runProcess(
    _ arguments: [String], environment: [String: String] = [:], input: [UInt8] = [], inputFile: String? = nil,
    timeout: Int64, outputLimit: Int, line: (@Sendable (String) -> Void)? = nil
) async throws -> CommandResult {
    var arguments = arguments
    if let inputFile {
        arguments = ["sh", "-c", "file=$1; shift; exec \"$@\" < \"$file\"", "sh", inputFile] + arguments
    }
    var variables: [Environment.Key: String?] = [
        // The search path of a service may lack where kubeadm and sysctl lie.
        "PATH": (processVariable("PATH") ?? "/usr/local/bin:/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin",
        "LC_ALL": "C",
    ]
    for (name, value) in environment {
        if let key = Environment.Key(rawValue: name) { variables[key] = value }
    }
    var options = PlatformOptions()
    options.processGroupID = 0
    options.teardownSequence = [.gracefulShutDown(allowedDurationToNextStep: .seconds(5))]
    let timedOut = Lock(false)
    let ended = try await Subprocess.run(
        .name("env"), arguments: Arguments(["--"] + arguments), environment: .inherit.updating(variables),
        platformOptions: options, input: .array(input), output: .sequence, error: .sequence
    ) { execution in
        let group = -execution.processIdentifier.value
        let output = readAll(execution.standardOutput, limit: outputLimit, line: line)
        let errors = readAll(execution.standardError, limit: outputLimit, line: line)
        let watchdog = Task {
            try await Task.sleep(for: .milliseconds(timeout))
            timedOut.withLock { $0 = true }
            kill(group, SIGTERM)
            try await Task.sleep(for: .seconds(5))
            kill(group, SIGKILL)
            // What left the group may hold the streams open for ever.
            try await Task.sleep(for: .milliseconds(500))
            output.cancel()
            errors.cancel()
        }
        defer { watchdog.cancel() }
        return await withTaskCancellationHandler {
            (await output.value, await errors.value)
        } onCancel: {
            kill(group, SIGTERM)
            output.cancel()
            errors.cancel()
        }
    }
    let status: Int32 =
        switch ended.terminationStatus {
        case .exited(let code): code
        case .signaled(let signal): 128 + signal
        }
    let result = CommandResult(status: status, output: ended.closureResult.0, errors: ended.closureResult.1)
    if timedOut.withLock({ $0 }) { throw ProcessTimeout(result: result) }
    try Task.checkCancellation()
    return result
}

/// Cuts a stream into lines; what has no end within 64 KiB is handed on as it is.
struct LineCutter {
    private var rest: [UInt8] = []

    mutating func take(_ bytes: [UInt8], _ body: (String) -> Void) {
        rest += bytes
        while let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? (rest.count > 65_536 ? rest.count - 1 : nil) {
            body(String(decoding: rest[..<end], as: UTF8.self))
            rest.removeFirst(end + 1)
        }
    }

    mutating func finish(_ body: (String) -> Void) {
        if !rest.isEmpty { body(String(decoding: rest, as: UTF8.self)) }
        rest = []
    }
}

private func readAll(
    _ stream: SubprocessOutputSequence, limit: Int, line: (@Sendable (String) -> Void)?
) -> Task<String, Never> {
    Task {
        var kept = BoundedOutput(limit: limit)
        var cutter = LineCutter()
        do {
            for try await buffer in stream {
                let bytes = buffer.withUnsafeBytes { Array($0) }
                kept.append(bytes)
                if let line { cutter.take(bytes, line) }
            }
        } catch {
            // The program is gone or was given up: what it printed so far is what there is.
        }
        if let line { cutter.finish(line) }
        return kept.text()
    }
}

private func processVariable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
