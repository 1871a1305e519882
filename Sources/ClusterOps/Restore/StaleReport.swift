import FoundationEssentials
import Platform

/// What a restored cluster still believes, and is not so any more: looked for once its API server serves. Nothing here fails a
/// restore: what cannot be asked is a note.
struct StaleReport: Sendable {
    var server: String
    var tls: TLSSettings
    /// Version of kube-apiserver's image in this node's manifest.
    var manifestVersion: String?
    /// How long kubelets get to report themselves.
    var patience: Duration = .seconds(45)

    private struct Metadata: Decodable {
        var name: String
    }
    private struct Node: Decodable {
        var metadata: Metadata
    }
    private struct Lease: Decodable {
        struct Spec: Decodable {
            var renewTime: String?
        }
        var metadata: Metadata
        var spec: Spec
    }
    private struct List<Item: Decodable>: Decodable {
        var items: [Item]
    }
    private struct ConfigMap: Decodable {
        var data: [String: String]?
    }

    func notes() async -> [String] {
        let http = HTTPClient(name: "kops-stale")
        defer { http.shutdown() }
        do {
            return try await ghosts(http) + versions(http)
        } catch {
            return ["what is stale could not be asked of the API server: \(error)"]
        }
    }

    private func get<T: Decodable>(_ http: HTTPClient, _ path: String, _ type: T.Type) async throws -> T? {
        var request = HTTPRequest("GET", server + path)
        request.tls = tls
        request.timeout = .seconds(10)
        request.headers = [("accept", "application/json")]
        let answer = try await http.send(request)
        if answer.status == 404 { return nil }
        guard answer.status == 200 else { throw BackupError(.failed, "\(path) answers \(answer.status)") }
        return try JSONDecoder().decode(type, from: Data(answer.body))
    }

    /// Nodes whose kubelet does not report itself to the restored cluster: gone, or joined after the backup under another state.
    private func ghosts(_ http: HTTPClient) async throws -> [String] {
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases?limit=5000"
        let nodes = try await get(http, "/api/v1/nodes?limit=5000", List<Node>.self)?.items.map(\.metadata.name) ?? []
        func times() async throws -> [String: String] {
            let items = try await get(http, leases, List<Lease>.self)?.items ?? []
            return Dictionary(
                items.map { ($0.metadata.name, $0.spec.renewTime ?? "") }, uniquingKeysWith: { a, _ in a })
        }
        let before = try await times()
        var silent = Set(nodes)
        let deadline = ContinuousClock.now + patience
        while !silent.isEmpty, ContinuousClock.now < deadline {
            try await Task.sleep(for: .seconds(2))
            for (name, time) in try await times() where time != before[name] { silent.remove(name) }
        }
        guard !silent.isEmpty else { return [] }
        return [
            "no kubelet reports itself for \(silent.sorted().joined(separator: ", ")): restart it there; where the node is gone: kubectl delete node NAME"
        ]
    }

    private func versions(_ http: HTTPClient) async throws -> [String] {
        let path = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
        guard let text = try await get(http, path, ConfigMap.self)?.data?["ClusterConfiguration"],
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("kubernetesVersion:") })
        else { return [] }
        let stored = line.drop { $0 != ":" }.dropFirst().filter { $0 != " " && $0 != "\"" }
        guard let manifestVersion, manifestVersion != stored else { return [] }
        return [
            "kubeadm-config of the backup says kubernetesVersion \(stored), this node's manifest \(manifestVersion): kubeadm upgrade would begin from the wrong one; correct it with kubectl -n kube-system edit configmap kubeadm-config"
        ]
    }

    /// The tag of the image in a static pod's manifest.
    static func imageVersion(_ manifest: String) -> String? {
        for line in manifest.split(separator: "\n") {
            let text = line.drop { $0 == " " || $0 == "-" }.prefix { $0 != "@" }
            guard text.hasPrefix("image:"), let colon = text.lastIndex(of: ":") else { continue }
            let tag = text[text.index(after: colon)...].prefix { $0 != "\"" && $0 != " " }
            if tag.hasPrefix("v") { return String(tag) }
        }
        return nil
    }
}
