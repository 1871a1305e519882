import Etcd
import Platform
import Testing

@testable import ClusterOps

@Suite struct RemoteMembersTests {
    private func find(_ addresses: [String: String], own: String = "cp1") throws -> [RemoteMembers.Host] {
        let cluster = try ClusterIdentity(
            initialCluster: "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://[fd00::3]:2380", token: "t"
        )
        var options = RemoteOptions(version: "1")
        options.addresses = addresses
        return try RemoteMembers.find(options, cluster, own: own).hosts
    }

    @Test func whereTheyAre() throws {
        #expect(
            try find([:]) == [.init(name: "cp2", address: "10.0.0.2"), .init(name: "cp3", address: "fd00::3")])
        #expect(
            try find(["cp2": "ops@[fd00::2]:2222", "cp3": "fd00::9"])
                == [
                    .init(name: "cp2", address: "fd00::2", user: "ops", port: 2222),
                    .init(name: "cp3", address: "fd00::9"),
                ])
        #expect(try find(["cp1": "a:22"], own: "cp3").first == .init(name: "cp1", address: "a", port: 22))
        for wrong in [
            ["cp4": "a"], ["cp2": "a:0"], ["cp2": "a:x"], ["cp2": "@a"], ["cp2": "-oProxyCommand=x"], ["cp2": ""],
        ] {
            #expect(throws: BackupError(.invalid, ""), "\(wrong)") { try find(wrong) }
        }
    }

    /// A node that fails on the way: this one is restored, the other is told with the command for its console, and a resume
    /// tries it again.
    @Test(.enabled(if: EtcdProcess.isThere)) func aNodeThatFailsIsToldAndTriedAgain() async throws {
        let etcd = try EtcdProcess(name: "cp1")
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 10)
        let keyFile = etcd.directory + "/backup.key"
        try AtomicFile.write(Array(try SealingKeys.generate(now: 0).text.utf8), to: keyFile, mode: 0o600)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let backup = try await service(etcd, [place]) {
            var sealing = SealingOptions()
            sealing.keyFile = keyFile
            $0.sealing = sealing
        }.backupNow(onDemand: false)
        etcd.kill()

        let files = Lock<[String: String]>([:])
        let fails = Lock(true)
        let breaks = Lock(2)
        let far = ScriptedExecutor("cp2") { (command) throws(ExecutorError) -> CommandResult in
            let text = command.arguments.joined(separator: " ")
            // What is sent is kept by its hash, as the far side would tell it.
            if let file = command.inputFile, let bytes = try? FileSystem.read(file) {
                files.withLock { $0[command.arguments.last ?? ""] = hexadecimal(Digest.hash(.sha256, bytes)) }
            }
            if text.contains("sha256sum") {
                return CommandResult(status: 0, output: files.withLock { $0[command.arguments.last ?? ""] } ?? "")
            }
            if text.contains("uname -m") { return CommandResult(status: 0, output: "x86_64\nkops-sidecar=7.7\n") }
            if text.contains(" restore "), !text.contains("--dry-run"),
                breaks.withLock({
                    $0 -= 1
                    return $0 >= 0
                })
            {
                // ssh, when the way is cut: its status, and only what the program there had said.
                return CommandResult(status: 255, errors: "1. make it\n1. make it\n2. stop kube-apiserver\n")
            }
            if text.contains(" restore "), !text.contains("--dry-run"), fails.withLock({ $0 }) {
                return CommandResult(status: 1, errors: "1. make it\n1. make it\n/var/lib has no room\n")
            }
            return CommandResult(status: 0)
        }
        var around = RestoreSurroundings(restartKubelet: {})
        around.executor = { _ in far }
        around.remotePause = .milliseconds(10)
        var options = RestoreOptions()
        options.dataDirectory = etcd.dataDirectory
        options.setAside = true
        options.etcd.endpoints = []
        options.keyFile = keyFile
        options.initialCluster = "cp1=\(etcd.peerURL),cp2=http://10.0.0.2:2380"
        options.remote = RemoteOptions(version: "7.7")
        let plan = try await RestorePlan.make(options, destinations: [place])
        #expect(plan.describe().contains { $0.contains("copy the backup to cp2 (10.0.0.2)") })
        let told = Lock<[String]>([])
        let error = await #expect(throws: BackupError(.failed, "")) {
            try await plan.execute(surroundings: around, tell: { line in told.withLock { $0.append(line) } })
        }
        #expect(error?.message.contains("no room") == true)
        #expect(error?.message.contains("by hand on cp2: kops-sidecar restore \(backup.manifest.name)") == true)
        #expect(DataDirectory.survey(etcd.dataDirectory).revision == backup.manifest.revision + 1_000_000_000)
        #expect(told.withLock { $0 }.contains("cp2: 1. make it"))
        #expect(!told.withLock { $0 }.contains { $0.hasPrefix("a step failed here") })
        let broken = told.withLock { $0 }.filter { $0.hasPrefix("cp2: the connection broke; what runs there goes on") }
        #expect(broken.count == 2)
        // The key goes in on standard input and stands in no command.
        let secret = try FileSystem.readText(keyFile)
        let restores = far.commands.filter { $0.arguments.contains("restore") }
        // The plan, two that the way was lost to, and the one that failed.
        #expect(restores.count == 4)
        #expect(
            restores.allSatisfy {
                String(decoding: $0.input, as: UTF8.self) == secret && $0.text.contains("--key-file -")
            })
        #expect(!far.commands.contains { $0.text.contains("kops-secret-key") || $0.arguments.first == "rm" })

        fails.withLock { $0 = false }
        let report = try await RestorePlan.resume(
            dataDirectory: etcd.dataDirectory, destinations: [place], surroundings: around)
        #expect(report.revision == backup.manifest.revision + 1_000_000_000)
        // What was copied is taken away again.
        #expect(far.commands.last?.arguments.first == "rm")
    }

    /// What a node's own plan refuses is refused here, before anything is changed on any.
    @Test(.enabled(if: EtcdProcess.isThere)) func aRefusalThereIsOneHere() async throws {
        let etcd = try EtcdProcess(name: "cp1")
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        _ = try await service(etcd, [place]).backupNow(onDemand: false)
        etcd.kill()
        let before = DataDirectory.survey(etcd.dataDirectory)
        let far = ScriptedExecutor("cp2") { (command) throws(ExecutorError) -> CommandResult in
            let text = command.arguments.joined(separator: " ")
            if text.contains("uname -m") { return CommandResult(status: 0, output: "x86_64\nkops-sidecar=7.7\n") }
            if text.contains("--dry-run") {
                return CommandResult(status: 3, errors: "refused: it holds more; --force older restores nevertheless\n")
            }
            if text.contains("sha256sum"), let file = command.arguments.last {
                let here = place.path + "/" + FileSystem.name(of: file)
                let bytes = (try? FileSystem.read(here)) ?? []
                return CommandResult(status: 0, output: hexadecimal(Digest.hash(.sha256, bytes)))
            }
            return CommandResult(status: 0)
        }
        var around = RestoreSurroundings(restartKubelet: {})
        around.executor = { _ in far }
        var options = RestoreOptions()
        options.dataDirectory = etcd.dataDirectory
        options.setAside = true
        options.etcd.endpoints = []
        options.initialCluster = "cp1=\(etcd.peerURL),cp2=http://10.0.0.2:2380"
        options.remote = RemoteOptions(version: "7.7")
        let plan = try await RestorePlan.make(options, destinations: [place])
        let error = await #expect(throws: BackupError(.refused, "")) { try await plan.execute(surroundings: around) }
        #expect(error?.message.contains("cp2 (10.0.0.2)") == true && error?.message.contains("--force older") == true)
        let after = DataDirectory.survey(etcd.dataDirectory)
        #expect(after.clusterID == before.clusterID && after.revision == before.revision)
        #expect(try RestoreExecutor.readJournal(etcd.dataDirectory) == nil)
    }
}
