import Glibc
import Platform
import TestSupport
import Testing

private let canRestoreFarAway: Bool = {
    guard geteuid() == 0, isInstalled("etcd", "etcdctl", "unshare", "ssh", "ssh-keygen", "sha256sum"),
        FileSystem.exists("/usr/sbin/sshd")
    else { return false }
    return (try? ChildProgram.run("unshare", ["-m", "true"]).status) == 0
}()

/// Three members restored by one command, over a real OpenSSH. The machines are this one: each server's sessions have a mount
/// namespace of their own, in which another directory lies where the members keep their data.
@Suite(.enabled(if: canRestoreFarAway, "needs root, etcd, etcdctl, sshd and unshare"), .serialized)
struct RemoteRestoreTests {
    private final class Scene {
        let directory: String
        let ports: [Int]
        var servers: [pid_t] = []
        var node: String { directory + "/node" }
        var cluster: String { (1...3).map { "n\($0)=http://127.0.0.1:\(ports[$0 - 1])" }.joined(separator: ",") }
        /// What a member's data lies in, seen from this machine.
        func host(_ i: Int) -> String { i == 1 ? node : "\(directory)/host-n\(i)" }
        /// Text that is only in the key file.
        var secret = ""

        init() throws {
            directory = try scratch()
            ports = try freePorts(10)
        }

        deinit {
            for server in servers { kill(server, SIGTERM) }
            try? FileSystem.removeTree(directory)
        }

        func run(_ command: String) async throws -> String {
            let result = try await shell(command)
            guard result.status == 0 else { throw TestProblem("\(command): \(result.output)") }
            return result.output
        }

        /// Servers for n2 and n3, and a sealed backup of an etcd with 20 keys. `installed` are those that have the program.
        func prepare(installed: Set<Int>) async throws {
            try FileSystem.makeDirectories(node)
            try FileSystem.makeDirectories("/run/sshd")
            _ = try await run(
                "cd \(directory) && ssh-keygen -q -t ed25519 -N '' -f id && ssh-keygen -q -t ed25519 -N '' -f host")
            var known = ""
            for i in 2...3 {
                try FileSystem.makeDirectories(host(i))
                let port = ports[3 + i]
                let enter = "\(directory)/enter-n\(i)"
                let script = """
                    #!/bin/sh
                    \(installed.contains(i) ? "PATH=\(builtDirectory):$PATH" : "")
                    exec unshare -m sh -c 'mount --bind "$1" "$2" && exec sh -c "$3"' sh \(host(i)) \(node) "$SSH_ORIGINAL_COMMAND"
                    """
                try AtomicFile.write(Array(script.utf8), to: enter, mode: 0o755)
                let config = """
                    ListenAddress 127.0.0.1
                    Port \(port)
                    HostKey \(directory)/host
                    AuthorizedKeysFile \(directory)/id.pub
                    PidFile \(directory)/pid-n\(i)
                    StrictModes no
                    UsePAM no
                    PasswordAuthentication no
                    PermitRootLogin yes
                    ForceCommand \(enter)
                    """
                try AtomicFile.write(Array(config.utf8), to: "\(directory)/sshd-n\(i)", mode: 0o600)
                _ = try await run("/usr/sbin/sshd -f \(directory)/sshd-n\(i) -E \(directory)/sshd-n\(i).log")
                try await eventually("sshd is up") { FileSystem.exists("\(self.directory)/pid-n\(i)") }
                if let pid = pid_t(try FileSystem.readText("\(directory)/pid-n\(i)").filter(\.isNumber)) {
                    servers.append(pid)
                }
                known += "[127.0.0.1]:\(port) " + (try FileSystem.readText(directory + "/host.pub"))
            }
            try AtomicFile.write(Array(known.utf8), to: directory + "/known_hosts")

            let endpoint = "http://127.0.0.1:\(ports[3])"
            let peer = "http://127.0.0.1:\(ports[4])"
            let etcd = try Program(
                [
                    "etcd", "--data-dir", directory + "/source", "--listen-client-urls", endpoint,
                    "--advertise-client-urls", endpoint, "--listen-peer-urls", peer, "--initial-advertise-peer-urls",
                    peer, "--initial-cluster", "default=\(peer)",
                ], log: directory + "/source.log")
            try await eventually("etcd serves") {
                try await shell("ETCDCTL_API=3 etcdctl --endpoints \(endpoint) endpoint health").status == 0
            }
            _ = try await run(
                "for i in $(seq 20); do ETCDCTL_API=3 etcdctl --endpoints \(endpoint) put /k/$i value-$i > /dev/null || exit 1; done"
            )
            _ = try await run("\(binary) backup key \(directory)/backup.key")
            let key = try FileSystem.readText(directory + "/backup.key")
            secret = String(try #require(key.split(separator: "\n").last { $0.hasPrefix("kops-secret-key-") }))
            let config = """
                storage: {path: \(directory)/state}
                cluster: {name: far}
                etcd: {endpoints: ["\(endpoint)"]}
                backup:
                  include: [versions]
                  encryption: {key_file: \(directory)/backup.key}
                  destinations: [{name: local, path: \(directory)/backups}]
                """
            try AtomicFile.write(Array(config.utf8), to: directory + "/config.yaml")
            _ = try await run("\(binary) backup now --config \(directory)/config.yaml")
            etcd.stop(SIGKILL)
        }

        var reaching: String {
            "--ssh-host n2=127.0.0.1:\(ports[5]) --ssh-host n3=root@127.0.0.1:\(ports[6]) --ssh-identity \(directory)/id "
                + "--ssh-known-hosts \(directory)/known_hosts --ssh-config /dev/null"
        }

        var command: String {
            "\(binary) restore latest --from \(directory)/backups --key-file \(directory)/backup.key --data-dir \(node)/etcd "
                + "--name n1 --initial-cluster \(cluster) --ssh \(reaching)"
        }

        /// Starts the three members where they were restored, and looks at what they serve.
        func prove() async throws {
            var members: [Program] = []
            defer { for member in members { member.stop(SIGKILL) } }
            let clients = (1...3).map { "http://127.0.0.1:\(ports[6 + $0])" }
            for i in 1...3 {
                members.append(
                    try Program(
                        [
                            "etcd", "--name", "n\(i)", "--data-dir", host(i) + "/etcd", "--listen-client-urls",
                            clients[i - 1], "--advertise-client-urls", clients[i - 1], "--listen-peer-urls",
                            "http://127.0.0.1:\(ports[i - 1])", "--initial-advertise-peer-urls",
                            "http://127.0.0.1:\(ports[i - 1])", "--initial-cluster", cluster,
                        ], log: "\(directory)/n\(i).log"))
            }
            let all = clients.joined(separator: ",")
            try await eventually("three members serve") {
                try await shell("ETCDCTL_API=3 etcdctl --endpoints \(all) endpoint health").status == 0
            }
            for client in clients {
                let keys = try await run(
                    "ETCDCTL_API=3 etcdctl --endpoints \(client) get --prefix /k/ --print-value-only")
                #expect(keys.split(separator: "\n").count == 20)
            }
            let list = try await run("ETCDCTL_API=3 etcdctl --endpoints \(clients[0]) member list")
            #expect(list.split(separator: "\n").count == 3)
        }
    }

    @Test(.timeLimit(.minutes(10))) func oneCommandRestoresAllMembers() async throws {
        let scene = try Scene()
        try await scene.prepare(installed: [3])
        // One that cannot be reached: nothing is touched anywhere.
        let wrong = try await shell(
            scene.command.replacingPort(scene.ports[6], by: scene.ports[9]) + " > \(scene.directory)/out 2>&1")
        #expect(wrong.status == 1)
        let said = try FileSystem.readText(scene.directory + "/out")
        #expect(said.contains("n3"), "\(said)")
        for i in 1...3 {
            #expect(!FileSystem.exists(scene.host(i) + "/etcd"))
            #expect(try FileSystem.list(scene.host(i)).allSatisfy { $0.hasSuffix(".lock") })
        }

        let output = try await scene.run(scene.command + " 2>&1")
        for line in ["n2: copying the program", "n2: ready", "n3: ready"] {
            #expect(output.contains(line), "\(output)")
        }
        #expect(!output.contains("n3: copying"))
        #expect(output.contains("n3: ") && output.contains("rename \(scene.node)/etcd.kops-new"), "\(output)")
        #expect(output.contains("note: n2 (127.0.0.1) is restored too"), "\(output)")
        for i in 2...3 {
            // Neither the key nor what was copied stays there.
            #expect(try await shell("grep -rlF \(scene.secret) \(scene.host(i))").status == 1)
            let left = try FileSystem.list(scene.host(i))
            #expect(!left.contains { $0.hasPrefix(".kops-restore-from-") }, "\(left)")
        }
        try await scene.prove()
    }

    @Test(.timeLimit(.minutes(10))) func aKilledCoordinatorGoesOnWhereEachNodeIs() async throws {
        let scene = try Scene()
        try await scene.prepare(installed: [2, 3])
        // Killed as soon as another node is as far; once the journal says so, it is resumed.
        let journal = scene.node + "/.kops-restore-etcd.json"
        for (round, mark) in ["n3: ready", "n3: ready", "n2: 1. ", "n3: restored"].enumerated() {
            let log = "\(scene.directory)/kill-\(round).log"
            let resume =
                "\(binary) restore --resume --data-dir \(scene.node)/etcd --from \(scene.directory)/backups "
                + "--key-file \(scene.directory)/backup.key"
            let program = try Program(
                ["/bin/bash", "-c", "exec " + (FileSystem.exists(journal) ? resume : scene.command)], log: log)
            while program.exitStatus == nil, !program.text.contains(mark) {
                try await Task.sleep(for: .milliseconds(2))
            }
            program.stop(SIGKILL)
            if program.exitStatus == 0 { break }
        }
        let last = try await shell(
            "\(binary) restore --resume --data-dir \(scene.node)/etcd --from \(scene.directory)/backups "
                + "--key-file \(scene.directory)/backup.key")
        // The last kill may have come too late.
        #expect(last.status == 0 || last.output.contains("waits to be resumed"), "\(last.output)")
        for i in 1...3 { #expect(FileSystem.exists(scene.host(i) + "/etcd/member/snap/db"), "n\(i): \(last.output)") }
        try await scene.prove()
    }
}

extension String {
    fileprivate func replacingPort(_ old: Int, by new: Int) -> String {
        split(separator: ":\(old)", omittingEmptySubsequences: false).joined(separator: ":\(new)")
    }
}
