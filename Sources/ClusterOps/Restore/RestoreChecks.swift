import Etcd
import FoundationEssentials
import Platform

/// The reasons not to restore. Each either refuses, or leaves a note where it is overridden.
struct RestoreChecks {
    let options: RestoreOptions
    let source: SnapshotSource
    let old: DataDirectory.Survey
    let seed: ClusterIdentity
    let ports: Set<UInt16>
    /// Newest revision that this restore brings back: the backup's, or where its log of changes is followed, that one's.
    let reached: Int64?
    var notes: [String] = []

    init(
        options: RestoreOptions, source: SnapshotSource, old: DataDirectory.Survey, seed: ClusterIdentity,
        ports: Set<UInt16>, reached: Int64? = nil
    ) {
        self.options = options
        self.source = source
        self.old = old
        self.seed = seed
        self.ports = ports
        self.reached = reached ?? source.manifest?.revision
    }

    /// Whether the data directory is there and not empty.
    var directoryIsUsed: Bool {
        guard let status = try? FileSystem.status(options.dataDirectory) else { return false }
        guard status.isDirectory else { return true }
        return !((try? FileSystem.list(options.dataDirectory)) ?? ["?"]).isEmpty
    }

    /// Whether the directory is the one that the node's own etcd uses, or may use once it is there. Making another one does
    /// not endanger a cluster that runs: what would be refused is then only said. Whoever names endpoints means that cluster.
    var isNodesOwn: Bool {
        options.controlPlane || directoryIsUsed || !options.etcd.endpoints.isEmpty
            || options.dataDirectory == RestoreOptions().dataDirectory
    }

    /// Ports that show a running member when something listens there. Nothing runs on a directory that is not there: who
    /// listens may be another etcd, which one may say.
    var portsThatCount: Set<UInt16> {
        isNodesOwn && (directoryIsUsed || !options.overrides.contains(.liveQuorum)) ? ports : []
    }

    mutating func directory() throws {
        let directory = options.dataDirectory
        if let status = try FileSystem.status(directory), !status.isDirectory {
            throw BackupError(.refused, "\(directory) is a file, not a directory")
        }
        // A static pod is stopped by the plan itself.
        if !options.controlPlane {
            let isNew = !directoryIsUsed
            let evidence = EtcdPresence.evidence(dataDirectory: directory, ports: portsThatCount)
            if portsThatCount.isEmpty, !EtcdPresence.evidence(dataDirectory: directory, ports: ports).isEmpty {
                notes.append("something listens on a port of the new member: stop it before etcd starts here")
            }
            if !evidence.isEmpty {
                let seen = evidence.joined(separator: "; ")
                throw BackupError(
                    .refused,
                    isNew
                        ? "an etcd is running that may be this member, \(seen): stop it first; --force live-quorum restores nevertheless"
                        : "an etcd is running on \(directory): \(seen): stop it first")
            }
        }
        if EtcdPresence.servesRemovedFiles(directory) {
            notes.append(
                "etcd still serves, from files in \(directory) that were removed: what it took since the backup is lost when it stops, unless kops-sidecar backup now saves it first"
            )
        }
        if directoryIsUsed, !options.setAside, !options.controlPlane {
            throw BackupError(
                .refused, "\(directory) is not empty: with --set-aside it is renamed and kept")
        }
    }

    mutating func age() throws {
        guard let reached, var revision = old.revision else { return }
        // What an earlier restore of this very backup made is ahead by the bump, without having anything newer.
        if old.clusterID == seed.clusterID { revision -= options.bumpRevision ?? 0 }
        guard revision > reached else { return }
        let what = source.until == nil ? "the backup" : "the backup with its log of changes"
        let hint =
            source.until == nil && source.hasLog == true
            ? " (its log of changes goes further: --at latest restores it too)" : ""
        let text =
            "\(options.dataDirectory) holds revision \(revision), \(what) \(reached): \(revision - reached) revisions of changes would be lost\(hint)"
        if options.overrides.contains(.older) {
            notes.append(text)
        } else {
            throw BackupError(.refused, text + "; --force older restores nevertheless")
        }
    }

    func room(_ parent: String) throws {
        var directory = parent
        while try FileSystem.status(directory) == nil, directory != "/", directory != "." {
            directory = FileSystem.parent(of: directory)
        }
        let free = try FileSystem.freeBytes(directory)
        var needed: Int64 = 64_000_000 + (16 << 20)
        if let manifest = source.manifest {
            needed += manifest.databaseBytes
            if source.needsFetching { needed += source.parts.reduce(0) { $0 + ($1.manifest?.storedBytes ?? 0) } }
        }
        guard free >= needed else {
            throw BackupError(
                .noSpace,
                "\(directory) has \(free >> 20) MiB free, the restored directory needs \(needed >> 20) MiB: make room there first"
            )
        }
    }

    /// A member that knows a leader is part of a quorum. Members of the cluster that this very restore forms are none.
    /// `bundled` is what to ask with where the node has lost its own certificate.
    mutating func quorum(bundled: TLSSettings? = nil) async throws {
        struct Stored: Codable {
            var clientURLs: [String]?
        }
        var endpoints = options.etcd.endpoints
        for member in old.members {
            if let stored = try? JSONDecoder().decode(Stored.self, from: Data(member.json)) {
                endpoints += stored.clientURLs ?? []
            }
        }
        endpoints += (source.manifest?.members ?? []).flatMap(\.clientURLs)
        var seen: Set<String> = []
        endpoints = endpoints.filter { seen.insert($0).inserted }
        guard !endpoints.isEmpty else { return }
        let http = HTTPClient(name: "kops-quorum")
        defer { http.shutdown() }
        var tls = options.etcd.tlsOfExistingFiles
        if tls.certFile == nil, let bundled { tls = bundled }
        let client = EtcdClient(endpoints: endpoints, tls: tls, http: http)
        let theirs = Set(
            [old.clusterID, source.manifest.flatMap { UInt64($0.clusterID, radix: 16) }].compactMap { $0 })
        var alive: [String] = []
        for state in await client.survey() {
            guard case .success(let status) = state.status, status.leader != 0,
                !status.errors.contains(where: { $0.contains("no leader") })
            else { continue }
            let revision = status.header.revision
            if status.header.clusterID == seed.clusterID {
                // The cluster that this very backup is made into, on the other nodes, minutes ago: this member joins it. One
                // that has gone on since, or that this directory is of, is not to be gone back on.
                let begun = (reached ?? 0) + (options.bumpRevision ?? 0)
                guard old.clusterID == seed.clusterID || revision > begun + 50_000 else { continue }
            } else if !theirs.isEmpty, !theirs.contains(status.header.clusterID) {
                continue
            }
            // etcd that found no data began a new cluster, of the same name even: there is nothing in it to lose.
            if let manifest = source.manifest, revision < manifest.revision {
                notes.append(
                    "\(state.endpoint) serves revision \(revision), before the backup's \(manifest.revision): it has lost its data"
                )
                continue
            }
            // The very member that is to be restored is stopped by the plan; alone it is no quorum to be saved.
            if options.controlPlane, (source.manifest?.members.count ?? 1) == 1 { continue }
            alive.append(state.endpoint)
        }
        guard !alive.isEmpty else { return }
        let text =
            "the cluster still has a quorum (\(alive.joined(separator: ", ")) know a leader): a lost member is replaced, not restored"
        if options.overrides.contains(.liveQuorum) || !isNodesOwn {
            notes.append(text)
        } else {
            throw BackupError(.refused, text + "; --force live-quorum restores nevertheless")
        }
    }
}

extension EtcdOptions {
    /// Without the files that are not there: a question without a certificate is better than none.
    var tlsOfExistingFiles: TLSSettings {
        var tls = self.tls
        if let file = tls.caFile, !FileSystem.exists(file) {
            tls.caFile = nil
            tls.insecureSkipVerify = true
        }
        if let file = tls.certFile, !FileSystem.exists(file) { tls.certFile = nil }
        if let file = tls.keyFile, !FileSystem.exists(file) { tls.keyFile = nil }
        if tls.certFile == nil || tls.keyFile == nil {
            tls.certFile = nil
            tls.keyFile = nil
        }
        return tls
    }
}
