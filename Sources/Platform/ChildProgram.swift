import CPlatform
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
        _ program: String, _ arguments: [String], environment: [String: String] = [:], inherit: Int32? = nil,
        timeout: Duration = .seconds(300), maxOutput: Int = 1 << 20
    ) throws(FileError) -> ProgramResult {
        var ends: [Int32] = [0, 0]
        guard kops_pipe(&ends) == 0 else { throw FileError("make a pipe for", program) }
        let (reading, writing) = (ends[0], ends[1])
        defer { close(reading) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, writing, 1)
        posix_spawn_file_actions_adddup2(&actions, writing, 2)
        if let inherit { posix_spawn_file_actions_adddup2(&actions, inherit, 3) }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A group of its own, so that a time limit reaches whatever the program has started.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
        posix_spawnattr_setpgroup(&attributes, 0)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        var argv: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var variables: [UnsafeMutablePointer<CChar>?] = []
        var at = environ
        while let entry = at.pointee {
            let text = String(cString: entry)
            if let name = text.split(separator: "=", maxSplits: 1).first, environment[String(name)] == nil {
                variables.append(strdup(text))
            }
            at += 1
        }
        for (name, value) in environment { variables.append(strdup("\(name)=\(value)")) }
        variables.append(nil)
        defer { for variable in variables { free(variable) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, program, &actions, &attributes, &argv, &variables)
        close(writing)
        guard code == 0 else { throw FileError("start", program, code) }
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
            status: status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f),
            output: String(decoding: output, as: UTF8.self), timedOut: timedOut)
    }
}
