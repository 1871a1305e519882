import Etcd
import Platform

/// Section `etcd.defragment`.
package struct DefragmentOptions: Sendable, Equatable, Codable {
    package var schedule: String?
    package var timezone: String?
    /// Part of the file that is free, from which on it is worth it.
    package var minFragmentation = 0.45
    /// And bytes that are free.
    package var minFree: Int64 = 100 << 20
    /// Milliseconds that one member may take. It answers nothing meanwhile.
    package var timeout: Int64 = 600_000

    package init() {}
}

/// Gives free pages of etcd's databases back to the disk, one member at a time, the leader last; only while every member is
/// well, since each is away for as long as it takes.
package struct Defragment: Sendable {
    package var etcd: EtcdOptions
    package var options: DefragmentOptions
    /// For a member to be level with the others again.
    package var settleLimit: Duration = .seconds(120)

    package init(etcd: EtcdOptions, options: DefragmentOptions) {
        self.etcd = etcd
        self.options = options
    }

    package struct Outcome: Sendable, Equatable {
        package var member: String
        /// Bytes of the file before and after; equal where it was not worth it.
        package var before: Int64
        package var after: Int64
    }

    /// What was done, the members in order. Throws where it is not safe to begin, or a member does not come back: then the
    /// others are left alone. `force` leaves out the question whether it is worth it.
    package func run(force: Bool = false, log: @Sendable (String) -> Void = { _ in }) async throws -> [Outcome] {
        let http = HTTPClient(name: "kops-defragment")
        defer { http.shutdown() }
        let survey = await EtcdSurvey.take(etcd, http: http)
        try Self.check(survey)
        let client = EtcdClient(
            endpoints: survey.members.map(\.endpoint), tls: etcd.tls, http: http, timeout: .milliseconds(etcd.timeout))
        var outcomes: [Outcome] = []
        for member in Self.order(survey.members) {
            try Task.checkCancellation()
            // The leader may be another one by now, and a member may have fallen ill.
            let now = await EtcdSurvey.take(etcd, http: http)
            try Self.check(now)
            guard let status = try? await client.status(member.endpoint) else { continue }
            let name = member.name.isEmpty ? member.endpoint : member.name
            var outcome = Outcome(member: name, before: status.databaseSize, after: status.databaseSize)
            if force || isWorth(status) {
                log("defragmenting \(name)\(status.isLeader ? " (the leader)" : ""): \(status.databaseSize >> 20) MiB")
                try await client.defragment(member.endpoint, timeout: .milliseconds(options.timeout))
                outcome.after = try await settle(client, member.endpoint, name)
                log("\(name): \(outcome.before >> 20) → \(outcome.after >> 20) MiB")
            }
            outcomes.append(outcome)
        }
        return outcomes
    }

    func isWorth(_ status: EtcdStatus) -> Bool {
        // Before etcd 3.4 the bytes in use are not told.
        guard status.databaseSizeInUse > 0, status.databaseSize > 0 else { return false }
        let free = status.databaseSize - status.databaseSizeInUse
        return free >= options.minFree && Double(free) / Double(status.databaseSize) >= options.minFragmentation
    }

    /// Followers by name, then the leader.
    static func order(_ members: [EtcdSurvey.Member]) -> [EtcdSurvey.Member] {
        members.filter { $0.status?.isLeader == false } + members.filter { $0.status?.isLeader == true }
    }

    static func check(_ survey: EtcdSurvey) throws {
        guard !survey.members.isEmpty else { throw BackupError(.etcd, "no member of etcd answers") }
        for member in survey.members {
            let name = member.name.isEmpty ? member.endpoint : member.name
            guard let status = member.status else {
                throw BackupError(
                    .refused, "\(name) does not answer (\(member.problem ?? "?")): another member is not taken away now"
                )
            }
            guard status.leader != 0, survey.leader == status.leader else {
                throw BackupError(.refused, "the members of etcd do not agree on a leader: nothing is taken away now")
            }
            guard !status.errors.contains(where: { $0.contains("CORRUPT") }) else {
                throw BackupError(.refused, "\(name) reports a corrupt database: replace that member first")
            }
        }
        let furthest = survey.members.compactMap { $0.status?.appliedIndex }.max() ?? 0
        for member in survey.members where (member.status?.appliedIndex ?? 0) + 5_000 < furthest {
            throw BackupError(.refused, "\(member.name) is behind the others: nothing is taken away now")
        }
        guard survey.alarms != nil else {
            throw BackupError(.refused, "etcd does not answer what needs a quorum: nothing is taken away now")
        }
    }

    /// Waits until the member is level with its peers again; the bytes of its file.
    private func settle(_ client: EtcdClient, _ endpoint: String, _ name: String) async throws -> Int64 {
        let deadline = ContinuousClock.now + settleLimit
        while ContinuousClock.now < deadline {
            if let status = try? await client.status(endpoint), status.leader != 0,
                status.appliedIndex + 100 >= status.raftIndex
            {
                return status.databaseSize
            }
            try await Task.sleep(for: .milliseconds(200))
        }
        throw BackupError(.etcd, "\(name) has not come back after it was defragmented: the others are left alone")
    }
}
