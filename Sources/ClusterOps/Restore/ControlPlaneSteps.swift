import Etcd
import Glibc
import Platform

/// Steps on a node's control plane.
extension RestoreExecutor {
    private var manifests: String { record.options.kubernetesDirectory + "/manifests" }
    private var pki: String { record.options.kubernetesDirectory + "/pki" }

    /// Moves the manifest out of kubelet's sight and waits until the process is gone. The API's word counts for nothing here.
    func stop(_ component: String) async throws {
        try FileSystem.makeDirectories(record.heldDirectory, mode: 0o700)
        let file = "\(manifests)/\(component).yaml"
        let held = "\(record.heldDirectory)/\(component).yaml"
        let ran = !runs(component).isEmpty
        if try FileSystem.status(file) != nil {
            try FileSystem.rename(file, to: held)
            try AtomicFile.syncDirectory(record.heldDirectory)
            try AtomicFile.syncDirectory(manifests)
        }
        let began = ContinuousClock.now
        let kubeletRuns = await surroundings.kubeletRuns()
        // Without kubelet nobody stops it; and a kubelet that was started while the API server was away stops nothing.
        var help = kubeletRuns ? began + surroundings.kubeletLimit : began
        // One that crashes again and again does not run between two attempts either: that proves something only once
        // kubelet has seen that its manifest is gone. Time in which nobody looked, for this process did not run, proves nothing.
        var (quiet, lookedAt) = (Duration.zero, began)
        while true {
            let evidence = runs(component)
            let now = ContinuousClock.now
            quiet = evidence.isEmpty ? quiet + min(now - lookedAt, .seconds(1)) : .zero
            lookedAt = now
            if evidence.isEmpty {
                if ran || !kubeletRuns { return }
                if await surroundings.podIsGone(component) { return }
                if quiet >= surroundings.quietLimit { return }
                try await Task.sleep(for: .milliseconds(200))
                continue
            }
            if ContinuousClock.now >= help {
                help = ContinuousClock.now + .seconds(35)
                // The container runtime, or where it cannot be asked the process itself: its manifest is away, so nothing
                // starts it again.
                if await !surroundings.stopContainers(component) {
                    for process in processes(component) { kill(pid_t(process), SIGTERM) }
                }
            }
            guard ContinuousClock.now < began + surroundings.stopLimit else {
                throw BackupError(
                    .failed,
                    "\(component) has not stopped: \(evidence.joined(separator: "; ")): stop it, then go on with --resume"
                )
            }
            try await Task.sleep(for: .milliseconds(200))
        }
    }

    private func processes(_ component: String) -> [Int] {
        component == "etcd"
            ? EtcdPresence.processes(directory) : StaticPod.processes(component, isOurs: surroundings.isOurs)
    }

    private func runs(_ component: String) -> [String] {
        if component == "etcd" {
            return EtcdPresence.evidence(dataDirectory: directory, ports: Set(record.ports))
        }
        return processes(component).map { "process \($0) runs it" }
    }

    func start(_ component: String) throws {
        let file = "\(manifests)/\(component).yaml"
        let held = "\(record.heldDirectory)/\(component).yaml"
        if try FileSystem.status(held) != nil {
            try FileSystem.makeDirectories(manifests)
            try FileSystem.rename(held, to: file)
            try AtomicFile.syncDirectory(manifests)
        } else if try FileSystem.status(file) == nil {
            throw BackupError(
                .failed,
                "\(file) is missing, and no backup has one for this node: put it there and go on with --resume. \(Self.remedy)"
            )
        }
        // Empty once the last manifest is back.
        rmdir(record.heldDirectory)
    }

    /// kubelet cannot run without its kubeconfig; where that was put back, or the service has ended, it begins anew. One that
    /// watches a directory of manifests that was removed sees new ones only every 20 s.
    func reviveKubelet() async throws {
        let runs = await surroundings.kubeletRuns()
        if journal.hasPutBack == true || !runs { try await surroundings.restartKubelet() }
    }

    private func client(_ http: HTTPClient) -> EtcdClient {
        let flags = StaticPod.flags("\(manifests)/etcd.yaml")
        let own = (flags["listen-client-urls"] ?? "").split(separator: ",").map(String.init)
        let endpoints = own.isEmpty ? record.options.etcd.endpoints : own
        return EtcdClient(
            endpoints: endpoints, tls: record.options.etcd.tlsOfExistingFiles, http: http, timeout: .seconds(8))
    }

    /// The newest revision that etcd serves; nil where this member runs, and waits for others to be restored.
    func proveServing() async throws -> Int64? {
        let http = HTTPClient(name: "kops-restore")
        defer { http.shutdown() }
        let client = client(http)
        let wanted = journal.builtRevision ?? (record.revision ?? 0) + (record.options.bumpRevision ?? 0)
        let isAlone = !record.initialCluster.contains(",")
        let deadline = ContinuousClock.now + (isAlone ? surroundings.startLimit : surroundings.quorumLimit)
        var last = "it does not answer"
        while ContinuousClock.now < deadline {
            do {
                // Asks the quorum: one member alone of several does not serve yet.
                let range = try await client.range([0], end: [0], limit: 1, keysOnly: true)
                guard range.header.revision >= wanted else {
                    throw BackupError(
                        .failed,
                        "etcd serves revision \(range.header.revision), restored was \(wanted): this is another data directory"
                    )
                }
                let seed = try ClusterIdentity(initialCluster: record.initialCluster, token: record.token)
                guard range.header.clusterID == seed.clusterID else {
                    throw BackupError(
                        .failed,
                        "etcd serves cluster \(hex16(range.header.clusterID)), restored was \(hex16(seed.clusterID)): this is another data directory"
                    )
                }
                try await compareHash(client)
                return range.header.revision
            } catch let error as EtcdError {
                last = "\(error)"
            }
            try await Task.sleep(for: .milliseconds(300))
        }
        // The node's part is done: what runs here serves as soon as a majority does.
        if !isAlone, !EtcdPresence.processes(directory).isEmpty { return nil }
        throw BackupError(.failed, "etcd does not serve: \(last): go on with --resume")
    }

    /// etcd's own hash of the restored keys against the backup's; only possible where revisions were not marked compacted.
    private func compareHash(_ client: EtcdClient) async throws {
        guard let wanted = record.source.manifest?.hashKV, record.options.bumpRevision == nil,
            record.source.until == nil,
            let endpoint = client.endpoints.first
        else { return }
        let hash = try await client.hashKV(endpoint, revision: wanted.revision)
        guard hash.compactRevision == wanted.compactRevision else { return }
        guard hash.hash == wanted.hash else {
            throw BackupError(
                .damaged, "etcd's hash of the restored keys is \(hex8(hash.hash)), the backup's \(hex8(wanted.hash))")
        }
    }

    /// All members that serve hold the same keys. Those that do not serve yet get half a minute, and are then told. etcd has no
    /// hash of a compacted revision: the API server must have written.
    func compareMembers() async throws -> [String] {
        let http = HTTPClient(name: "kops-restore")
        defer { http.shutdown() }
        let members = try await client(http).memberList(linear: true)
        let urls = members.compactMap { $0.clientURLs.last }
        let all = EtcdClient(
            endpoints: urls, tls: record.options.etcd.tlsOfExistingFiles, http: http, timeout: .seconds(5))
        let deadline = ContinuousClock.now + surroundings.memberLimit
        while true {
            var hashes: [(endpoint: String, hash: EtcdHashKV)] = []
            let revisions = await all.survey().compactMap { state -> (String, Int64)? in
                if case .success(let status) = state.status { (state.endpoint, status.header.revision) } else { nil }
            }
            if let revision = revisions.map(\.1).min() {
                for (endpoint, _) in revisions {
                    if let hash = try? await all.hashKV(endpoint, revision: revision) {
                        hashes.append((endpoint, hash))
                    }
                }
                for (endpoint, hash) in hashes where hash.compactRevision == hashes[0].hash.compactRevision {
                    guard hash.hash == hashes[0].hash.hash else {
                        throw BackupError(
                            .damaged,
                            "\(endpoint) and \(hashes[0].endpoint) hold different keys at revision \(revision): was the same backup restored on both?"
                        )
                    }
                }
            }
            if hashes.count == members.count { return ["all \(members.count) members hold the same keys"] }
            if ContinuousClock.now >= deadline {
                return ["\(hashes.count) of \(members.count) members serve, with the same keys: see to the others"]
            }
            try await Task.sleep(for: .seconds(1))
        }
    }

    /// Alarms live in the database: one that was on when the backup was made would stop all writes.
    func disarm() async throws -> [String] {
        let http = HTTPClient(name: "kops-restore")
        defer { http.shutdown() }
        let client = client(http)
        var notes: [String] = []
        for alarm in try await client.alarms() {
            try await client.disarm(alarm)
            notes.append(
                "turned off the alarm \(alarm.kind == .noSpace ? "NOSPACE" : "CORRUPT") that came with the backup")
            if alarm.kind == .noSpace {
                notes.append("etcd was full when the backup was made: compact and defragment it, or raise its quota")
            }
        }
        return notes
    }

    private var server: String {
        let port = StaticPod.flags("\(manifests)/kube-apiserver.yaml")["secure-port"] ?? "6443"
        return "https://127.0.0.1:\(port)"
    }

    /// The client certificate that the API server itself uses towards kubelets: kubeadm gives it all rights.
    private var serverTLS: TLSSettings {
        var tls = TLSSettings()
        // Its own host, whose address is in no certificate: whom it says it is does not matter here.
        tls.insecureSkipVerify = true
        let file = pki + "/apiserver-kubelet-client"
        if FileSystem.exists(file + ".crt"), FileSystem.exists(file + ".key") {
            tls.certFile = file + ".crt"
            tls.keyFile = file + ".key"
        }
        return tls
    }

    func proveServer() async throws {
        let http = HTTPClient(name: "kops-restore")
        defer { http.shutdown() }
        var request = HTTPRequest("GET", server + "/readyz")
        request.tls = serverTLS
        request.timeout = .seconds(5)
        let deadline = ContinuousClock.now + surroundings.startLimit
        var last = "it does not answer"
        var unknown = 0
        while ContinuousClock.now < deadline {
            do throws(HTTPError) {
                let answer = try await http.send(request)
                if answer.status == 200 { return }
                last = "it answers \(answer.status)"
                // It lives and does not know us, for half a minute: more cannot be known.
                if answer.status == 401 || answer.status == 403 { unknown += 1 }
                if unknown > 100 { return }
            } catch {
                last = "\(error)"
            }
            try await Task.sleep(for: .milliseconds(300))
        }
        throw BackupError(.failed, "kube-apiserver is not ready: \(last): go on with --resume")
    }

    func lookForStale() async -> [String] {
        let manifest = (try? FileSystem.readText("\(manifests)/kube-apiserver.yaml", maxBytes: 1 << 20)) ?? ""
        let report = StaleReport(
            server: server, tls: serverTLS, manifestVersion: StaleReport.imageVersion(manifest))
        return await report.notes()
    }
}
