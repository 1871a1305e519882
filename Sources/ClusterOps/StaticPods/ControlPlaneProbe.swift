import Etcd
import Platform

/// Asks a component of this node whether it is ready, in its own words, and etcd whether its cluster can spare a member.
struct ControlPlaneProbe: Sendable {
    private let layout: KubeadmLayout
    private let http = HTTPClient(name: "kops-probe")

    init(layout: KubeadmLayout) { self.layout = layout }

    func close() { http.shutdown() }

    /// Nil where it is ready, else why not.
    func notReady(_ manifest: StaticPodManifest) async -> String? {
        if manifest.component == "etcd" { return await etcdNotReady(manifest) }
        guard let endpoint = manifest.servedEndpoints(pki: layout.pki).first else { return nil }
        let path = manifest.component == "kube-apiserver" ? "/readyz" : "/healthz"
        let answer = await answer(endpoint, path)
        // Before 1.16 the API server knew /healthz only.
        guard answer.status == 404, path == "/readyz" else { return answer.problem }
        return await self.answer(endpoint, "/healthz").problem
    }

    private func answer(_ endpoint: ServedEndpoint, _ path: String) async -> (status: Int, problem: String?) {
        var request = HTTPRequest("GET", "https://\(endpoint.address)\(path)")
        // The certificate is compared with the file elsewhere; here only the answer counts.
        request.tls.insecureSkipVerify = true
        request.timeout = .seconds(10)
        for name in ["admin.conf", "super-admin.conf"] {
            guard let bytes = try? FileSystem.read("\(layout.kubernetesDirectory)/\(name)", maxBytes: 4 << 20) else {
                continue
            }
            let config = KubeconfigText(bytes)
            guard let cert = config.clientCertificate, let key = config.clientKey else { continue }
            request.tls.certPEM = String(decoding: cert, as: UTF8.self)
            request.tls.keyPEM = String(decoding: key, as: UTF8.self)
            break
        }
        do throws(HTTPError) {
            let answer = try await http.send(request)
            // 401 and 403 come from a server that serves and does not know us.
            if [200, 401, 403].contains(answer.status) { return (answer.status, nil) }
            let reason = answer.bodyText.split(separator: "\n").first { $0.hasPrefix("[-]") } ?? ""
            return (answer.status, "\(endpoint.address)\(path) answers \(answer.status) \(reason.prefix(200))")
        } catch {
            return (0, "\(endpoint.address)\(path): \(error)")
        }
    }

    // MARK: etcd

    private func client(_ endpoints: [String]) -> EtcdClient {
        var tls = TLSSettings()
        func existing(_ name: String) -> String? {
            let path = "\(layout.pki)/etcd/\(name)"
            return FileSystem.exists(path) ? path : nil
        }
        tls.caFile = existing("ca.crt")
        tls.certFile = existing("healthcheck-client.crt")
        tls.keyFile = existing("healthcheck-client.key")
        return EtcdClient(endpoints: endpoints, tls: tls, http: http, timeout: .seconds(5))
    }

    private func ownEndpoints(_ manifest: StaticPodManifest) -> [String] {
        (manifest.flags["listen-client-urls"] ?? "").split(separator: ",").map(String.init)
    }

    private func etcdNotReady(_ manifest: StaticPodManifest) async -> String? {
        guard let endpoint = ownEndpoints(manifest).first else { return "its manifest names no listen-client-urls" }
        let client = client([endpoint])
        do {
            let status = try await client.status(endpoint)
            if status.leader == 0 { return "\(endpoint) knows no leader" }
            if let error = status.errors.first { return "\(endpoint): \(error)" }
            // Asks the quorum.
            _ = try await client.range([0], end: [0], limit: 1, keysOnly: true)
            return nil
        } catch {
            return "\(endpoint): \(error)"
        }
    }

    /// This node's member's place in the order of all voting members' ids; 0 where it cannot be told.
    func place(_ manifest: StaticPodManifest) async -> Int {
        let own = client(ownEndpoints(manifest))
        guard let members = try? await own.memberList(),
            let ownID = (try? await own.status(own.endpoints.first ?? ""))?.header.memberID
        else { return 0 }
        return members.filter { !$0.isLearner }.map(\.id).sorted().firstIndex(of: ownID) ?? 0
    }

    /// Nil where this node's member may be stopped: it is the only one, or a quorum of healthy ones remains, or there is no
    /// quorum that could be lost. Else why not.
    func cannotSpareMember(_ manifest: StaticPodManifest) async -> String? {
        let own = client(ownEndpoints(manifest))
        let members: [EtcdMember]
        do {
            members = try await own.memberList()
        } catch {
            // A member that does not answer serves nobody: nothing is lost by its restart.
            return nil
        }
        let voters = members.filter { !$0.isLearner }
        if voters.count <= 1 { return nil }
        let ownID = (try? await own.status(own.endpoints.first ?? ""))?.header.memberID
        let quorum = voters.count / 2 + 1
        var healthy: [String] = []
        var others = 0
        // Enough answer and none has a leader: they are choosing one, and a restart just now would take the majority away.
        for _ in 0..<20 {
            let answering: Int
            (healthy, others, answering) = await wellMembers(voters, ownID: ownID)
            if healthy.count >= quorum || answering < quorum { break }
            try? await Task.sleep(for: .milliseconds(500))
        }
        if healthy.count < quorum || others >= quorum { return nil }
        return
            "etcd has \(healthy.count) of \(voters.count) members in good health (\(healthy.sorted().joined(separator: ", "))): without this node's \(others) would remain, and \(quorum) are needed"
    }

    /// The names of those with a leader and no error, how many of them are not `ownID`, and how many answer at all.
    private func wellMembers(_ voters: [EtcdMember], ownID: UInt64?) async -> ([String], others: Int, answering: Int) {
        var healthy: [String] = []
        var (others, answering) = (0, 0)
        for member in voters {
            guard !member.clientURLs.isEmpty else { continue }
            let states = await client(member.clientURLs).survey()
            if states.contains(where: { if case .success = $0.status { true } else { false } }) { answering += 1 }
            let isWell = states.contains { state in
                guard case .success(let status) = state.status else { return false }
                return status.leader != 0 && status.errors.isEmpty
            }
            guard isWell else { continue }
            healthy.append(member.name)
            if member.id != ownID { others += 1 }
        }
        return (healthy, others, answering)
    }
}
