import FoundationEssentials
import Glibc
import Platform

/// How to reach machines with the system's OpenSSH client. What is not said here is taken from the user's and the system's
/// ssh configuration.
package struct SSHOptions: Sendable, Hashable, Codable {
    /// Nil: as ssh's configuration says, else the user who runs this.
    package var user: String?
    package var port: Int?
    package var identityFile: String?
    /// Nil: ssh's own files of known hosts.
    package var knownHostsFile: String?
    /// Nil: ssh's own configuration files.
    package var configFile: String?
    /// Milliseconds until a machine that does not answer is given up.
    package var connectTimeout: Int64 = 15_000
    /// The client.
    package var program = "ssh"

    package init() {}
}

/// Where the sockets of shared connections lie: a directory that only this user enters, under a short path, for a socket's
/// name has little room. Removed with the last executor that uses it.
package final class SSHControlDirectory: Sendable {
    let path: String

    package init() throws {
        var template = Array("/tmp/kops-ssh-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw FileError("make directory", "/tmp/kops-ssh-XXXXXX") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit { try? FileSystem.removeTree(path) }
}

/// Runs programs on another machine with OpenSSH. One connection is opened and shared by all commands (ControlMaster), the
/// machine's key must be a known one (StrictHostKeyChecking=yes), and nothing is ever asked for (BatchMode).
package final class SSHExecutor: Executor {
    package let host: String
    private let address: String
    private let options: SSHOptions
    private let control: SSHControlDirectory

    /// `address` is what ssh connects to; `host` is how messages call the machine.
    package init(host: String, address: String, options: SSHOptions, control: SSHControlDirectory) {
        self.host = host
        self.address = address
        self.options = options
        self.control = control
    }

    private var destination: [String] {
        var out: [String] = []
        if let file = options.configFile { out += ["-F", file] }
        if let port = options.port { out += ["-p", String(port)] }
        if let user = options.user { out += ["-l", user] }
        if let file = options.identityFile { out += ["-i", file, "-o", "IdentitiesOnly=yes"] }
        if let file = options.knownHostsFile {
            out += ["-o", "UserKnownHostsFile=\(file)", "-o", "GlobalKnownHostsFile=/dev/null"]
        }
        let settings = [
            "BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ControlMaster=auto",
            "ControlPersist=60", "ControlPath=\(control.path)/%C", "ServerAliveInterval=5", "ServerAliveCountMax=3",
            "ConnectTimeout=\(max(1, options.connectTimeout / 1000))", "ConnectionAttempts=1", "ForwardAgent=no",
            "ForwardX11=no", "ClearAllForwardings=yes", "PermitLocalCommand=no", "LogLevel=ERROR", "EscapeChar=none",
            "RequestTTY=no",
        ]
        for setting in settings { out += ["-o", setting] }
        return out + ["--", address]
    }

    package func run(_ command: HostCommand) async throws(ExecutorError) -> CommandResult {
        try await run(command, line: nil)
    }

    package func run(
        _ command: HostCommand, line: (@Sendable (String) -> Void)?
    ) async throws(ExecutorError) -> CommandResult {
        let inner = command.guardedArguments.map(quoteForShell).joined(separator: " ")
        // The far shell knows who it is; only then is it known whether sudo is needed.
        let shellLine =
            command.needsRoot
            ? "if [ \"$(id -u)\" = 0 ]; then exec \(inner); else exec sudo -n -- \(inner); fi" : "exec " + inner
        let script = "PATH=\"$PATH:/usr/local/sbin:/usr/sbin:/sbin\" LC_ALL=C; export PATH LC_ALL; " + shellLine
        let result: CommandResult
        do {
            result = try await runProcess(
                [options.program] + destination + ["/bin/sh -c " + quoteForShell(script)], input: command.input,
                inputFile: command.inputFile, timeout: command.outerTimeout + options.connectTimeout,
                outputLimit: command.outputLimit, line: line)
        } catch is ProcessTimeout {
            throw ExecutorError(.timeout, host: host, took(command))
        } catch {
            throw ExecutorError(.notStarted, host: host, "ssh was not run: \(error)")
        }
        if result.status == 127, result.errors.hasPrefix("env: ") {
            throw ExecutorError(.notStarted, host: host, "there is no \(options.program): install openssh-client")
        }
        if result.status == 255, let error = Self.connectionError(result.errors, host: host, address: address) {
            throw error
        }
        return try checked(result, command, host: host)
    }

    package func close() async {
        _ = try? await runProcess(
            [options.program, "-O", "exit"] + destination, timeout: 5000, outputLimit: 4096)
    }

    /// What ssh says of a connection that failed, told apart by its own words; nil where they are the program's.
    static func connectionError(_ errors: String, host: String, address: String) -> ExecutorError? {
        let lines = errors.split(whereSeparator: \.isNewline).map(String.init)
        let last = lines.last { !$0.isEmpty } ?? ""
        func says(_ texts: String...) -> Bool { texts.contains { errors.contains($0) } }
        if says("REMOTE HOST IDENTIFICATION HAS CHANGED", "host key for", "Host key for")
            && says("has changed", "HAS CHANGED")
        {
            let known = lines.first { $0.hasPrefix("Offending") }.map { " (\($0))" } ?? ""
            return ExecutorError(
                .hostKeyChanged, host: host,
                "the machine at \(address) shows another host key than the known one\(known): nothing was run there; "
                    + "find out why, then remove the old key with ssh-keygen -R and add the new one")
        }
        if says("Host key verification failed", "host key is known for") {
            return ExecutorError(
                .hostKeyUnknown, host: host,
                "no host key of \(address) is known: compare it with the machine's own and add it to known_hosts")
        }
        if says("Permission denied", "Too many authentication failures", "no such identity", "bad permissions") {
            return ExecutorError(.authentication, host: host, "\(address) refuses this user or key: \(last)")
        }
        let connection = [
            "connect to host", "Could not resolve hostname", "Connection closed", "Connection reset",
            "Connection timed out", "timed out", "Broken pipe", "not responding", "kex_exchange_identification",
            "closed by remote host", "mux_client", "Control socket", "read from master failed", "lost connection",
        ]
        if last.isEmpty || connection.contains(where: { errors.contains($0) }) {
            return ExecutorError(.unreachable, host: host, last.isEmpty ? "the connection broke" : last)
        }
        return nil
    }
}
