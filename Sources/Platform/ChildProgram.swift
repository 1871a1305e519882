import Glibc

/// What a program left behind.
package struct ProgramResult: Sendable {
    /// The exit status, or 128 and the signal's number.
    package var status: Int32
    /// Standard output and standard error in the order in which they came, cut at the limit.
    package var output: String
    package var timedOut = false

    /// The last line that says anything, for messages.
    package var lastLine: String {
        let line = output.split(separator: "\n").last { !$0.allSatisfy(\.isWhitespace) } ?? ""
        return String(line.prefix(500))
    }
}

/// Runs programs of the system: no shell, no input, a bounded output, a time limit. Calls block.
package enum ChildProgram {
    /// Runs to the end; a program over its time is killed with all of its process group. `program` is found by PATH unless
    /// it has a slash. `inherit` is a descriptor that the program keeps open as its number 3: a lock held so is held as long
    /// as the program lives, even where this process is killed.
    package static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        errors: ProgramStart.Output = .output, inherit: Int32? = nil, timeout: Duration = .seconds(300),
        maxOutput: Int = 1 << 20
    ) throws(FileError) -> ProgramResult {
        let (reading, writing) = try makePipe()
        defer { close(reading) }
        var start = ProgramStart([program] + arguments)
        start.environment = environment
        start.output = .descriptor(writing)
        start.errors = errors
        start.inherit = inherit
        // So that a time limit reaches whatever the program has started.
        start.ownGroup = true
        let pid: pid_t
        do {
            pid = try start.start()
            close(writing)
        } catch {
            close(writing)
            throw error
        }
        let deadline = monotonicNanoseconds() + timeout.milliseconds * 1_000_000
        var output: [UInt8] = []
        var timedOut = false
        var buffer = [UInt8](repeating: 0, count: 65536)
        reading: while true {
            let left = deadline - monotonicNanoseconds()
            if left <= 0 {
                timedOut = true
                kill(-pid, SIGKILL)
                break
            }
            var waiting = pollfd(fd: reading, events: Int16(POLLIN), revents: 0)
            let ready = poll(&waiting, 1, Int32(clamping: min(1000, left / 1_000_000 + 1)))
            if ready < 0 && errno != EINTR { break }
            if ready <= 0 { continue }
            let n = read(reading, &buffer, buffer.count)
            if n < 0 && errno == EINTR { continue }
            if n <= 0 { break }
            // What is over the limit is read and dropped: the program must not hang on a full pipe.
            if output.count < maxOutput { output += buffer[0..<min(n, maxOutput - output.count)] }
        }
        var status: Int32 = 0
        // Its output is closed; a program that lives on without one has its time all the same.
        while true {
            let ended = waitpid(pid, &status, timedOut ? 0 : WNOHANG)
            if ended == pid { break }
            if ended < 0 && errno != EINTR { break }
            if ended == 0 {
                if monotonicNanoseconds() > deadline {
                    timedOut = true
                    kill(-pid, SIGKILL)
                } else {
                    usleep(5000)
                }
            }
        }
        return ProgramResult(
            status: exitStatus(ofWait: status),
            output: String(decoding: output, as: UTF8.self), timedOut: timedOut)
    }
}
