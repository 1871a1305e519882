import Etcd
import Platform
import TestSupport
import Testing

@testable import ClusterOps

@Suite(.enabled(if: EtcdProcess.isThere), .serialized) struct EtcdCareTests {
    private func access(_ members: [EtcdProcess]) -> EtcdOptions {
        var options = EtcdOptions()
        options.endpoints = members.map(\.endpoint)
        options.ca = nil
        options.cert = nil
        options.key = nil
        return options
    }

    private func cluster(_ count: Int) async throws -> [EtcdProcess] {
        let ports = try (0..<count).map { _ in (client: try freePort(), peer: try freePort()) }
        let list = (0..<count).map { "n\($0)=http://127.0.0.1:\(ports[$0].peer)" }.joined(separator: ",")
        let members = try (0..<count).map { try EtcdProcess(name: "n\($0)", ports: ports[$0], initialCluster: list) }
        for member in members { try await member.waitUntilServing() }
        return members
    }

    /// Fills and forgets, so that most of the file is free.
    private func waste(_ etcd: EtcdProcess) async throws {
        let http = HTTPClient(name: "waste")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [etcd.endpoint], tls: TLSSettings(), http: http)
        try await fill(etcd, keys: 20_000)
        let revision = try await client.transaction([.delete(key: [0], end: [0])])
        try await client.compact(revision, physical: true)
        // What is compacted away has no hash.
        _ = try await client.transaction([.put(key: [1], value: [1])])
    }

    @Test func everyMemberGivesItsSpaceBackAndTheLeaderComesLast() async throws {
        let members = try await cluster(3)
        defer { for member in members { try? FileSystem.removeTree(member.directory) } }
        try await waste(members[0])
        var options = DefragmentOptions()
        options.minFree = 1 << 20
        // One endpoint is named: the others are known by the cluster.
        var work = Defragment(etcd: access([members[1]]), options: options)
        let registry = MetricRegistry()
        let monitor = EtcdMonitor(registry: registry, interval: .milliseconds(50)) { [etcd = work.etcd] in etcd }
        let watch = Task { await monitor.run() }
        defer { watch.cancel() }
        let outcomes = try await work.run()
        #expect(outcomes.count == 3)
        for outcome in outcomes { #expect(outcome.after < outcome.before / 2, "\(outcome)") }
        let http = HTTPClient(name: "test")
        defer { http.shutdown() }
        let survey = await EtcdSurvey.take(work.etcd, http: http)
        #expect(Set(survey.members.map(\.name)) == ["n0", "n1", "n2"])
        #expect(outcomes.last?.member == survey.members.first { $0.status?.isLeader == true }?.name)
        #expect(await survey.hashesAgree(work.etcd, http: http) == true)
        // A second time there is nothing to gain.
        #expect(try await work.run().allSatisfy { $0.before == $0.after })
        func exposed() -> String { String(decoding: registry.expose(), as: UTF8.self) }
        for line in [
            "kops_etcd_members 3", "kops_etcd_member_up{member=\"n2\"} 1", "kops_etcd_alarms{alarm=\"NOSPACE\"} 0",
            "kops_etcd_hashes_agree 1", "kops_etcd_member_has_leader{member=\"n0\"} 1",
        ] { try await eventually("\(line) is shown") { exposed().contains(line) } }

        // With a member away none is taken away besides.
        members[2].kill()
        work.settleLimit = .seconds(1)
        await #expect(throws: BackupError(.refused, "")) { try await work.run(force: true) }
        for member in members { member.kill() }
    }

    @Test func nothingIsDoneWithoutAQuorum() async throws {
        let members = try await cluster(3)
        defer { for member in members { try? FileSystem.removeTree(member.directory) } }
        members[0].kill()
        members[1].kill()
        let work = Defragment(etcd: access([members[2]]), options: DefragmentOptions())
        await #expect(throws: BackupError(.refused, "")) { try await work.run(force: true) }
        members[2].kill()
    }

    @Test func whatIsWorthIt() {
        var options = DefragmentOptions()
        options.minFree = 100
        options.minFragmentation = 0.5
        let work = Defragment(etcd: EtcdOptions(), options: options)
        func status(_ size: Int64, _ used: Int64) -> EtcdStatus {
            var status = EtcdStatus()
            status.databaseSize = size
            status.databaseSizeInUse = used
            return status
        }
        #expect(work.isWorth(status(1000, 400)))
        #expect(!work.isWorth(status(1000, 600)))
        #expect(!work.isWorth(status(150, 60)))
        #expect(!work.isWorth(status(1000, 0)))
    }
}
