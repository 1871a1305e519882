import Glibc
import Platform
import Testing

@testable import ClusterOps
@testable import Etcd

@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct RestorePlanTests {
    /// An etcd with keys and a backup of it.
    private func scene(keys: Int = 500) async throws -> (
        etcd: EtcdProcess, place: LocalDestination, backup: BackupResult
    ) {
        let etcd = try EtcdProcess(name: "cp1")
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: keys)
        let place = LocalDestination(name: "local", path: etcd.directory + "/backups")
        return (etcd, place, try await service(etcd, [place]).backupNow(onDemand: false))
    }

    private func options(_ etcd: EtcdProcess) -> RestoreOptions {
        var options = RestoreOptions()
        options.dataDirectory = etcd.dataDirectory
        options.etcd.endpoints = [etcd.endpoint]
        return options
    }

    @Test func latestBringsBackWhatWasThere() async throws {
        let (etcd, place, backup) = try await scene(keys: 10_000)
        defer { try? FileSystem.removeTree(etcd.directory) }
        let before = try await dump(etcd)
        etcd.kill()
        try FileSystem.removeTree(etcd.dataDirectory)
        let plan = try await RestorePlan.make(options(etcd), destinations: [place])
        #expect(plan.memberName == "cp1")
        #expect(plan.initialCluster == "cp1=\(etcd.peerURL)")
        #expect(plan.describe().contains { $0.contains("bumped by 1000000000") })
        #expect(!FileSystem.exists(etcd.dataDirectory))
        let report = try await plan.execute()
        #expect(report.revision == backup.manifest.revision + 1_000_000_000)
        #expect(try FileSystem.list(etcd.directory).contains("data.kops-new") == false)
        try etcd.start()
        try await etcd.waitUntilServing()
        #expect(try await dump(etcd) == before)
        etcd.kill()
    }

    @Test func aDirectoryInUseOrNotEmptyIsRefused() async throws {
        let (etcd, place, _) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        var options = options(etcd)
        options.setAside = true
        options.overrides = [.liveQuorum]
        // Running: refused whatever is overridden.
        await #expect(throws: BackupError(.refused, "")) {
            try await RestorePlan.make(options, destinations: [place])
        }
        etcd.kill()
        options.setAside = false
        await #expect(throws: BackupError(.refused, "")) {
            try await RestorePlan.make(options, destinations: [place])
        }
        options.setAside = true
        let report = try await RestorePlan.make(options, destinations: [place]).execute()
        let aside = try #require(report.asideDirectory)
        #expect(FileSystem.exists(aside + "/member/snap/db"))
        // And back again.
        _ = try await RestorePlan.undo(dataDirectory: etcd.dataDirectory)
        #expect(!FileSystem.exists(aside))
        #expect(DataDirectory.survey(etcd.dataDirectory).revision == report.snapshotRevision)
        await #expect(throws: BackupError(.notFound, "")) {
            try await RestorePlan.undo(dataDirectory: etcd.dataDirectory)
        }
    }

    @Test func aLivingQuorumIsLeftAlone() async throws {
        let (etcd, place, _) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        var options = options(etcd)
        options.dataDirectory = etcd.directory + "/other"
        // Its ports are in use, but not on this directory: name others.
        options.name = "cp2"
        options.initialCluster = "cp2=http://127.0.0.1:\(try freePort())"
        await #expect(throws: BackupError(.refused, "")) {
            try await RestorePlan.make(options, destinations: [place])
        }
        options.overrides = [.liveQuorum]
        let plan = try await RestorePlan.make(options, destinations: [place])
        #expect(plan.notes.contains { $0.contains("quorum") })
        // The very member's port, which its etcd has: it may be another etcd's, where the directory is new.
        options.name = nil
        options.initialCluster = nil
        options.overrides = []
        do {
            _ = try await RestorePlan.make(options, destinations: [place])
            Issue.record("not refused")
        } catch let error as BackupError {
            #expect(error.code == .refused && error.message.contains("--force live-quorum"), "\(error.message)")
        }
        options.overrides = [.liveQuorum]
        let report = try await RestorePlan.make(options, destinations: [place]).execute()
        #expect(FileSystem.exists(report.dataDirectory + "/member/snap/db"))
        etcd.kill()
    }

    @Test func anOlderBackupAndOneOfAnotherClusterAreRefused() async throws {
        let (etcd, place, _) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await fill(etcd, keys: 100, seed: 7)
        // A snapshot makes etcd write its database out.
        _ = try await service(etcd, [LocalDestination(name: "x", path: etcd.directory + "/x")]).backupNow(
            onDemand: true)
        etcd.kill()
        var options = options(etcd)
        options.setAside = true
        await #expect(throws: BackupError(.refused, "")) {
            try await RestorePlan.make(options, destinations: [place])
        }
        options.overrides = [.older]
        _ = try await RestorePlan.make(options, destinations: [place])

        let (other, otherPlace, _) = try await scene()
        defer { try? FileSystem.removeTree(other.directory) }
        other.kill()
        // Both are named: whose the backup is, and whose the directory.
        let own = try #require(DataDirectory.survey(etcd.dataDirectory).clusterID)
        let foreign = try #require(DataDirectory.survey(other.dataDirectory).clusterID)
        options.overrides = [.older]
        do {
            _ = try await RestorePlan.make(options, destinations: [otherPlace])
            Issue.record("a backup of another cluster was taken")
        } catch let error as BackupError {
            #expect(error.message.contains("other-cluster"))
            #expect(error.message.contains(hex16(own)) && error.message.contains(hex16(foreign)) && own != foreign)
        }
    }

    @Test func aDamagedBackupIsNeverMadeIntoADirectory() async throws {
        let (etcd, place, backup) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        etcd.kill()
        try FileSystem.removeTree(etcd.dataDirectory)
        var bytes = try FileSystem.read(backup.path)
        bytes[bytes.count / 2] ^= 4
        try AtomicFile.write(bytes, to: backup.path)
        let plan = try await RestorePlan.make(options(etcd), destinations: [place])
        await #expect(throws: BackupError(.damaged, "")) { try await plan.execute() }
        #expect(!FileSystem.exists(etcd.dataDirectory))
        #expect(!FileSystem.exists(etcd.dataDirectory + ".kops-new"))
    }

    /// Without the key, or with a wrong one, it is said before anything is begun; and a backup that proved damaged does not stand
    /// in the way of another one.
    @Test func whatFailedBeforeItChangedAnythingIsForgotten() async throws {
        let (etcd, place, backup) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        func key(_ name: String) throws -> String {
            let path = etcd.directory + "/" + name
            try AtomicFile.write(Array(try SealingKeys.generate(now: 0).text.utf8), to: path, mode: 0o600)
            return path
        }
        let own = try key("own.key")
        let sealed = LocalDestination(name: "sealed", path: etcd.directory + "/sealed")
        var sealing = SealingOptions()
        sealing.keyFile = own
        let made = try await service(etcd, [sealed]) { [sealing] in $0.sealing = sealing }.backupNow(onDemand: false)
        etcd.kill()
        try FileSystem.removeTree(etcd.dataDirectory)
        var options = options(etcd)
        for file in [nil, try key("other.key")] {
            options.keyFile = file
            await #expect(throws: BackupError(.key, "")) {
                try await RestorePlan.make(options, destinations: [sealed])
            }
        }
        #expect(!FileSystem.exists(RestoreExecutor.journalPath(etcd.dataDirectory)))
        options.keyFile = own
        var bytes = try FileSystem.read(made.path)
        bytes[bytes.count / 2] ^= 1
        try AtomicFile.write(bytes, to: made.path)
        let broken = try await RestorePlan.make(options, destinations: [sealed])
        await #expect(throws: BackupError(.damaged, "")) { try await broken.execute() }
        #expect(FileSystem.exists(RestoreExecutor.journalPath(etcd.dataDirectory)))
        let report = try await RestorePlan.make(options, destinations: [place]).execute()
        #expect(report.snapshotRevision == backup.manifest.revision)
        #expect(!FileSystem.exists(etcd.dataDirectory + ".kops-new"))
    }

    /// What a kill leaves is the journal and the files: each step is begun again on what the one before left.
    @Test func everyStepCanBeDoneTwice() async throws {
        let (etcd, place, backup) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        etcd.kill()
        var options = options(etcd)
        options.setAside = true
        let plan = try await RestorePlan.make(options, destinations: [place])
        for stop in 0..<plan.steps.count {
            try? FileSystem.removeFile(RestoreExecutor.journalPath(etcd.dataDirectory))
            let plan = try await RestorePlan.make(options, destinations: [place])
            let task = Task {
                try await plan.execute(announce: { i, _ in if i == stop + 1 { withUnsafeCurrentTask { $0?.cancel() } } }
                )
            }
            _ = await task.result
            // As if killed after the step was done and before the journal said so.
            guard var journal = try RestoreExecutor.readJournal(etcd.dataDirectory), journal.state == .running else {
                continue
            }
            journal.done = max(0, journal.done - 1)
            let executor = RestoreExecutor(
                journal: journal, destinations: [place], clock: .system, surroundings: .system, announce: nil,
                progress: nil)
            try executor.write(journal)
            if journal.hasChangedNothing {
                #expect(plan.steps[journal.done].action == .build)
            } else {
                await #expect(throws: BackupError(.refused, "")) {
                    try await RestorePlan.make(options, destinations: [place])
                }
            }
            let report = try await RestorePlan.resume(dataDirectory: etcd.dataDirectory, destinations: [place])
            #expect(report.revision == backup.manifest.revision + 1_000_000_000)
            _ = try await RestorePlan.undo(dataDirectory: etcd.dataDirectory)
            #expect(DataDirectory.survey(etcd.dataDirectory).revision == backup.manifest.revision)
        }
    }

    @Test func plainSnapshotsOfEtcdctlAreTaken() async throws {
        let (etcd, _, backup) = try await scene()
        defer { try? FileSystem.removeTree(etcd.directory) }
        let path = etcd.directory + "/plain.db"
        try runProgram(["etcdctl", "--endpoints", etcd.endpoint, "snapshot", "save", path])
        etcd.kill()
        try FileSystem.removeTree(etcd.dataDirectory)
        var options = options(etcd)
        options.source = path
        options.name = "cp1"
        options.initialCluster = "cp1=\(etcd.peerURL)"
        options.bumpRevision = nil
        let report = try await RestorePlan.make(options).execute()
        #expect(report.revision == backup.manifest.revision)
    }

    @Test func nothingToRestoreIsSaidClearly() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        var options = RestoreOptions()
        options.dataDirectory = directory + "/data"
        options.etcd.endpoints = []
        await #expect(throws: BackupError(.invalid, "")) { try await RestorePlan.make(options) }
        options.from = directory
        await #expect(throws: BackupError(.notFound, "")) { try await RestorePlan.make(options) }
        options.source = directory + "/none.gz"
        await #expect(throws: BackupError(.notFound, "")) { try await RestorePlan.make(options) }
    }
}
