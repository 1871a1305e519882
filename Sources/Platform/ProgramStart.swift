import CPlatform
package import Glibc

/// A program of the system as it is started: no shell, and none of this process's files but those named here, so that no child
/// keeps a lock, a port or the end of a pipe that it was never given.
package struct ProgramStart {
    package enum Output {
        case null
        case descriptor(Int32)
        /// Appended to; made where it is not there.
        case file(String, mode: mode_t)
        /// Errors: where the output goes.
        case output
    }

    /// The first is the program, found by PATH unless it has a slash.
    package var arguments: [String]
    /// Added to this process's own environment.
    package var environment: [String: String] = [:]
    /// Nil: nothing to read.
    package var input: Int32?
    package var output = Output.null
    package var errors = Output.output
    /// Becomes the program's number 3.
    package var inherit: Int32?
    /// A process group of its own, so that a signal reaches whatever the program has started.
    package var ownGroup = false

    package init(_ arguments: [String]) { self.arguments = arguments }

    /// The process's number; it is the caller's to wait for.
    package func start() throws(FileError) -> pid_t {
        guard let program = arguments.first else { throw FileError("start", "", EINVAL) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if let input {
            posix_spawn_file_actions_adddup2(&actions, input, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        add(output, as: 1, &actions)
        add(errors, as: 2, &actions)
        if let inherit { posix_spawn_file_actions_adddup2(&actions, inherit, 3) }
        _ = kops_spawn_closes_from(&actions, inherit == nil ? 3 : 4)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // This thread may have signals blocked, which a program would inherit: SIGTERM would never reach it.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK) | (ownGroup ? Int16(POSIX_SPAWN_SETPGROUP) : 0))
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var variables = ownVariables() + environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for variable in variables { free(variable) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, program, &actions, &attributes, &argv, &variables)
        guard code == 0 else { throw FileError("start", program, code) }
        return pid
    }

    private func add(_ output: Output, as number: Int32, _ actions: inout posix_spawn_file_actions_t) {
        switch output {
        case .null: posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_WRONLY, 0)
        case .descriptor(let descriptor): posix_spawn_file_actions_adddup2(&actions, descriptor, number)
        case .file(let path, let mode):
            posix_spawn_file_actions_addopen(&actions, number, path, O_WRONLY | O_CREAT | O_APPEND, mode)
        case .output: posix_spawn_file_actions_adddup2(&actions, 1, number)
        }
    }

    /// This process's environment without what `environment` says anew.
    private func ownVariables() -> [UnsafeMutablePointer<CChar>?] {
        var kept: [UnsafeMutablePointer<CChar>?] = []
        var at = environ
        while let entry = at.pointee {
            let text = String(cString: entry)
            if let name = text.split(separator: "=", maxSplits: 1).first, environment[String(name)] == nil {
                kept.append(strdup(text))
            }
            at += 1
        }
        return kept
    }
}

/// A pipe of which no program that is started has an end, unless it was given it.
package func makePipe() throws(FileError) -> (reading: Int32, writing: Int32) {
    var ends: [Int32] = [0, 0]
    guard kops_pipe(&ends) == 0 else { throw FileError("make", "a pipe") }
    return (ends[0], ends[1])
}

/// The exit status in what waitpid(2) tells, or 128 and the signal's number.
package func exitStatus(ofWait status: Int32) -> Int32 {
    status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f)
}
