import Platform

/// A member that a restored cluster begins with.
package struct SeedMember: Sendable, Equatable {
    package let id: UInt64
    package let name: String
    /// Sorted.
    package let peerURLs: [String]

    /// As etcd stores it in its database and log: without client URLs, which a member announces when it starts.
    var json: String {
        "{\"id\":\(id),\"peerURLs\":[\(peerURLs.map(jsonQuoted).joined(separator: ","))],\"name\":\(jsonQuoted(name))}"
    }

    /// The part the v2 store keeps.
    var raftAttributes: String { "{\"peerURLs\":[\(peerURLs.map(jsonQuoted).joined(separator: ","))]}" }
}

/// Who forms a restored cluster, and the identifiers that follow from it as etcd computes them: a member's from its peer
/// URLs and the token, the cluster's from its members'. Names are not part of either.
package struct ClusterIdentity: Sendable, Equatable {
    /// Ascending by identifier.
    package let members: [SeedMember]
    package let clusterID: UInt64
    package let token: String

    /// `initialCluster` is etcd's flag, `name=url,name=url,…`; a name may come several times with different URLs.
    package init(initialCluster: String, token: String) throws {
        var urls: [(name: String, urls: [String])] = []
        for part in initialCluster.split(separator: ",", omittingEmptySubsequences: false) {
            guard let equals = part.firstIndex(of: "="), equals > part.startIndex else {
                throw EtcdError(
                    .invalidArgument, "initial cluster: \(part) is not name=URL (as cp1=https://10.0.0.11:2380)")
            }
            let name = String(part[..<equals])
            let url = String(part[part.index(after: equals)...])
            try ClusterIdentity.check(url: url)
            if let i = urls.firstIndex(where: { $0.name == name }) {
                urls[i].urls.append(url)
            } else {
                urls.append((name, [url]))
            }
        }
        var seen: Set<String> = []
        for url in urls.flatMap(\.urls) where !seen.insert(url).inserted {
            throw EtcdError(.invalidArgument, "initial cluster: \(url) is there twice")
        }
        let members = urls.map { name, urls -> SeedMember in
            let sorted = urls.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
            let hash = Digest.hash(.sha1, Array((sorted.joined() + token).utf8))
            return SeedMember(id: ClusterIdentity.first8(hash), name: name, peerURLs: sorted)
        }.sorted { $0.id < $1.id }
        guard !members.isEmpty else { throw EtcdError(.invalidArgument, "initial cluster: no member is named") }
        for i in members.indices.dropFirst() where members[i - 1].id == members[i].id {
            throw EtcdError(.invalidArgument, "initial cluster: two members have the same identifier")
        }
        var bytes: [UInt8] = []
        for member in members { bytes += bigEndian(member.id) }
        self.members = members
        self.token = token
        clusterID = ClusterIdentity.first8(Digest.hash(.sha1, bytes))
    }

    /// The member of that name; an error unless it is there and, where given, has just these peer URLs.
    package func member(named name: String, advertising urls: [String]? = nil) throws -> SeedMember {
        guard let member = members.first(where: { $0.name == name }) else {
            throw EtcdError(
                .invalidArgument,
                "member \(name) is not part of the initial cluster (\(members.map(\.name).sorted().joined(separator: ", ")))"
            )
        }
        if let urls {
            let sorted = urls.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
            guard sorted == member.peerURLs else {
                throw EtcdError(
                    .invalidArgument,
                    "member \(name) advertises \(sorted.joined(separator: ",")) but the initial cluster says \(member.peerURLs.joined(separator: ","))"
                )
            }
        }
        return member
    }

    private static func first8(_ hash: [UInt8]) -> UInt64 { hash.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } }

    /// Peer URLs are scheme, host and port; nothing behind them.
    private static func check(url: String) throws {
        let problem: String?
        if let rest = ["http://", "https://"].first(where: { url.hasPrefix($0) }).map({ url.dropFirst($0.utf8.count) })
        {
            if rest.contains(where: { "/?#@ ".contains($0) }) {
                problem = "has something beside host and port"
            } else if let colon = rest.lastIndex(of: ":"), rest[..<colon].isEmpty == false,
                let port = Int(rest[rest.index(after: colon)...]), (1...65535).contains(port),
                rest.hasPrefix("[") ? rest[..<colon].hasSuffix("]") : !rest[..<colon].contains(":")
            {
                problem = nil
            } else {
                problem = "has no port"
            }
        } else {
            problem = "does not begin with http:// or https://"
        }
        if let problem { throw EtcdError(.invalidArgument, "peer URL \(url) \(problem)") }
    }
}

func bigEndian(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64($0))) } }
