import Etcd
import FoundationEssentials
import Glibc
package import Platform

/// A restore worked out to the last path before anything is touched: print it, then execute it.
package struct RestorePlan: Sendable {
    /// All that execution needs, as it stands in the journal.
    struct Record: Sendable, Codable, Equatable {
        var options: RestoreOptions
        var source: SnapshotSource
        var steps: [RestoreStep]
        var memberName: String
        var initialCluster: String
        var token: String
        var revision: Int64?
        var asideDirectory: String?
        var newDirectory: String
        var fetchDirectory: String
        /// Where manifests are held while their pods are stopped.
        var heldDirectory: String
        var ports: [UInt16]
        /// The node whose files the bundle holds; nil where that is not known.
        var bundleOf: String?
        /// The members that are restored over SSH; nil where only this one is.
        var remote: RemoteMembers?
        /// `revision`, or the newest that the log of changes brings back; what the plan says of it.
        var reached: Int64?

        /// Whether the files beside the backup are another node's than this one.
        var isOthersBundle: Bool { bundleOf.map { $0 != memberName } ?? false }
    }

    let record: Record
    /// What the user should know: commands for other nodes, what is overridden.
    package let notes: [String]
    let destinations: [any Destination]
    let clock: WallClock
    let search: BackupSearch

    package var steps: [RestoreStep] { record.steps }
    package var source: String { record.source.title }
    package var dataDirectory: String { record.options.dataDirectory }
    package var manifest: BackupManifest? { record.source.manifest }
    package var initialCluster: String { record.initialCluster }
    package var initialClusterToken: String { record.token }
    package var memberName: String { record.memberName }

    /// The plan as lines of text.
    package func describe() -> [String] {
        var lines = ["restore \(record.source.title)"]
        if let manifest = record.source.manifest {
            lines.append(
                "  made \(manifest.created) of cluster \(manifest.cluster) (\(manifest.clusterID)), revision \(manifest.revision), \(manifest.totalKeys) keys, etcd \(manifest.etcdVersion)"
            )
            if let events = record.source.events, !events.isEmpty, let reached = record.reached {
                lines.append("  with its log of changes, up to revision \(reached)")
            }
        }
        lines.append("  into \(record.options.dataDirectory), member \(record.memberName)")
        lines.append("  cluster \(record.initialCluster), token \(record.token)")
        for (i, step) in record.steps.enumerated() { lines.append("\(i + 1). \(step.description)") }
        for note in notes { lines.append("note: \(note)") }
        return lines
    }

    /// Finds the backup, works out the steps, and refuses what should not be done. Changes nothing anywhere.
    package static func make(
        _ options: RestoreOptions, destinations: [any Destination] = [], clock: WallClock = .system
    ) async throws -> RestorePlan {
        var options = options
        let held = options.kubernetesDirectory + StaticPod.heldDirectory
        var flags = options.controlPlane ? StaticPod.flags(options.kubernetesDirectory + "/manifests/etcd.yaml") : [:]
        // A restore that was taken back, or an operator's own hand, may have left it there.
        if options.controlPlane, flags.isEmpty { flags = StaticPod.flags(held + "/etcd.yaml") }
        if options.controlPlane, let directory = flags["data-dir"] { options.dataDirectory = directory }
        while options.dataDirectory.count > 1, options.dataDirectory.hasSuffix("/") {
            options.dataDirectory.removeLast()
        }
        guard options.dataDirectory.hasPrefix("/") || !options.dataDirectory.isEmpty else {
            throw BackupError(.invalid, "no data directory is named")
        }
        let directory = options.dataDirectory
        // One that failed or was killed before it changed anything stands in nobody's way: with another key, say.
        if let journal = try RestoreExecutor.readJournal(directory), journal.state == .running,
            !journal.hasChangedNothing
        {
            throw BackupError(
                .refused,
                "a restore into \(directory) was begun \(journal.started) and not finished (step \(journal.done + 1) of \(journal.plan.steps.count)): resume it with --resume, or take it back with --undo"
            )
        }
        let parent = FileSystem.parent(of: directory)
        let now = clock.nowMilliseconds()
        let stamp = String(formatRFC3339(now, fraction: false).filter { $0 != "-" && $0 != ":" })
        let fetch = (options.workDirectory ?? parent) + "/.kops-restore-\(FileSystem.name(of: directory))"
        let search = try await SnapshotSourceFinder.search(
            options.source, from: options.from, cluster: options.cluster, atTime: options.atTime,
            atRevision: options.atRevision, destinations: destinations, fetchInto: fetch)
        let keys = try options.keyFile.map { try SealingKeys(file: $0) }
        try search.source.checkKey(keys)
        let log = try await LogChoice.furthest(
            search, keys: keys, ownOnly: options.ownLogOnly ?? false, destinations: destinations)
        var source = log.source
        let preview =
            options.controlPlane
            ? try await BundlePreview.read(
                source, keys: keys, kubernetesDirectory: options.kubernetesDirectory, destinations: destinations) : nil
        let bundled = StaticPod.flags(text: preview?.etcdManifest ?? "")
        if flags.isEmpty, bundled["name"] == (options.name ?? hostName()) { flags = bundled }
        let old = DataDirectory.survey(directory)
        let (name, cluster, token) = try identity(options, source, flags)
        let seed = try ClusterIdentity(initialCluster: cluster, token: token)
        let local = try seed.member(
            named: name,
            advertising: (options.initialAdvertisePeerURLs ?? flags["initial-advertise-peer-urls"]).map {
                $0.split(separator: ",").map(String.init)
            })

        var ports = Set(local.peerURLs.compactMap(EtcdPresence.port))
        let urls = [flags["listen-client-urls"], flags["listen-metrics-urls"]].compactMap { $0 }.joined(separator: ",")
        for url in urls.split(separator: ",") {
            if let port = EtcdPresence.port(String(url)) { ports.insert(port) }
        }
        let bundleOf = bundled["name"] ?? source.manifest?.node
        let remote = try options.remote.map { try RemoteMembers.find($0, seed, own: name) }
        var fileNotes: [String] = []
        if options.controlPlane {
            let owners = NodeFilesChoice(
                options: options, search: search, preview: preview, bundleOf: bundleOf, keys: keys,
                destinations: destinations)
            fileNotes = try await owners.complete(&source, own: name, others: remote?.hosts.map(\.name) ?? [])
        }
        var checks = RestoreChecks(
            options: options, source: source, old: old, seed: seed, ports: ports, reached: log.reached)
        try checks.directory()
        try checks.age()
        try checks.otherCluster(preview)
        try checks.room(parent)
        try await checks.quorum(bundled: preview?.clientTLS)

        // While the node's pods stop, kubelet may have etcd make a directory yet.
        let aside =
            checks.directoryIsUsed || options.controlPlane ? unusedPath("\(directory).before-\(stamp)") : nil
        let record = Record(
            options: options, source: source,
            steps: steps(
                options, source, aside: aside, members: seed.members.count, revision: log.reached,
                bundleOf: bundleOf == name ? nil : bundleOf, others: remote),
            memberName: name, initialCluster: cluster, token: token, revision: source.manifest?.revision,
            asideDirectory: aside, newDirectory: "\(directory).kops-new", fetchDirectory: fetch,
            heldDirectory: held, ports: checks.portsThatCount.sorted(), bundleOf: bundleOf,
            remote: remote,
            reached: log.reached)
        let notes =
            [source.warning].compactMap { $0 } + log.notes + fileNotes + checks.notes + others(record, seed)
        return RestorePlan(
            record: record, notes: notes, destinations: destinations, clock: clock, search: search)
    }

    /// Name, initial cluster and token: as asked for, else from the static pod's manifest, else from the backup.
    private static func identity(_ options: RestoreOptions, _ source: SnapshotSource, _ flags: [String: String]) throws
        -> (name: String, cluster: String, token: String)
    {
        let members = (source.manifest?.members ?? []).filter { !$0.peerURLs.isEmpty && !$0.name.isEmpty }
        let host = hostName()
        let name =
            options.name ?? flags["name"] ?? (members.count == 1 ? members[0].name : nil)
            ?? members.first { $0.name == host }?.name ?? (members.isEmpty ? "default" : nil)
        guard let name else {
            throw BackupError(
                .invalid,
                "the backup is of a cluster with the members \(members.map(\.name).joined(separator: ", ")): say with --name which one this is"
            )
        }
        var cluster = options.initialCluster
        if cluster == nil, !members.isEmpty, members.contains(where: { $0.name == name }) {
            let chosen = options.singleMember ? members.filter { $0.name == name } : members
            cluster = chosen.flatMap { member in member.peerURLs.map { "\(member.name)=\($0)" } }
                .joined(separator: ",")
        }
        if cluster == nil, let urls = options.initialAdvertisePeerURLs ?? flags["initial-advertise-peer-urls"] {
            cluster = urls.split(separator: ",").map { "\(name)=\($0)" }.joined(separator: ",")
        }
        // etcdutl's own default.
        let whole = cluster ?? "\(name)=http://localhost:2380"
        if let token = options.initialClusterToken { return (name, whole, token) }
        // A token must be new, or members of the old cluster could talk to the new one; and where several members are
        // restored, it must be the same for all of them, without a word between them: it comes from the backup.
        let tag = source.manifest?.databaseSHA256.prefix(16) ?? Substring(hex16(UInt64.random(in: .min ... .max)))
        return (name, whole, "kops-\(tag)")
    }

    private static func steps(
        _ options: RestoreOptions, _ source: SnapshotSource, aside: String?, members: Int, revision: Int64?,
        bundleOf: String?, others: RemoteMembers?
    ) -> [RestoreStep] {
        let directory = options.dataDirectory
        var steps: [RestoreStep] = []
        func add(_ action: RestoreStep.Action, _ text: String) {
            steps.append(.init(action: action, description: text))
        }
        if source.needsFetching {
            let names = source.files.map(\.file)
            add(.fetch, "fetch \(names.joined(separator: ", "))")
        }
        let names = others?.hosts.map(\.title).joined(separator: ", ") ?? ""
        if others != nil { add(.prepareOthers, "copy the backup to \(names) and have each make its plan") }
        let bump = options.bumpRevision.map { "revisions bumped by \($0) and the old ones marked compacted" }
        add(
            .build,
            "make \(directory).kops-new from the backup and check it whole (\(bump ?? "revisions left as they are"))")
        if others != nil { add(.beginOthers, "begin the same on \(names), beside what is done here") }
        if options.controlPlane {
            for component in StaticPod.stopOrder {
                add(.stop(component: component), "stop \(component): move its manifest away and prove that it ended")
            }
        }
        add(.proveStopped, "prove that no etcd uses \(directory)")
        if options.controlPlane, source.bundle != nil || source.own != nil {
            var whence = "from the backup"
            if let own = source.own {
                whence =
                    "what all nodes share from the backup, what is this node's own from \(own.manifest?.name ?? own.file) (\(own.age(beside: source.manifest)) the backup)"
            } else if let bundleOf {
                whence = "only what all nodes share: the backup's files are those of \(bundleOf)"
            }
            add(.putBack, "put back what is missing of \(options.kubernetesDirectory): \(whence)")
        }
        if let aside { add(.setAside, "rename \(directory), where there is one, to \(aside)") }
        add(.activate, "rename \(directory).kops-new to \(directory)")
        if options.controlPlane {
            add(.reviveKubelet, "restart kubelet, where it could not run")
            add(.start(component: "etcd"), "start etcd: put its manifest back")
            let what = revision.map { " at revision \($0 + (options.bumpRevision ?? 0)) or later" } ?? ""
            add(.proveServing, "wait until etcd serves\(what)")
            add(.disarm, "turn off alarms that came with the backup")
            add(.start(component: "kube-apiserver"), "start kube-apiserver")
            add(.proveServer, "wait until kube-apiserver is ready")
            if others != nil { add(.awaitOthers, "wait until \(names) are done") }
            if members > 1 { add(.compareMembers, "compare the members' hashes of their keys") }
            add(.start(component: "kube-controller-manager"), "start kube-controller-manager")
            add(.start(component: "kube-scheduler"), "start kube-scheduler")
            add(.restartKubelet, "restart kubelet, so that it asks for everything anew")
            add(.lookForStale, "look for nodes and versions that the backup knows and that are no more")
        }
        if others != nil { add(.judgeOthers, "see that \(names) are restored, and remove what was copied there") }
        return steps
    }

    /// What has to be done on the other members.
    private static func others(_ record: Record, _ seed: ClusterIdentity) -> [String] {
        guard seed.members.count > 1, record.remote == nil else { return [] }
        let names = seed.members.map(\.name).filter { $0 != record.memberName }.sorted()
        return [MemberCommand.note(members: seed.members.count)]
            + names.map { MemberCommand(record: record, member: $0).note }
    }
}

func hostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    gethostname(&buffer, 255)
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// The path, or with a number behind it where something has that name already.
func unusedPath(_ path: String) -> String {
    var candidate = path
    var number = 2
    while FileSystem.exists(candidate) {
        candidate = "\(path)-\(number)"
        number += 1
    }
    return candidate
}
