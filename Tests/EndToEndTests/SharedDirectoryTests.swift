import Glibc
import Platform
import TestSupport
import Testing

/// Sidecars of several machines whose only destination is one directory, as where it is mounted from a file server.
@Suite(.enabled(if: isInstalled("etcd", "etcdctl"), "needs etcd and etcdctl"), .serialized)
struct SharedDirectoryTests {
    @Test(.timeLimit(.minutes(5))) func sidecarsDoNotWaitForEachOther() async throws {
        let directory = try scratch()
        defer { try? FileSystem.removeTree(directory) }
        let ports = try freePorts(2)
        let (endpoint, peer) = ("http://127.0.0.1:\(ports[0])", "http://127.0.0.1:\(ports[1])")
        let etcd = try Program(
            [
                "etcd", "--data-dir", directory + "/data", "--listen-client-urls", endpoint,
                "--advertise-client-urls", endpoint, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", "default=\(peer)",
            ], log: directory + "/etcd.log")
        defer { etcd.stop(SIGKILL) }
        let control = "ETCDCTL_API=3 etcdctl --endpoints \(endpoint)"
        try await eventually("etcd serves") { try await shell("\(control) endpoint health").status == 0 }
        // Long enough that they meet.
        let fill = try await shell(
            "for i in $(seq 8); do head -c 300000 /dev/urandom | base64 -w0 | \(control) put k$i > /dev/null || exit 1; done"
        )
        #expect(fill.status == 0, "\(fill.output)")
        let places = ["cp1", "cp2", "cp3"].map { directory + "/" + $0 }
        for place in places {
            let name = FileSystem.name(of: place)
            try FileSystem.makeDirectories(place + "/kubernetes/manifests")
            try AtomicFile.write(
                Array("- --name=\(name)\n".utf8), to: place + "/kubernetes/manifests/etcd.yaml")
            let config = """
                storage: {path: \(place)/state}
                cluster: {name: shared}
                etcd: {endpoints: ["\(endpoint)"]}
                backup:
                  kubernetes_directory: \(place)/kubernetes
                  include: [manifests]
                  incremental: {max_chain: 5}
                  destinations: [{name: local, path: \(directory)/backups, retention: {keep_last: 6}}]
                """
            try AtomicFile.write(Array(config.utf8), to: place + "/kops.yaml")
        }
        for round in 1...3 {
            let runs = try places.map { place in
                try Program(
                    [binary, "backup", "now", "--config", place + "/kops.yaml"], log: "\(place)/run-\(round).log")
            }
            for run in runs { #expect(try await run.wait() == 0, "\(run.text)") }
            _ = try await shell("date +%N | \(control) put one")
        }
        let list = try await shell("\(binary) backup list --config \(places[0])/kops.yaml")
        let lines = list.output.split(separator: "\n").filter { $0.contains("etcd-shared-") }
        #expect(lines.count == 9 && lines.allSatisfy { $0.hasSuffix("good") }, "\(list.output)")
        for name in ["cp1", "cp2", "cp3"] {
            let own = lines.filter { $0.contains(" \(name) ") }
            #expect(own.count == 3, "\(list.output)")
            // Each builds on its own ones.
            #expect(own.count(where: { $0.contains("increment") }) == 2, "\(list.output)")
        }
        for line in lines {
            let name = line.prefix { $0 != " " }
            let verify = try await shell("\(binary) backup verify \(name) --config \(places[0])/kops.yaml")
            #expect(verify.status == 0, "\(verify.output)")
        }
        #expect(try await shell("find \(directory)/backups -name '*.part'").output.isEmpty)
    }
}
