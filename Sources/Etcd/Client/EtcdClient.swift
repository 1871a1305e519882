package import Platform

/// A client of one etcd cluster. Thread-safe. Calls that any member can answer go to a good one and fall over to the next;
/// calls about one member take its endpoint. What it needs works without DNS and without the API server.
package final class EtcdClient: Sendable {
    package let endpoints: [String]
    let channel: GRPCChannel
    let tls: TLSSettings
    private let timeout: Duration

    /// `endpoints` are URLs without a path, as `https://127.0.0.1:2379`. `timeout` bounds each unary call to one endpoint.
    package init(
        endpoints: [String], tls: TLSSettings, http: HTTPClient, timeout: Duration = .seconds(10)
    ) {
        self.endpoints = endpoints.map { endpoint in
            var text = endpoint
            while text.hasSuffix("/") { text.removeLast() }
            return text.contains("://") ? text : "http://" + text
        }
        self.tls = tls
        self.timeout = timeout
        channel = GRPCChannel(http: http, tls: tls)
    }

    // MARK: one member

    package func status(_ endpoint: String, timeout: Duration? = nil) async throws -> EtcdStatus {
        try EtcdStatus(
            await call(endpoint, "/etcdserverpb.Maintenance/Status", ProtobufWriter(), timeout: timeout))
    }

    /// Hash over all keys up to `revision`, 0 meaning the member's newest.
    package func hashKV(_ endpoint: String, revision: Int64 = 0) async throws -> EtcdHashKV {
        var message = ProtobufWriter()
        message.add(1, signed: revision)
        return try EtcdHashKV(
            await call(endpoint, "/etcdserverpb.Maintenance/HashKV", message, timeout: .seconds(120)))
    }

    /// Rewrites the member's database without its free pages. It answers nothing else meanwhile: one member at a time.
    package func defragment(_ endpoint: String, timeout: Duration = .seconds(600)) async throws {
        _ = try await call(endpoint, "/etcdserverpb.Maintenance/Defragment", ProtobufWriter(), timeout: timeout)
    }

    /// Makes the leader hand over to another member; `endpoint` must be the leader's.
    package func moveLeader(_ endpoint: String, to member: UInt64) async throws {
        var message = ProtobufWriter()
        message.add(1, member)
        _ = try await call(endpoint, "/etcdserverpb.Maintenance/MoveLeader", message)
    }

    /// True where the member serves requests.
    package func isServing(_ endpoint: String) async throws -> Bool {
        let answer = try await call(endpoint, "/grpc.health.v1.Health/Check", ProtobufWriter())
        var reader = ProtobufReader(answer)
        while let (field, value) = try reader.next() {
            if field == 1, case .number(let n) = value { return n == 1 }
        }
        return false
    }

    // MARK: the cluster

    /// Members as the cluster knows them. Linear asks the quorum; otherwise any member's own view is good enough.
    package func memberList(linear: Bool = false) async throws -> [EtcdMember] {
        var message = ProtobufWriter()
        message.add(1, bool: linear)
        let answer = try await callAny("/etcdserverpb.Cluster/MemberList", message)
        return try EtcdClient.members(answer)
    }

    package func memberList(_ endpoint: String) async throws -> [EtcdMember] {
        try EtcdClient.members(await call(endpoint, "/etcdserverpb.Cluster/MemberList", ProtobufWriter()))
    }

    private static func members(_ answer: [UInt8]) throws -> [EtcdMember] {
        var members: [EtcdMember] = []
        var reader = ProtobufReader(answer)
        while let (field, value) = try reader.next() {
            if field == 2, case .bytes(let range) = value {
                members.append(try EtcdMember(ProtobufReader(answer, range)))
            }
        }
        return members
    }

    /// Alarms that are on. Needs a quorum.
    package func alarms() async throws -> [EtcdAlarm] { try await alarm(action: 0, nil) }

    /// Turns an alarm off, for one member.
    package func disarm(_ alarm: EtcdAlarm) async throws { _ = try await self.alarm(action: 2, alarm) }

    private func alarm(action: UInt64, _ alarm: EtcdAlarm?) async throws -> [EtcdAlarm] {
        var message = ProtobufWriter()
        message.add(1, action)
        if let alarm {
            message.add(2, alarm.member)
            message.add(3, alarm.kind.rawValue)
        }
        let answer = try await callAny("/etcdserverpb.Maintenance/Alarm", message)
        var alarms: [EtcdAlarm] = []
        var reader = ProtobufReader(answer)
        while let (field, value) = try reader.next() {
            guard field == 2, case .bytes(let range) = value else { continue }
            var inner = ProtobufReader(answer, range)
            var member: UInt64 = 0
            var kind: UInt64 = 0
            while let (field, value) = try inner.next() {
                if case .number(let n) = value {
                    if field == 1 { member = n }
                    if field == 2 { kind = n }
                }
            }
            if let kind = EtcdAlarm.Kind(rawValue: kind) { alarms.append(EtcdAlarm(member: member, kind: kind)) }
        }
        return alarms
    }

    // MARK: choosing

    package struct EndpointState: Sendable {
        package var endpoint: String
        package var status: Result<EtcdStatus, EtcdError>
    }

    /// Asks every endpoint for its status, all at once; none waits longer than five seconds.
    package func survey() async -> [EndpointState] {
        await withTaskGroup(of: (Int, EndpointState).self) { group in
            for (i, endpoint) in endpoints.enumerated() {
                group.addTask {
                    do {
                        let status = try await self.status(endpoint, timeout: .seconds(5))
                        return (i, EndpointState(endpoint: endpoint, status: .success(status)))
                    } catch {
                        let error = error as? EtcdError ?? EtcdError(.other, "\(error)", endpoint: endpoint)
                        return (i, EndpointState(endpoint: endpoint, status: .failure(error)))
                    }
                }
            }
            var states: [(Int, EndpointState)] = []
            for await state in group { states.append(state) }
            return states.sorted { $0.0 < $1.0 }.map(\.1)
        }
    }

    /// Endpoints to take a snapshot from, best first: those that answer and are no learners; followers before the leader,
    /// whose time is dearer; among them those that know a leader, then those that have applied most. Members that name
    /// themselves by several endpoints come once.
    package static func order(_ states: [EndpointState]) -> [(endpoint: String, status: EtcdStatus)] {
        var seen: Set<UInt64> = []
        return states.compactMap { state in
            guard case .success(let status) = state.status, !status.isLearner,
                !status.errors.contains(where: { $0.contains("CORRUPT") }), seen.insert(status.header.memberID).inserted
            else { return nil }
            return (state.endpoint, status)
        }.sorted { a, b in
            let (x, y) = (a.1, b.1)
            if (x.leader == 0) != (y.leader == 0) { return y.leader == 0 }
            // A member far behind is not chosen for being a follower.
            let behindX = x.appliedIndex &+ 1000 < y.appliedIndex
            let behindY = y.appliedIndex &+ 1000 < x.appliedIndex
            if behindX != behindY { return behindY }
            if x.isLeader != y.isLeader { return y.isLeader }
            return x.appliedIndex > y.appliedIndex
        }
    }

    // MARK: calls

    func call(_ endpoint: String, _ path: String, _ message: ProtobufWriter, timeout: Duration? = nil) async throws
        -> [UInt8]
    {
        try await channel.unary(endpoint, path, message.bytes, timeout: timeout ?? self.timeout)
    }

    /// Tries the endpoints in turn; what the cluster as a whole refuses is not tried again elsewhere.
    func callAny(_ path: String, _ message: ProtobufWriter, timeout: Duration? = nil) async throws -> [UInt8] {
        var last = EtcdError(.unavailable, "no etcd endpoint is configured")
        for endpoint in endpoints {
            do {
                return try await call(endpoint, path, message, timeout: timeout)
            } catch let error as EtcdError {
                last = error
                switch error.code {
                case .connect, .tls, .timeout, .unavailable, .noQuorum, .interrupted, .unsupported: continue
                default: throw error
                }
            }
        }
        throw last
    }
}
