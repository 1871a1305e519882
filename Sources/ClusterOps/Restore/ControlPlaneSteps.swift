import Etcd
import Glibc
import Platform

/// Steps on a node's control plane.
extension RestoreExecutor {
    private var manifests: String { record.options.kubernetesDirectory + "/manifests" }

    /// Moves the manifest out of kubelet's sight and waits until the process is gone. The API's word counts for nothing here.
    func stop(_ component: String) async throws {
        try FileSystem.makeDirectories(record.heldDirectory, mode: 0o700)
        let file = "\(manifests)/\(component).yaml"
        let held = "\(record.heldDirectory)/\(component).yaml"
        if try FileSystem.status(file) != nil {
            try FileSystem.rename(file, to: held)
            try AtomicFile.syncDirectory(record.heldDirectory)
            try AtomicFile.syncDirectory(manifests)
        }
        let deadline = ContinuousClock.now + surroundings.stopLimit
        while true {
            let evidence = runs(component)
            if evidence.isEmpty { return }
            guard ContinuousClock.now < deadline else {
                throw BackupError(
                    .failed,
                    "\(component) has not stopped: \(evidence.joined(separator: "; ")): is kubelet running, and does it watch \(manifests)?"
                )
            }
            try await Task.sleep(for: .milliseconds(250))
        }
    }

    private func runs(_ component: String) -> [String] {
        if component == "etcd" {
            return EtcdPresence.evidence(dataDirectory: directory, ports: Set(record.ports))
        }
        return StaticPod.processes(component).map { "process \($0) runs it" }
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
                .failed, "\(file) is missing, and the bundle has none: put it there and resume")
        }
        // Empty once the last manifest is back.
        rmdir(record.heldDirectory)
    }

    private func client(_ http: HTTPClient) -> EtcdClient {
        let flags = StaticPod.flags("\(manifests)/etcd.yaml")
        let own = (flags["listen-client-urls"] ?? "").split(separator: ",").map(String.init)
        let endpoints = own.isEmpty ? record.options.etcd.endpoints : own
        return EtcdClient(
            endpoints: endpoints, tls: record.options.etcd.tlsOfExistingFiles, http: http, timeout: .seconds(8))
    }

    /// The newest revision that etcd serves.
    func proveServing() async throws -> Int64 {
        let http = HTTPClient(name: "kops-restore")
        defer { http.shutdown() }
        let client = client(http)
        let wanted = (record.revision ?? 0) + (record.options.bumpRevision ?? 0)
        let deadline = ContinuousClock.now + surroundings.startLimit
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
                try await compareHash(client)
                return range.header.revision
            } catch let error as EtcdError {
                last = "\(error)"
            }
            try await Task.sleep(for: .milliseconds(500))
        }
        let others = record.initialCluster.contains(",") ? " (are the other members restored and started?)" : ""
        throw BackupError(.failed, "etcd does not serve\(others): \(last)")
    }

    /// etcd's own hash of the restored keys against the backup's; only possible where revisions were not marked compacted.
    private func compareHash(_ client: EtcdClient) async throws {
        guard let wanted = record.source.manifest?.hashKV, record.options.bumpRevision == nil,
            let endpoint = client.endpoints.first
        else { return }
        let hash = try await client.hashKV(endpoint, revision: wanted.revision)
        guard hash.compactRevision == wanted.compactRevision else { return }
        guard hash.hash == wanted.hash else {
            throw BackupError(
                .damaged, "etcd's hash of the restored keys is \(hex8(hash.hash)), the backup's \(hex8(wanted.hash))")
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

    func proveServer() async throws {
        let flags = StaticPod.flags("\(manifests)/kube-apiserver.yaml")
        let port = flags["secure-port"] ?? "6443"
        let http = HTTPClient(name: "kops-restore")
        defer { http.shutdown() }
        var request = HTTPRequest("GET", "https://127.0.0.1:\(port)/livez")
        // Its own host, to see that it lives: whom it says it is does not matter here.
        request.tls.insecureSkipVerify = true
        request.timeout = .seconds(5)
        let deadline = ContinuousClock.now + surroundings.startLimit
        var last = "it does not answer"
        while ContinuousClock.now < deadline {
            do throws(HTTPError) {
                let answer = try await http.send(request)
                // 401 and 403 come from a server that lives and does not know us.
                if answer.status == 200 || answer.status == 401 || answer.status == 403 { return }
                last = "it answers \(answer.status)"
            } catch {
                last = "\(error)"
            }
            try await Task.sleep(for: .milliseconds(500))
        }
        throw BackupError(.failed, "kube-apiserver is not live: \(last)")
    }

    /// Puts files of the bundle where there are none; what is there stays. Returns notes on what it did.
    func putBack() async throws -> [String] { [] }
}

/// Programs of the system.
enum ChildProcess {
    /// Runs a program without input and output to its end; its exit status, or 128 and the signal. Found by PATH.
    static func run(_ arguments: [String]) throws -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for fd in Int32(0)...2 { posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0) }
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, arguments[0], &actions, nil, &argv, environ)
        guard code == 0 else { throw FileError("start", arguments[0], code) }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f)
    }
}
