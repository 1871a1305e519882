import Kubernetes
import Logging
import Platform
import TestSupport
import Testing

@testable import ClusterOps

/// Sidecars that agree over a lease of the stand-in API server.
@Suite(.enabled(if: KubeAPIStandIn.isPossible, "needs python3"), .serialized)
struct LeadershipTests {
    private static let timing: LeaderElector.Timing = {
        var timing = LeaderElector.Timing()
        timing.lease = 12_000
        timing.renewDeadline = 9000
        timing.retryPeriod = 300
        return timing
    }()

    private func candidate(_ name: String, _ url: String, _ metrics: MetricRegistry = MetricRegistry()) -> Leadership {
        var options = KubernetesClient.Options()
        options.attempts = 1
        options.requestsPerSecond = 0
        options.timeout = .seconds(4)
        let client = KubernetesClient(
            ClusterAccess(server: url), http: HTTPClient(name: "lease-\(name)"), options: options)
        return Leadership(
            identity: name, timing: Self.timing,
            store: KubernetesLease(namespace: "kube-system", name: "kops-sidecar", clock: .system) { client },
            metrics: metrics, log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @Test func oneLeadsAnotherTakesOverAndWithoutTheAPIBothSpeak() async throws {
        let server = try KubeAPIStandIn()
        let a = candidate("a", server.url)
        let b = candidate("b", server.url)
        let first = Task { await a.run() }
        try await eventually("a leads") { a.isLeader }
        let second = Task { await b.run() }
        // On a busy machine either may lose it and win it back in between.
        try await eventually("b follows a") {
            b.role == .follower(leader: "a") && !b.isLeader && !b.mayNotify && a.mayNotify
        }
        // Given up at a clean end: no waiting for the lease to run out.
        first.cancel()
        await first.value
        #expect(!a.isLeader)
        let client = KubernetesClient(ClusterAccess(server: server.url), http: HTTPClient(name: "lease-look"))
        let left = try await client.find(Lease.self, "kops-sidecar", namespace: "kube-system")
        #expect(left?.spec?.holderIdentity != "a")
        try await eventually("b leads") { b.isLeader }
        // The API server is gone: nobody may run a cluster's job, everybody may speak.
        server.stop()
        try await eventually("b leads no more") { !b.isLeader }
        try await eventually("nobody knows") { b.role == .unknown }
        #expect(b.mayNotify)
        second.cancel()
        await second.value
    }

    @Test func aLeaderThatVanishesIsReplacedWithinTheLease() async throws {
        let server = try KubeAPIStandIn()
        let identityOfTheDead = candidate("dead", server.url)
        let work = Task { await identityOfTheDead.run() }
        try await eventually("leads") { identityOfTheDead.isLeader }
        let b = candidate("b", server.url)
        let second = Task { await b.run() }
        try await eventually("b follows") { b.role == .follower(leader: "dead") }
        // As after a kill: it renews no more, and gives nothing back.
        let began = ContinuousClock.now
        identityOfTheDead.freeze()
        try await eventually("b leads") { b.isLeader }
        let took = ContinuousClock.now - began
        #expect(took < .milliseconds(Self.timing.lease + 2 * Self.timing.retryPeriod + 60_000), "\(took)")
        #expect(!identityOfTheDead.isLeader)
        work.cancel()
        second.cancel()
        await second.value
        await work.value
    }

    @Test func withoutALeaseItLeads() async throws {
        let alone = Leadership(
            identity: "a", store: nil, metrics: MetricRegistry(),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        #expect(alone.isLeader && alone.mayNotify)
        var roles = alone.changes().makeAsyncIterator()
        #expect(await roles.next() == .leader)
    }

    /// A lease in memory. The first renewal is written but never answered.
    private final class SilentLease: LeaseStore {
        let record = Lock<(record: LeaseRecord, version: Int)?>(nil)
        let isSilent = Lock(false)

        func read() async throws -> (record: LeaseRecord, version: String)? {
            record.withLock { $0.map { ($0.record, "\($0.version)") } }
        }

        func create(_ new: LeaseRecord, isNew: Bool) async throws -> String {
            record.withLock { $0 = (new, 1) }
            return "1"
        }

        func update(_ new: LeaseRecord, version: String, isNew: Bool) async throws -> String {
            let written = try record.withLock { known in
                guard let before = known, "\(before.version)" == version else { throw LeaseConflict() }
                known = (new, before.version + 1)
                return before.version + 1
            }
            let isFirst = isSilent.withLock { isSilent in
                defer { isSilent = true }
                return !isSilent
            }
            if isFirst { try await Task.sleep(for: .seconds(600)) }
            return "\(written)"
        }
    }

    @Test func aRenewalThatTheEndCutOffDoesNotKeepTheLease() async throws {
        let lease = SilentLease()
        let a = Leadership(
            identity: "a", timing: Self.timing, store: lease, metrics: MetricRegistry(),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let run = Task { await a.run() }
        try await eventually("a renewal is under way") { lease.isSilent.withLock { $0 } }
        run.cancel()
        await run.value
        #expect(lease.record.withLock { $0?.record.holder } == "")
        #expect(!a.isLeader)
    }
}
