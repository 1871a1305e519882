package import Etcd
package import Platform

/// What all members of an etcd cluster say of themselves at one moment.
package struct EtcdSurvey: Sendable {
    package struct Member: Sendable {
        /// Nil for an endpoint that did not say who it is.
        package var member: EtcdMember?
        package var endpoint: String
        package var status: EtcdStatus?
        /// Why there is no status.
        package var problem: String?

        package var name: String { member?.name ?? "" }
        package var id: UInt64 { status?.header.memberID ?? member?.id ?? 0 }
    }

    package var members: [Member]
    /// Nil where no quorum could be asked.
    package var alarms: [EtcdAlarm]?

    package var leader: UInt64? {
        let leaders = Set(members.compactMap { $0.status?.leader }.filter { $0 != 0 })
        return leaders.count == 1 ? leaders.first : nil
    }

    /// Asks the endpoints, and through them all members of the cluster by their own client URLs. Waits five seconds for one
    /// that is silent, all at once.
    package static func take(_ options: EtcdOptions, http: HTTPClient) async -> EtcdSurvey {
        let timeout = Duration.milliseconds(min(options.timeout, 5_000))
        let first = EtcdClient(endpoints: options.endpoints, tls: options.tls, http: http, timeout: timeout)
        var states = await first.survey()
        let list = (try? await first.memberList()) ?? []
        var endpoints: [UInt64: String] = [:]
        for state in states {
            if case .success(let status) = state.status { endpoints[status.header.memberID] = state.endpoint }
        }
        // Members that no configured endpoint reached.
        let rest = list.filter { endpoints[$0.id] == nil }
        let urls = rest.map { member in
            member.clientURLs.first { !$0.contains("127.0.0.1") && !$0.contains("localhost") }
                ?? member.clientURLs.first ?? ""
        }
        let unknown = states.filter { if case .failure = $0.status { true } else { false } }
        states = states.filter { if case .success = $0.status { true } else { false } }
        let more = EtcdClient(
            endpoints: urls.filter { !$0.isEmpty }, tls: options.tls, http: http, timeout: timeout)
        let answers = Dictionary(await more.survey().map { ($0.endpoint, $0) }, uniquingKeysWith: { a, _ in a })
        var members: [Member] = []
        var seen: Set<UInt64> = []
        for state in states {
            guard case .success(let status) = state.status, seen.insert(status.header.memberID).inserted else {
                continue
            }
            members.append(
                Member(
                    member: list.first { $0.id == status.header.memberID }, endpoint: state.endpoint, status: status))
        }
        for (member, url) in zip(rest, urls) {
            var entry = Member(member: member, endpoint: url)
            switch answers[url]?.status {
            case .success(let status)?: entry.status = status
            case .failure(let error)?: entry.problem = "\(error)"
            case nil: entry.problem = "it has told no client URL: it has never started"
            }
            members.append(entry)
        }
        if list.isEmpty {
            for state in unknown {
                if case .failure(let error) = state.status {
                    members.append(Member(endpoint: state.endpoint, problem: "\(error)"))
                }
            }
        }
        members.sort { ($0.name, $0.endpoint) < ($1.name, $1.endpoint) }
        let alarms = members.contains { $0.status?.leader ?? 0 != 0 } ? try? await first.alarms() : nil
        return EtcdSurvey(members: members, alarms: alarms)
    }

    /// Whether members that stand at the same revision hold the same keys; nil where fewer than two could be compared.
    /// etcd reads its whole database for it: not to be asked every minute.
    package func hashesAgree(_ options: EtcdOptions, http: HTTPClient) async -> Bool? {
        let alive = members.filter { $0.status != nil }
        guard alive.count > 1, let revision = alive.compactMap({ $0.status?.header.revision }).min() else { return nil }
        let client = EtcdClient(endpoints: alive.map(\.endpoint), tls: options.tls, http: http)
        var hashes: [Int64: Set<UInt32>] = [:]
        var compared = 0
        for member in alive {
            guard let hash = try? await client.hashKV(member.endpoint, revision: revision) else { continue }
            hashes[hash.compactRevision, default: []].insert(hash.hash)
            compared += 1
        }
        // Hashes count only between members that have compacted as far.
        guard compared > 1, hashes.count == 1 else { return nil }
        return hashes.values.allSatisfy { $0.count == 1 }
    }
}
