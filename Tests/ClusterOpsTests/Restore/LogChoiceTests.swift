import Platform
import TestSupport
import Testing

@testable import ClusterOps

/// Which of several logs of changes a restore follows.
@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct LogChoiceTests {
    /// Two sidecars at one place; the one whose backup is the newest falls silent, and the other one goes on.
    @Test func theLogThatReachesFurthestIsFollowed() async throws {
        let etcd = try EtcdProcess()
        defer { try? FileSystem.removeTree(etcd.directory) }
        try await etcd.waitUntilServing()
        try await fill(etcd, keys: 100)
        let place = LocalDestination(name: "store", path: etcd.directory + "/store")
        let sidecars = (1...2).map { i in
            let kubernetes = etcd.directory + "/node-\(i)"
            try? FileSystem.makeDirectories(kubernetes + "/manifests")
            try? AtomicFile.write(Array("- --name=cp\(i)\n".utf8), to: kubernetes + "/manifests/etcd.yaml")
            return service(etcd, [place]) {
                $0.workDirectory = etcd.directory + "/work-\(i)"
                $0.kubernetesDirectory = kubernetes
            }
        }
        func follow(_ sidecar: BackupService) -> Task<Void, Never> {
            Task {
                await EventLogger(service: sidecar, interval: 1000, registry: MetricRegistry()) {
                    _ = try? await sidecar.backupNow(onDemand: false)
                }.run()
            }
        }
        /// How far the log of that node's newest backup reaches.
        func reach(_ node: String) async throws -> (manifest: BackupManifest, revision: Int64)? {
            let entries = try await BackupCatalogue.read(place)
            guard let entry = entries.last(where: { $0.isGood && $0.manifest?.node == node }),
                let manifest = entry.manifest
            else { return nil }
            let hit = BackupSearch.Hit(entry: entry, place: place, all: entries)
            let source = try SnapshotSourceFinder.chain(hit, "/nowhere", until: EventLimit(time: .max))
            let revision = try await LogPreview.reach(source, keys: nil, destinations: [])
            return revision.map { (manifest, $0) }
        }
        let first = follow(sidecars[0])
        try await eventually("the first one's log") { try await reach("cp1") != nil }
        // A second later, so that it is the newest by its name.
        try await Task.sleep(for: .milliseconds(1100))
        try await fill(etcd, keys: 1, seed: 2)
        let second = follow(sidecars[1])
        try await eventually("the second one's log") {
            try await fill(etcd, keys: 1, seed: 3)
            guard let there = try await reach("cp2") else { return false }
            return there.revision > there.manifest.revision
        }
        second.cancel()
        await second.value
        let silent = try #require(try await reach("cp2"))
        try await eventually("the first one goes on") {
            try await fill(etcd, keys: 1, seed: 4)
            return try await reach("cp1")?.revision ?? 0 > silent.revision + 1
        }
        first.cancel()
        await first.value
        let furthest = try #require(try await reach("cp1"))
        etcd.kill()
        #expect(silent.manifest.name > furthest.manifest.name)

        var options = RestoreOptions()
        options.atTime = .max
        options.dataDirectory = etcd.directory + "/restored"
        options.etcd.endpoints = []
        options.bumpRevision = nil
        let plan = try await RestorePlan.make(options, destinations: [place])
        #expect(plan.manifest?.name == furthest.manifest.name)
        let note = try #require(plan.notes.first { $0.contains("reaches furthest") })
        #expect(
            note.contains("(cp1's)") && note.contains("\(furthest.revision)") && note.contains("at \(silent.revision)"),
            "\(note)")
        #expect(try await plan.execute().revision == furthest.revision)

        // What lies before the silence needs no other log, and a drill is of the newest backup.
        options.dataDirectory += "-2"
        options.atTime = nil
        options.atRevision = silent.revision
        #expect(try await RestorePlan.make(options, destinations: [place]).manifest?.name == silent.manifest.name)
        options.atRevision = furthest.revision
        #expect(try await RestorePlan.make(options, destinations: [place]).manifest?.name == furthest.manifest.name)
        options.atRevision = nil
        options.atTime = .max
        options.ownLogOnly = true
        #expect(try await RestorePlan.make(options, destinations: [place]).manifest?.name == silent.manifest.name)

        // A log with a gap is none to be followed to its end.
        options.ownLogOnly = nil
        let segments = try FileSystem.list(place.path).filter { $0.hasPrefix(furthest.manifest.name + ".events-") }
            .sorted()
        try #require(segments.count >= 2)
        try FileSystem.removeFile("\(place.path)/\(segments[0])")
        let broken = try await RestorePlan.make(options, destinations: [place])
        #expect(broken.manifest?.name == silent.manifest.name)
        #expect(
            broken.notes.contains { $0.contains("is no help") && $0.contains("segment 1 is missing") },
            "\(broken.notes)")
    }
}
