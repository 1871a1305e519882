import Platform

/// How long things may take, and where processes are looked for.
package struct StaticPodLimits: Sendable {
    /// By component. kubelet's poll of 20 s, a grace period of 30 s, and as much again.
    package var stop: @Sendable (String) -> Duration = { _ in .seconds(120) }
    /// Until it is ready and proven.
    package var start: @Sendable (String) -> Duration = { _ in .seconds(300) }
    package var poll: Duration = .milliseconds(250)
    /// How long each node waits for those before it where none can be asked: until a member that was stopped is seen as down.
    package var standBack: Duration = .seconds(20)
    package var proc = "/proc"
    /// Whether a process of the right name is this node's, by its command line: tests run several nodes on one machine.
    package var isOurs: @Sendable ([String]) -> Bool = { _ in true }

    package init() {}
}

/// Restarts the control plane's static pods on this node: the manifest out of kubelet's sight, the proof that the component
/// has stopped, the manifest back, the proof that it serves what its files say. What the API says of a pod counts for
/// nothing here, as it may be the API server that is restarted. Every step can be repeated. Thread-safe; one restart at a
/// time is the caller's business.
package struct StaticPodControl: Sendable {
    package let layout: KubeadmLayout
    /// On the same file system as the manifests; kubelet does not look into it.
    package let heldDirectory: String
    package let limits: StaticPodLimits

    package init(layout: KubeadmLayout, heldDirectory: String, limits: StaticPodLimits = StaticPodLimits()) {
        self.layout = layout
        self.heldDirectory = heldDirectory
        self.limits = limits
    }

    private func file(_ component: String) -> String { "\(layout.manifests)/\(component).yaml" }
    private func held(_ component: String) -> String { "\(heldDirectory)/\(component).yaml" }

    /// Whether the manifest is out of kubelet's sight.
    func isHeld(_ component: String) -> Bool {
        FileSystem.exists(held(component)) && !FileSystem.exists(file(component))
    }

    /// From wherever the manifest is just now. Throws where there is none.
    package func manifest(_ component: String) throws -> StaticPodManifest {
        for path in [file(component), held(component)] {
            if let text = try? FileSystem.readText(path, maxBytes: 1 << 20) {
                return StaticPodManifest(path: path, text: text)
            }
        }
        throw RenewalError("the manifest \(file(component)) is missing")
    }

    // MARK: stopping and starting

    /// Returns when the component has stopped: no process of it, nothing on its ports, etcd's database unlocked.
    package func stop(_ component: String) async throws {
        let manifest = try manifest(component)
        try FileSystem.makeDirectories(heldDirectory, mode: 0o700)
        if FileSystem.exists(file(component)) {
            try FileSystem.rename(file(component), to: held(component))
            try AtomicFile.syncDirectory(heldDirectory)
            try AtomicFile.syncDirectory(layout.manifests)
        }
        let limit = limits.stop(component)
        let deadline = ContinuousClock.now + limit
        while true {
            let evidence = try await WorkerPool.blocking.run { runs(manifest) }
            if evidence.isEmpty { return }
            guard ContinuousClock.now < deadline else {
                throw RenewalError(
                    "it has not stopped after \(limit.components.seconds) s (\(evidence.joined(separator: "; "))): is kubelet running, and does it watch \(layout.manifests)?"
                )
            }
            try await Task.sleep(for: limits.poll)
        }
    }

    /// Puts the manifest back; kubelet does the rest.
    package func start(_ component: String) throws {
        if FileSystem.exists(held(component)) {
            try FileSystem.rename(held(component), to: file(component))
            try AtomicFile.syncDirectory(layout.manifests)
        } else if !FileSystem.exists(file(component)) {
            throw RenewalError("the manifest \(file(component)) is missing")
        }
    }

    /// Signs that the component runs; empty is the proof that it does not.
    func runs(_ manifest: StaticPodManifest) -> [String] {
        let ports = Set(manifest.servedEndpoints(pki: layout.pki).map(\.port))
        if manifest.component == "etcd" {
            return EtcdPresence.evidence(
                dataDirectory: manifest.flags["data-dir"] ?? "/var/lib/etcd", ports: ports, proc: limits.proc)
        }
        let open = EtcdPresence.listening(limits.proc).intersection(ports).sorted()
        return processes(manifest).map { "process \($0) runs it" } + open.map { "something listens on port \($0)" }
    }

    private func processes(_ manifest: StaticPodManifest) -> [Int] {
        let program = manifest.program.isEmpty ? manifest.component : manifest.program
        return ((try? FileSystem.list(limits.proc)) ?? []).compactMap { name in
            guard let pid = Int(name),
                let line = try? FileSystem.read("\(limits.proc)/\(name)/cmdline", maxBytes: 1 << 20)
            else { return nil }
            let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            guard let first = words.first, FileSystem.name(of: first) == program, limits.isOurs(words) else {
                return nil
            }
            return pid
        }
    }

    // MARK: proof

    /// Returns when the component is ready and every port of it shows the certificate that its file holds now.
    package func prove(_ component: String) async throws {
        let manifest = try manifest(component)
        let probe = ControlPlaneProbe(layout: layout)
        defer { probe.close() }
        let limit = limits.start(component)
        let deadline = ContinuousClock.now + limit
        var last = "nothing is known of it"
        while true {
            if let problem = await shortcoming(manifest, probe) { last = problem } else { return }
            guard ContinuousClock.now < deadline else {
                throw RenewalError("it is not well after \(limit.components.seconds) s: \(last)")
            }
            try await Task.sleep(for: limits.poll)
        }
    }

    private func shortcoming(_ manifest: StaticPodManifest, _ probe: ControlPlaneProbe) async -> String? {
        for endpoint in manifest.servedEndpoints(pki: layout.pki) {
            let problem = try? await WorkerPool.blocking.run { () -> String? in
                let served: Certificate
                do {
                    served = try endpoint.read()
                } catch {
                    return "\(error)"
                }
                guard let file = endpoint.file else { return nil }
                guard let bytes = try? FileSystem.read(file, maxBytes: 1 << 20),
                    let wanted = Certificate.read(pem: bytes)?.first
                else { return "\(file): no certificate can be read from it" }
                guard served.fingerprint == wanted.fingerprint else {
                    return
                        "\(endpoint.address) shows the certificate with serial \(served.serial), \(file) holds \(wanted.serial)"
                }
                return nil
            }
            if let problem { return problem }
        }
        return await probe.notReady(manifest)
    }
}
