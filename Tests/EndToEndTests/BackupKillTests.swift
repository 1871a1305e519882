import FoundationEssentials
import Glibc
import Platform
import TestSupport
import Testing

/// The sidecar dies at any moment of a backup: nothing under a final name is partial, and the next one is made as if nothing had
/// been. KOPS_KILL_ROUNDS makes it longer; scripts/backup-kill-check does so.
@Suite(.enabled(if: isInstalled("etcd", "etcdctl"), "there is no etcd"), .serialized) struct BackupKillTests {
    private static let rounds = getenv("KOPS_KILL_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 4

    @Test func aKilledBackupLeavesNothingHalf() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let ports = try freePorts(2)
        let endpoint = "http://127.0.0.1:\(ports[0])"
        let etcd = try Program(
            [
                "etcd", "--data-dir", directory + "/etcd", "--listen-client-urls", endpoint, "--advertise-client-urls",
                endpoint, "--listen-peer-urls", "http://127.0.0.1:\(ports[1])", "--initial-advertise-peer-urls",
                "http://127.0.0.1:\(ports[1])", "--initial-cluster", "default=http://127.0.0.1:\(ports[1])",
            ], log: directory + "/etcd.log")
        defer { etcd.stop(SIGKILL) }
        try await eventually("etcd serves") {
            try await shell("ETCDCTL_API=3 etcdctl --endpoints \(endpoint) endpoint health").status == 0
        }
        let fill = try await shell(
            "for i in $(seq 1 10); do head -c 300000 /dev/urandom | base64 -w0 | ETCDCTL_API=3 etcdctl --endpoints \(endpoint) put k$i > /dev/null || exit 1; done"
        )
        #expect(fill.status == 0, "\(fill.output)")
        let backups = directory + "/backups"
        try AtomicFile.write(
            Array(
                """
                storage: {path: \(directory)/data}
                cluster: {name: kill}
                etcd: {endpoints: ["\(endpoint)"]}
                backup:
                  include: [versions]
                  incremental: {max_chain: 3}
                  destinations:
                    - {name: one, path: \(backups)}
                    - {name: two, path: \(directory)/two, retention: {keep_last: 3}}
                """.utf8), to: directory + "/config.yaml")
        let command = [binary, "backup", "now", "--config", directory + "/config.yaml"]
        let began = ContinuousClock.now
        #expect(try await Program(command, log: directory + "/first.log").wait() == 0)
        let whole = max(50, Int((ContinuousClock.now - began).milliseconds))
        for round in 0..<BackupKillTests.rounds {
            _ = try await shell("date +%N | ETCDCTL_API=3 etcdctl --endpoints \(endpoint) put k\(round % 10)")
            let program = try Program(command, log: directory + "/run.log")
            try await Task.sleep(for: .milliseconds(Int.random(in: 0...(whole + whole / 5))))
            program.stop(SIGKILL)
            for place in [backups, directory + "/two"] {
                for name in try FileSystem.list(place) where !name.hasPrefix(".") && !name.hasSuffix(".part") {
                    let check = name.hasSuffix(".json") ? "python3 -m json.tool" : "gzip -t"
                    let result = try await shell("\(check) < \(place)/\(name) > /dev/null")
                    #expect(result.status == 0, "\(place)/\(name) after kill \(round): \(result.output)")
                }
            }
        }
        // And then it goes on, sweeping up what the dead ones left.
        #expect(try await Program(command, log: directory + "/last.log").wait() == 0)
        let left = try await shell("find \(backups) -name '*.part'")
        #expect(left.output.isEmpty, "\(left.output)")
        let verify = try await shell("\(binary) backup verify latest --config \(directory)/config.yaml")
        #expect(verify.status == 0, "\(verify.output)")
    }
}
