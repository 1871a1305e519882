import Platform
import Testing

@testable import ClusterOps

/// A lease in memory, which can be out of reach.
private final class MemoryLease: LeaseStore {
    struct State {
        var record: LeaseRecord?
        var version = 0
        var isAway = false
        /// Holders in order, one entry for each change.
        var holders: [String] = []
    }
    struct Away: Error {}
    let state = Lock(State())

    private func put(_ record: LeaseRecord, _ state: inout State) -> String {
        if state.record?.holder != record.holder { state.holders.append(record.holder) }
        state.record = record
        state.version += 1
        return String(state.version)
    }

    func read() async throws -> (record: LeaseRecord, version: String)? {
        try state.withLock { state in
            if state.isAway { throw Away() }
            return state.record.map { ($0, String(state.version)) }
        }
    }

    func create(_ record: LeaseRecord, isNew: Bool) async throws -> String {
        try state.withLock { state in
            if state.isAway { throw Away() }
            guard state.record == nil else { throw LeaseConflict() }
            return put(record, &state)
        }
    }

    func update(_ record: LeaseRecord, version: String, isNew: Bool) async throws -> String {
        try state.withLock { state in
            if state.isAway { throw Away() }
            guard version == String(state.version) else { throw LeaseConflict() }
            return put(record, &state)
        }
    }
}

@Suite struct RestartTurnTests {
    private let lease = MemoryLease()

    private var limits: RestartTurn.Limits {
        var limits = RestartTurn.Limits()
        limits.timing.retryPeriod = 10
        limits.poll = .milliseconds(10)
        limits.patience = .seconds(5)
        return limits
    }

    private func turn(_ node: String, _ change: (inout RestartTurn.Limits) -> Void = { _ in }) -> RestartTurn {
        var limits = limits
        change(&limits)
        return RestartTurn(node: node, store: lease, limits: limits)
    }

    private func take(_ turn: RestartTurn) async throws -> RestartTurn.Answer {
        try await turn.take(isEnding: { false }, tell: { _ in })
    }

    @Test func neverTwoNodesAtATime() async throws {
        let (atIt, most) = (Lock(0), Lock(0))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for node in 1...5 {
                let turn = turn("cp\(node)")
                group.addTask {
                    #expect(try await take(turn) == .ours)
                    // Taken again before each component.
                    #expect(try await take(turn) == .ours)
                    let now = atIt.withLock { count in
                        count += 1
                        return count
                    }
                    most.withLock { $0 = max($0, now) }
                    try await Task.sleep(for: .milliseconds(60))
                    atIt.withLock { $0 -= 1 }
                    await turn.give()
                }
            }
            try await group.waitForAll()
        }
        #expect(most.withLock { $0 } == 1)
        #expect(Set(lease.state.withLock { $0.holders }) == ["cp1", "cp2", "cp3", "cp4", "cp5", ""])
        #expect(lease.state.withLock { $0.record?.holder } == "")
    }

    @Test func aNodeThatWasKilledHasItBackAtOnceAndOthersWait() async throws {
        #expect(try await take(turn("cp1")) == .ours)
        let other = turn("cp2") { $0.wait = .milliseconds(300) }
        let told = Lock<[String]>([])
        let error = await #expect(throws: RenewalError.self) {
            try await other.take(isEnding: { false }, tell: { line in told.withLock { $0.append(line) } })
        }
        #expect(told.withLock { $0 } == ["waits for cp1, which restarts its components"])
        #expect("\(error as Any)".contains("delete the lease kube-system/kops-sidecar-restarts"))
        let again = turn("cp1")
        #expect(try await take(again) == .ours)
        await again.give()
        #expect(try await take(turn("cp2")) == .ours)
    }

    @Test func whoNeverComesBackLosesItInTime() async throws {
        #expect(try await take(turn("cp1") { $0.timing.lease = 400 }) == .ours)
        let begun = ContinuousClock.now
        #expect(try await take(turn("cp2") { $0.timing.lease = 400 }) == .ours)
        #expect(ContinuousClock.now - begun >= .milliseconds(350))
    }

    @Test func withNobodyToAskItIsSaidAndTheServiceCanEndMeanwhile() async throws {
        lease.state.withLock { $0.isAway = true }
        guard case .nobodyToAsk(let why) = try await take(turn("cp1")) else {
            Issue.record("the lease was out of reach")
            return
        }
        #expect(why.contains("Away"))
        lease.state.withLock { $0.isAway = false }
        #expect(try await take(turn("cp1")) == .ours)
        await #expect(throws: CancellationError.self) {
            try await turn("cp2").take(isEnding: { true }, tell: { _ in })
        }
    }

    @Test func theLeaseIsGivenUpAlsoWhereTheAPIServerWasAwayInBetween() async throws {
        let held = turn("cp1")
        #expect(try await take(held) == .ours)
        lease.state.withLock { $0.isAway = true }
        try await Task.sleep(for: .milliseconds(100))
        lease.state.withLock { $0.isAway = false }
        await held.give()
        #expect(lease.state.withLock { $0.record?.holder } == "")
    }

    /// Three real members: one may go, and then no other.
    @Test(.enabled(if: EtcdProcess.isThere, "needs etcd: scripts/deps test"))
    func etcdSparesAMemberOnlyWhileAQuorumRemains() async throws {
        let ports = try (0..<3).map { _ in (client: try freePort(), peer: try freePort()) }
        let list = (0..<3).map { "n\($0)=http://127.0.0.1:\(ports[$0].peer)" }.joined(separator: ",")
        let members = try (0..<3).map { try EtcdProcess(name: "n\($0)", ports: ports[$0], initialCluster: list) }
        defer { for member in members { try? FileSystem.removeTree(member.directory) } }
        for member in members { try await member.waitUntilServing() }
        let probe = ControlPlaneProbe(layout: KubeadmLayout())
        defer { probe.close() }
        let manifests = members.map { member in
            StaticPodManifest(
                path: "/etcd.yaml",
                text: "spec:\n  containers:\n  - command:\n    - etcd\n    - --listen-client-urls=\(member.endpoint)\n")
        }
        var places: [Int] = []
        for manifest in manifests {
            #expect(await probe.cannotSpareMember(manifest) == nil)
            places.append(await probe.place(manifest))
        }
        #expect(places.sorted() == [0, 1, 2])
        members[2].kill()
        for manifest in manifests.prefix(2) {
            let why = try #require(await probe.cannotSpareMember(manifest))
            #expect(why.contains("etcd has 2 of 3 members in good health (n0, n1)"), "\(why)")
            #expect(why.contains("1 would remain, and 2 are needed"), "\(why)")
        }
        // The one that is down may be restarted: it serves nobody.
        #expect(await probe.cannotSpareMember(manifests[2]) == nil)
        for member in members { member.kill() }
    }
}

/// A renewal that has to wait for its turn.
@Suite(.enabled(if: StandInNode.isThere, "needs etcd, openssl and python3: scripts/deps test"))
struct RenewalTurnTests {
    @Test(.timeLimit(.minutes(10))) func nothingIsStoppedBeforeItsTurnAndTheTurnIsGivenOn() async throws {
        let node = try StandInNode(days: 5)
        try await node.proveAll()
        let lease = MemoryLease()
        var limits = RestartTurn.Limits()
        limits.timing.retryPeriod = 20
        limits.poll = .milliseconds(20)
        let other = RestartTurn(node: "cp2", store: lease, limits: limits)
        #expect(try await other.take(isEnding: { false }, tell: { _ in }) == .ours)
        var options = node.options
        options.names = ["apiserver", "scheduler.conf"]
        var renewal = try node.renewal(options)
        renewal.turn = RestartTurn(node: "cp1", store: lease, limits: limits)
        let told = Lock<[String]>([])
        renewal.tell = { line in told.withLock { $0.append(line) } }
        let plan = options.decide(now: WallClock.system.nowMilliseconds()).plan
        let work = Task { [renewal] in try await renewal.run(plan) }
        for _ in 0..<3000 where told.withLock({ $0.isEmpty }) { try await Task.sleep(for: .milliseconds(20)) }
        #expect(told.withLock { $0 } == ["waits for cp2, which restarts its components"])
        #expect(StaticPodManifest.read(directory: node.layout.manifests).count == 4)
        #expect(node.starts().values.allSatisfy { $0 == 1 })
        await other.give()
        let result = try await work.value
        #expect(result.outcome == .done, "\(result.problem ?? "")")
        #expect(node.starts()["kube-apiserver"] == 2 && node.starts()["etcd"] == 1)
        #expect(lease.state.withLock { $0.holders } == ["cp2", "", "cp1", ""])
        // Told to end while it waits, it leaves everything as it stands and goes on later.
        #expect(try await other.take(isEnding: { false }, tell: { _ in }) == .ours)
        told.withLock { $0 = [] }
        options.force = true
        renewal.options = options
        let again = options.decide(now: WallClock.system.nowMilliseconds() + 1000).plan
        let waiting = Task { [renewal] in try await renewal.run(again) }
        for _ in 0..<3000 where told.withLock({ $0.isEmpty }) { try await Task.sleep(for: .milliseconds(20)) }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        #expect(renewal.isUnfinished())
        #expect(StaticPodManifest.read(directory: node.layout.manifests).count == 4)
        await other.give()
        #expect(try await renewal.resume()?.outcome == .done)
    }
}
