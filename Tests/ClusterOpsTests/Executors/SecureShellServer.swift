import FoundationEssentials
import Glibc
import Platform
import TestSupport

@testable import ClusterOps

/// The real OpenSSH server on a loopback port of its own, with keys of its own, for this user alone.
final class SecureShellServer {
    let directory: String
    let port: Int
    private var process: pid_t = 0

    var knownHosts: String { directory + "/known_hosts" }
    var identity: String { directory + "/id" }

    var options: SSHOptions {
        var options = SSHOptions()
        options.port = port
        options.identityFile = identity
        options.knownHostsFile = knownHosts
        options.configFile = "/dev/null"
        options.connectTimeout = 60_000
        return options
    }

    /// Nil where there is no sshd.
    static func start(in directory: String) async throws -> SecureShellServer? {
        guard FileSystem.exists("/usr/sbin/sshd"), FileSystem.exists("/usr/bin/ssh-keygen") else { return nil }
        let server = SecureShellServer(directory: directory, port: try freePort())
        try await server.prepare()
        return server
    }

    private init(directory: String, port: Int) {
        self.directory = directory
        self.port = port
    }

    private func run(_ arguments: [String]) async throws {
        let result = try await runProcess(arguments, timeout: 120_000, outputLimit: 65_536)
        guard result.isSuccess else { throw BackupError(.failed, "\(arguments): \(result.errors)") }
    }

    private func prepare() async throws {
        try await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", identity])
        try FileSystem.rename(identity + ".pub", to: directory + "/authorized_keys")
        try await newHostKey()
        try trustHostKey()
        // sshd wants its directory of privilege separation.
        if geteuid() == 0 { try FileSystem.makeDirectories("/run/sshd") }
        let config = """
            ListenAddress 127.0.0.1
            Port \(port)
            HostKey \(directory)/host
            AuthorizedKeysFile \(directory)/authorized_keys
            PidFile \(directory)/pid
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            PermitRootLogin yes
            """
        try AtomicFile.write(Array(config.utf8), to: directory + "/sshd_config", mode: 0o600)
        try await start()
    }

    func newHostKey() async throws {
        try FileSystem.removeFile(directory + "/host")
        try FileSystem.removeFile(directory + "/host.pub")
        try await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory + "/host"])
    }

    func trustHostKey() throws {
        let key = try FileSystem.readText(directory + "/host.pub")
        try AtomicFile.write(Array("[127.0.0.1]:\(port) \(key)".utf8), to: knownHosts)
    }

    /// Starts it and waits until its port takes connections.
    func start() async throws {
        try await run(["/usr/sbin/sshd", "-f", directory + "/sshd_config", "-E", directory + "/log"])
        try await eventually("sshd serves: \((try? FileSystem.readText(directory + "/log")) ?? "")") {
            guard let text = try? FileSystem.readText(directory + "/pid"), text.hasSuffix("\n"),
                let pid = pid_t(text.filter(\.isNumber))
            else { return false }
            process = pid
            return true
        }
    }

    func stop() async throws {
        if process > 0 { kill(process, SIGTERM) }
        try await eventually("sshd ends") { process <= 0 || kill(process, 0) != 0 }
        process = 0
        try? FileSystem.removeFile(directory + "/pid")
    }

    deinit { if process > 0 { kill(process, SIGTERM) } }
}
