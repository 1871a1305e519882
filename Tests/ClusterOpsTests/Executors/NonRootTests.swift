import Glibc
import Platform
import TestSupport
import Testing

@testable import ClusterOps

/// A machine with users who are not root: the real OpenSSH server and the real sudo in a mount namespace of their own, in which
/// /etc/passwd, /etc/shadow, /etc/group and /etc/sudoers are the test's. Nothing of this machine is changed.
private final class NonRootMachine {
    let directory: String
    let port: Int
    private let process: pid_t

    /// Only root can make a namespace with users of its own.
    static let isPossible: Bool = {
        let programs = ["/usr/sbin/sshd", "/usr/bin/ssh-keygen", "/usr/bin/sudo", "/usr/bin/unshare"]
        guard geteuid() == 0, programs.allSatisfy({ FileSystem.exists($0) }) else { return false }
        let made = try? runProgram(
            ["/usr/bin/unshare", "-m", "--propagation", "private", "mount", "--bind", "/tmp", "/tmp"])
        return made?.status == 0
    }()

    init() throws {
        let directory = try temporaryDirectory()
        let port = try freePort()
        (self.directory, self.port) = (directory, port)
        chmod(directory, 0o755)
        func put(_ name: String, _ text: String, _ mode: mode_t = 0o644) throws {
            try AtomicFile.write(Array(text.utf8), to: "\(directory)/\(name)", mode: mode)
        }
        for key in ["id", "host"] {
            let made = try runProgram(
                ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "\(directory)/\(key)"])
            guard made.status == 0 else { throw BackupError(.failed, made.output) }
        }
        try put("authorized_keys", FileSystem.readText(directory + "/id.pub"))
        try put("known_hosts", "[127.0.0.1]:\(port) " + FileSystem.readText(directory + "/host.pub"))
        let users = [("ops", 52001), ("guest", 52002)]
        try put(
            "passwd",
            FileSystem.readText("/etc/passwd")
                + users.map { "\($0.0):x:\($0.1):\($0.1)::/tmp:/bin/sh\n" }.joined())
        try put("group", FileSystem.readText("/etc/group") + users.map { "\($0.0):x:\($0.1):\n" }.joined())
        try put(
            "shadow", "root:*:19000:0:99999:7:::\n" + users.map { "\($0.0):*:19000:0:99999:7:::\n" }.joined(), 0o600)
        try FileSystem.makeDirectories(directory + "/bin")
        try put(
            "sudoers",
            """
            Defaults env_reset
            Defaults secure_path="\(directory)/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            root ALL=(ALL:ALL) ALL
            ops ALL=(ALL) NOPASSWD: ALL

            """, 0o440)
        try put(
            "sshd_config",
            """
            ListenAddress 127.0.0.1
            Port \(port)
            HostKey \(directory)/host
            AuthorizedKeysFile \(directory)/authorized_keys
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no

            """)
        try FileSystem.makeDirectories("/run/sshd")
        // Its own lock of exclusive commands too: others of this machine hold theirs meanwhile.
        let lock = FileSystem.parent(of: HostCommand.lockFile)
        try FileSystem.makeDirectories(directory + "/lock")
        let mounts =
            ["passwd", "group", "shadow", "sudoers"].map { "mount --bind \(directory)/\($0) /etc/\($0)" }
            + ["mount --bind \(directory)/lock \(lock)"]
        process = try spawn(
            [
                "/usr/bin/unshare", "-m", "--propagation", "private", "/bin/sh", "-ec",
                (mounts + ["exec /usr/sbin/sshd -D -e -f \(directory)/sshd_config"]).joined(separator: "; "),
            ], log: directory + "/log")
    }

    deinit {
        kill(process, SIGTERM)
        var status: Int32 = 0
        waitpid(process, &status, 0)
        try? FileSystem.removeTree(directory)
    }

    func executor(_ user: String, _ control: SSHControlDirectory) -> SSHExecutor {
        var options = SSHOptions()
        options.user = user
        options.port = port
        options.identityFile = directory + "/id"
        options.knownHostsFile = directory + "/known_hosts"
        options.configFile = "/dev/null"
        options.connectTimeout = 60_000
        return SSHExecutor(host: "node", address: "127.0.0.1", options: options, control: control)
    }

    /// A program of root's on that machine.
    func install(_ name: String, _ script: String) throws {
        try AtomicFile.write(Array("#!/bin/sh\n\(script)\n".utf8), to: "\(directory)/bin/\(name)", mode: 0o755)
    }

    /// Returns once the server takes connections.
    func awaitServing(_ executor: SSHExecutor) async throws {
        var command = HostCommand(["true"])
        command.needsRoot = false
        try await eventually("sshd serves: \((try? FileSystem.readText(directory + "/log")) ?? "")") {
            (try? await executor.run(command)) != nil
        }
    }
}

@Suite(
    .enabled(if: NonRootMachine.isPossible, "needs root, mount namespaces, sshd and sudo: scripts/deps test"),
    .serialized)
struct NonRootTests {
    @Test func aUserWithSudoRunsWhatNeedsRootAsRootAndTheRestAsHimself() async throws {
        let machine = try NonRootMachine()
        let ops = machine.executor("ops", try SSHControlDirectory())
        try await machine.awaitServing(ops)
        #expect(try await ops.run(HostCommand(["id", "-u"])).output == "0\n")
        var himself = HostCommand(["id", "-un"])
        himself.needsRoot = false
        #expect(try await ops.run(himself).output == "ops\n")
        // Arguments, input and status cross ssh, the shell and sudo unread.
        let odd = ["a b", "$HOME", "'quoted'", "*", "", "line\nbreak", "\\", "-n"]
        #expect(try await ops.run(HostCommand(["printf", "<%s>"] + odd)).output == odd.map { "<\($0)>" }.joined())
        var failing = HostCommand(["sh", "-c", "cat; id -u >&2; exit 3"])
        failing.input = Array("in".utf8)
        #expect(try await ops.run(failing) == CommandResult(status: 3, output: "in", errors: "0\n"))
        // The lock and the log file of an exclusive command are root's.
        var exclusive = HostCommand(["sh", "-c", "id -un"])
        exclusive.isExclusive = true
        exclusive.logFile = machine.directory + "/root.log"
        #expect(try await ops.run(exclusive).output == "root\n")
        #expect(try FileSystem.status(machine.directory + "/root.log")?.owner == 0)
        await ops.close()
    }

    @Test func aUserWhoMayNotIsToldApartAndNothingRuns() async throws {
        let machine = try NonRootMachine()
        let guest = machine.executor("guest", try SSHControlDirectory())
        try await machine.awaitServing(guest)
        let mark = machine.directory + "/mark"
        let error = await #expect(throws: ExecutorError.self) { try await guest.run(HostCommand(["touch", mark])) }
        #expect(error?.kind == .noRoot && error?.isTransient == false, "\(error as Any)")
        #expect(error?.message.contains("NOPASSWD") == true)
        #expect(!FileSystem.exists(mark))
        await guest.close()
    }

    /// dnf itself is not to be had on Debian: a stand-in that lists what dnf prints for the Kubernetes repository, and writes
    /// down what it is told to install.
    @Test func packagesOfAMachineWithDnfAreFoundAndInstalledThroughSudo() async throws {
        let machine = try NonRootMachine()
        try machine.install(
            "dnf",
            """
            case "$*" in
            *list*kubeadm) cat << 'END'
            Installed Packages
            kubeadm.x86_64                1.31.3-150500.1.1                @kubernetes
            Available Packages
            kubeadm.x86_64                1.31.0-150500.1.1                kubernetes
            kubeadm.x86_64                1.31.4-150500.1.1                kubernetes
            kubeadm.x86_64                1.31.40-150500.1.1               kubernetes
            END
            ;;
            *list*) echo "Error: No matching Packages to list" >&2; exit 1;;
            *) echo "$(id -un) $*" >> \(machine.directory)/installed;;
            esac
            """)
        let ops = machine.executor("ops", try SSHControlDirectory())
        try await machine.awaitServing(ops)
        let packages = NodePackages(manager: .dnf, options: UpgradeOptions.Packages(), timeout: 60_000)
        let target = KubernetesVersion(1, 31, 4)
        let listed = try await ops.run(packages.available("kubeadm", target))
        let version = try #require(packages.found(listed, "kubeadm", target))
        #expect(version == "1.31.4-150500.1.1")
        #expect(packages.found(try await ops.run(packages.available("kubelet", target)), "kubelet", target) == nil)
        for command in packages.install([("kubeadm", version)]) { #expect(try await ops.run(command).isSuccess) }
        #expect(
            try FileSystem.readText(machine.directory + "/installed")
                == "root -q -y --disableexcludes=all install kubeadm-1.31.4-150500.1.1\n")
        #expect(packages.held == nil && packages.hold(["kubeadm"]) == nil && packages.refresh == nil)
        await ops.close()
    }
}
