import Platform
import Testing

@testable import ClusterOps

@Suite(.serialized) struct DrillTests {
    @Test(.enabled(if: EtcdProcess.isThere)) func aBackupIsTriedWithEtcdAndWithout() async throws {
        let etcd = try EtcdProcess(name: "cp1")
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 3000)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let backup = try await service(etcd, [place]).backupNow(onDemand: false)
        etcd.kill()
        var drill = Drill(destinations: [place], workDirectory: etcd.directory + "/work")
        let served = try await drill.run()
        #expect(served.served && served.hashCompared && served.keys == 3000)
        drill.etcdProgram = "/no/such/etcd"
        let read = try await drill.run()
        #expect(!read.served && read.hashCompared)
        #expect(read.revision == backup.manifest.revision)
        #expect(read.summary.contains("no etcd program"))
        drill.needsEtcd = true
        await #expect(throws: BackupError(.invalid, "")) { try await drill.run() }
        // Nothing is left behind.
        #expect(try FileSystem.list(etcd.directory + "/work").isEmpty)
        var bytes = try FileSystem.read(backup.path)
        bytes[bytes.count / 3] ^= 1
        try AtomicFile.write(bytes, to: backup.path)
        drill.needsEtcd = false
        await #expect(throws: BackupError(.damaged, "")) { try await drill.run() }
    }

    @Test(.enabled(if: EtcdProcess.isThere)) func anEmptyEtcdsBackupIsTried() async throws {
        let etcd = try EtcdProcess(name: "cp1")
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        _ = try await service(etcd, [place]).backupNow(onDemand: false)
        etcd.kill()
        let report = try await Drill(destinations: [place], workDirectory: etcd.directory + "/work").run()
        #expect(report.served && report.hashCompared && report.keys == 0)
    }

    /// Where the machine's etcd is older than the cluster's and ends at once, the backup is not to blame: it is read instead.
    @Test(.enabled(if: EtcdProcess.isThere)) func anOlderProgramThatRefusesTheDataIsNoFailure() async throws {
        let etcd = try EtcdProcess(name: "cp1")
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 100)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        let backup = try await service(etcd, [place]).backupNow(onDemand: false)
        etcd.kill()
        let program = etcd.directory + "/etcd-old"
        var drill = Drill(destinations: [place], workDirectory: etcd.directory + "/work")
        drill.etcdProgram = program
        func install(_ version: String) throws {
            let script = """
                #!/bin/sh
                [ "$1" != --version ] || { echo "etcd Version: \(version)"; exit 0; }
                echo "invalid downgrade; server version is lower than determined cluster version" >&2
                exit 1
                """
            try AtomicFile.write(Array(script.utf8), to: program, mode: 0o755)
        }
        try install("3.3.27")
        let report = try await drill.run()
        #expect(!report.served && report.olderProgram == "3.3.27")
        #expect(report.summary.contains("older than the cluster's"))
        // Asked for by name it has to serve; and one of the same version has no excuse.
        drill.needsEtcd = true
        await #expect(throws: BackupError(.failed, "")) { try await drill.run() }
        drill.needsEtcd = false
        try install(backup.manifest.etcdVersion)
        await #expect(throws: BackupError(.failed, "")) { try await drill.run() }
    }

    private func bundle(_ change: (String) throws -> Void) throws -> BundleDrill {
        let directory = try temporaryDirectory()
        let pki = directory + "/etc/kubernetes/pki"
        try FileSystem.makeDirectories(pki + "/etcd")
        for (name, days) in [("ca", "10"), ("apiserver", "10"), ("etcd/ca", "10")] {
            let made = try runProgram([
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                "\(pki)/\(name).key", "-out", "\(pki)/\(name).crt", "-subj", "/CN=x", "-days", days,
            ])
            #expect(made.status == 0, "\(made.output)")
        }
        try runProgram(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pki + "/sa.key"])
        try runProgram(["openssl", "pkey", "-in", pki + "/sa.key", "-pubout", "-out", pki + "/sa.pub"])
        try change(pki)
        let archive = directory + "/x.tar.gz"
        #expect(try runProgram(["tar", "--format=pax", "-C", directory, "-czf", archive, "etc"]).status == 0)
        let part = SnapshotSource.Part(path: archive, destination: nil, file: "x", manifest: nil, role: .bundle)
        let now = WallClock.system.nowMilliseconds()
        return try BundleDrill.run(part, keys: nil, kubernetesDirectory: "/etc/kubernetes", now: now) { false }
    }

    @Test func keysThatFitTheirCertificatesAreCounted() throws {
        let drill = try bundle { _ in }
        #expect(drill.pairs == 4)
        #expect(drill.problems.isEmpty)
        #expect(drill.notes.count == 1 && drill.notes[0].contains("front-proxy-ca.key"))
    }

    @Test func aKeyOfAnotherCertificateIsFound() throws {
        let swapped = try bundle { pki in
            try FileSystem.rename(pki + "/ca.key", to: pki + "/x")
            try FileSystem.rename(pki + "/apiserver.key", to: pki + "/ca.key")
            try FileSystem.rename(pki + "/x", to: pki + "/apiserver.key")
        }
        #expect(swapped.problems.count == 2)
        let cut = try bundle { pki in
            let bytes = try FileSystem.read(pki + "/etcd/ca.key")
            try AtomicFile.write(Array(bytes.prefix(60)), to: pki + "/etcd/ca.key")
            try AtomicFile.write([], to: pki + "/sa.pub")
        }
        #expect(cut.problems.count == 3, "\(cut.problems)")
    }
}
