import FoundationEssentials
import Platform

/// The server's version, as `/version` says it.
package struct ServerVersion: Sendable, Hashable, Codable, CustomStringConvertible {
    package var major: String?
    package var minor: String?
    /// Such as `v1.20.2`.
    package var gitVersion: String

    package var description: String { gitVersion }

    /// Major and minor as numbers, read from `gitVersion` (`minor` may end in `+`); nil where it says none.
    package var numbers: (major: Int, minor: Int)? {
        let parts = gitVersion.drop { $0 == "v" }.split(separator: ".")
        guard parts.count > 1, let major = Int(parts[0]), let minor = Int(parts[1].prefix { $0.isNumber }) else {
            return nil
        }
        return (major, minor)
    }
}

/// What a server offers (versions of a group, resources of a version), remembered for a while.
struct ServedGroup {
    var versions: [String]
    var askedAt: Int64
}

private struct APIGroup: Decodable {
    struct Version: Decodable { var version: String }
    var versions: [Version]
}

private struct APIResourceList: Decodable {
    struct Resource: Decodable {
        var name: String
        var group: String?
        var version: String?
    }
    var resources: [Resource]
}

extension KubernetesClient {
    package func version() async throws(KubernetesError) -> ServerVersion {
        try decode(ServerVersion.self, try await send("GET", "/version"))
    }

    /// The versions of an API group that the server offers, its preferred order; empty where it has no such group. Asked
    /// once in ten minutes.
    package func servedVersions(group: String) async throws(KubernetesError) -> [String] {
        let now = monotonicNanoseconds()
        if let known = served.withLock({ $0[group] }), now - known.askedAt < 600_000_000_000 { return known.versions }
        let versions: [String]
        do {
            let answer = try decode(APIGroup.self, try await send("GET", "/apis/\(percentEncoded(group))"))
            versions = answer.versions.map(\.version)
        } catch {
            guard error.kind == .notFound else { throw error }
            versions = []
        }
        served.withLock { $0[group] = ServedGroup(versions: versions, askedAt: now) }
        return versions
    }

    /// The plural names of what a version of a group has. Asked once in ten minutes.
    private func servedResources(group: String, version: String) async throws(KubernetesError) -> [String] {
        let path = "/apis/\(percentEncoded(group))/\(percentEncoded(version))"
        let now = monotonicNanoseconds()
        if let known = served.withLock({ $0[path] }), now - known.askedAt < 600_000_000_000 { return known.versions }
        let names = try decode(APIResourceList.self, try await send("GET", path)).resources.map(\.name)
        served.withLock { $0[path] = ServedGroup(versions: names, askedAt: now) }
        return names
    }

    /// Forgets what the server offers: after an upgrade, or where a path that was there is gone.
    package func forgetServedVersions() { served.withLock { $0.removeAll() } }

    /// The newest version of the resource that both sides know.
    package func apiVersion(of resource: ResourceType) async throws(KubernetesError) -> String {
        guard resource.versions.count > 1, let first = resource.versions.first else {
            return resource.versions.first ?? "v1"
        }
        let offered = try await servedVersions(group: resource.group)
        if offered.isEmpty { return first }
        for version in resource.versions where offered.contains(version) {
            // A version of the group need not have every kind: Kubernetes 1.20 has Jobs in batch/v1, CronJobs not.
            if try await servedResources(group: resource.group, version: version).contains(resource.name) {
                return version
            }
        }
        throw KubernetesError(
            .notFound,
            "the server offers \(resource.group) as \(offered.joined(separator: ", ")), of which none is known here")
    }

    /// The version of `policy` that the eviction subresource takes: `v1` from Kubernetes 1.22 on, `v1beta1` before. The
    /// group's own versions do not tell (1.21 has budgets in v1 and evictions in v1beta1 only).
    func evictionVersion() async throws(KubernetesError) -> String {
        let key = "\u{1}pods/eviction"
        let now = monotonicNanoseconds()
        if let known = served.withLock({ $0[key] }), now - known.askedAt < 600_000_000_000,
            let version = known.versions.first
        {
            return version
        }
        let list = try decode(APIResourceList.self, try await send("GET", "/api/v1"))
        guard let entry = list.resources.first(where: { $0.name == "pods/eviction" }) else {
            throw KubernetesError(.notFound, "the server offers no evictions (pods/eviction)")
        }
        let version = entry.version ?? "v1beta1"
        served.withLock { $0[key] = ServedGroup(versions: [version], askedAt: now) }
        return version
    }

    func decode<T: Decodable>(_ type: T.Type, _ response: HTTPResponse) throws(KubernetesError) -> T {
        do {
            return try JSONDecoder().decode(type, from: Data(response.body))
        } catch {
            throw KubernetesError(
                .decoding, "the answer is not a \(type): \(shortened(error))", code: response.status)
        }
    }
}

/// What a decoder found wrong, in one line.
func shortened(_ error: any Error) -> String {
    switch error as? DecodingError {
    case .keyNotFound(let key, let context): "\(path(context.codingPath)) lacks \(key.stringValue)"
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
        "\(path(context.codingPath)): \(context.debugDescription)"
    default: String("\(error)".prefix(200))
    }
}

private func path(_ keys: [any CodingKey]) -> String {
    keys.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".")
}
