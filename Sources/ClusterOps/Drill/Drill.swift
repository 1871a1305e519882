import Etcd
import Glibc
package import Platform

/// What a trial restore showed.
package struct DrillReport: Sendable {
    package var backup: String
    package var revision: Int64
    package var keys: Int64
    /// From the beginning of the restore until etcd served, in seconds.
    package var recoverySeconds: Double
    /// Whether etcd's own hash of the keys could be compared with the backup's, and agreed.
    package var hashCompared: Bool
    /// Whether an etcd served it; without the program everything is checked but that.
    package var served = true
    /// The version of an etcd program that is older than the cluster's and does not take its data; nil where there was none.
    package var olderProgram: String?
    /// What became of the node's files; nil where the backup has none.
    package var bundle: BundleDrill?
    /// Where the node's files in the backup are another node's: what there is of this node's own.
    package var ownFiles: String?
    /// Files of the log of changes that was replayed on the backup; 0 where it has none. `revision` is then the log's.
    package var logFiles = 0

    /// For people, in one line.
    package var summary: String {
        let tenths = Int64((recoverySeconds * 10).rounded())
        let time = "\(tenths / 10).\(tenths % 10) s"
        let without =
            olderProgram.map { "the etcd program here, \($0), is older than the cluster's and does not take its data" }
            ?? "there is no etcd program here"
        let what =
            served
            ? "restored and served in \(time)" : "restored in \(time) and checked whole (\(without))"
        let hash = hashCompared ? "the hash of its keys agrees" : "the hash of its keys could not be compared"
        let log = logFiles > 0 ? " with its log of changes" : ""
        var text = "\(backup)\(log): \(what), revision \(revision), \(keys) keys, \(hash)"
        if let bundle { text += ", \(bundle.files) files of the node, \(bundle.pairs) keys fit their certificates" }
        if let ownFiles { text += "; \(ownFiles)" }
        for note in bundle?.notes ?? [] { text += "; \(note)" }
        return text
    }
}

/// Restores a backup, with the log of changes beside it, into a directory of its own, starts a real etcd on it that nobody else can reach, and compares what it
/// serves with what the manifest says; without an etcd program the directory is read to its last page instead. The node's
/// files are read too, and keys compared with certificates. Nothing of the running cluster is touched.
package struct Drill: Sendable {
    package var destinations: [any Destination]
    package var workDirectory: String
    /// Found by PATH.
    package var etcdProgram = "etcd"
    /// Whether a missing program is an error rather than a reason to check without it.
    package var needsEtcd = false
    /// Opens sealed backups.
    package var keyFile: String?
    package var kubernetesDirectory = "/etc/kubernetes"
    package var clock: WallClock
    /// How long etcd may take to serve.
    package var startLimit: Duration = .seconds(120)

    package init(destinations: [any Destination], workDirectory: String, clock: WallClock = .system) {
        self.destinations = destinations
        self.workDirectory = workDirectory
        self.clock = clock
    }

    /// `source` as for `restore`. Throws what is wrong with the backup, or with the trial.
    package func run(
        _ source: String = "latest", from: String? = nil, cluster: String? = nil,
        progress: BackupProgressHandler? = nil
    ) async throws -> DrillReport {
        try FileSystem.makeDirectories(workDirectory)
        let directory = try FileSystem.makeTemporaryDirectory(workDirectory + "/.kops-drill-")
        defer { try? FileSystem.removeTree(directory) }
        let client = try LoopbackPorts.free()
        let peer = try LoopbackPorts.free()
        var options = RestoreOptions()
        options.source = source
        options.from = from
        options.cluster = cluster
        options.dataDirectory = directory + "/data"
        options.name = "drill"
        options.initialCluster = "drill=http://127.0.0.1:\(peer)"
        options.initialAdvertisePeerURLs = "http://127.0.0.1:\(peer)"
        options.initialClusterToken = "kops-drill-\(peer)-\(clock.nowMilliseconds())"
        // As the backup is: the hash of the keys can only be compared where the revisions are the same.
        options.bumpRevision = nil
        options.overrides = Set(RestoreOverride.allCases)
        options.etcd.endpoints = []
        options.workDirectory = directory
        options.keyFile = keyFile
        // The log of changes is replayed to its end.
        options.atTime = .max
        options.ownLogOnly = true
        let began = monotonicNanoseconds()
        let plan = try await RestorePlan.make(options, destinations: destinations, clock: clock)
        let manifest = plan.manifest
        let restored = try await plan.execute(keepFetched: true, progress: progress)
        var report = DrillReport(
            backup: plan.source, revision: restored.snapshotRevision, keys: 0,
            recoverySeconds: Double(monotonicNanoseconds() - began) / 1e9, hashCompared: false)
        report.logFiles = plan.record.source.events?.count ?? 0
        if needsEtcd || EtcdProcess.isThere(etcdProgram) {
            do {
                try await serve(&report, directory, client: client, peer: peer, manifest, began)
            } catch let ended as TrialEnded {
                // From 3.5 on etcd refuses the data of a later minor version: that is no fault of the backup.
                guard !needsEtcd, let version = await olderProgram(than: manifest?.etcdVersion) else {
                    throw BackupError(.failed, ended.message)
                }
                report.olderProgram = version
                try await read(&report, options.dataDirectory, manifest)
            }
        } else {
            try await read(&report, options.dataDirectory, manifest)
        }
        if let part = plan.record.source.bundle {
            let keys = try keyFile.map { try SealingKeys(file: $0) }
            let (kubernetes, now) = (kubernetesDirectory, clock.nowMilliseconds())
            let bundle = try await cancellable {
                try BundleDrill.run(part, keys: keys, kubernetesDirectory: kubernetes, now: now, isCancelled: $0)
            }
            if let problem = bundle.problems.first { throw BackupError(.damaged, "\(plan.source): \(problem)") }
            report.bundle = bundle
        }
        try await drillOwnFiles(plan, directory, &report)
        return report
    }

    /// Where the backup is another node's: what this node would be given back of its own on the worst day.
    private func drillOwnFiles(_ plan: RestorePlan, _ directory: String, _ report: inout DrillReport) async throws {
        let node = StaticPod.nodeName(kubernetesDirectory)
        guard let manifest = plan.manifest, let made = manifest.node, made != node,
            // A machine that is no control plane has nothing to be given back.
            FileSystem.exists(kubernetesDirectory + "/manifests/etcd.yaml")
        else { return }
        let keys = try keyFile.map { try SealingKeys(file: $0) }
        let chosen = try await BundlePreview.read(
            plan.record.source, keys: keys, kubernetesDirectory: kubernetesDirectory, destinations: destinations)
        let own = try await OwnFiles.find(
            node: node, near: plan.record.source, await plan.search.neighbours(), chosen: chosen, keys: keys,
            kubernetesDirectory: kubernetesDirectory, destinations: destinations, fetchInto: directory)
        guard var part = own.part else {
            let why = own.problems.isEmpty ? "" : " (\(own.problems.joined(separator: "; ")))"
            report.ownFiles = "no backup has the files of this node, \(node)\(why)"
            return
        }
        let title = "\(part.manifest?.name ?? part.file), \(part.age(beside: manifest)) it"
        if let name = part.destination, let place = destinations.first(where: { $0.name == name }) {
            part.path = directory + "/" + part.file
            try await place.get(part.file, to: part.path, progress: nil)
        }
        let (kubernetes, now, ready) = (kubernetesDirectory, clock.nowMilliseconds(), part)
        let bundle = try await cancellable {
            try BundleDrill.run(ready, keys: keys, kubernetesDirectory: kubernetes, now: now, isCancelled: $0)
        }
        if let problem = bundle.problems.first {
            throw BackupError(.damaged, "the files of \(node) in \(title): \(problem)")
        }
        report.ownFiles =
            "those of \(made); \(bundle.files) files of this node, \(node), in \(title), \(bundle.pairs) keys fit"
    }

    private struct TrialEnded: Error {
        let message: String
    }

    /// The program's version where it is of an earlier minor version than that of the backup's etcd.
    private func olderProgram(than version: String?) async -> String? {
        let program = etcdProgram
        let answer = try? await cancellable { _ in try ChildProgram.run(program, ["--version"]).output }
        guard let own = answer?.split(separator: "\n").first(where: { $0.hasPrefix("etcd Version: ") })?.dropFirst(14),
            let version
        else { return nil }
        func minor(_ text: some StringProtocol) -> [Int] { text.split(separator: ".").prefix(2).compactMap { Int($0) } }
        let (a, b) = (minor(own), minor(version))
        guard a.count == 2, b.count == 2, a.lexicographicallyPrecedes(b) else { return nil }
        return String(own)
    }

    /// An etcd of its own on the directory: what it serves is what the manifest says.
    private func serve(
        _ report: inout DrillReport, _ directory: String, client: UInt16, peer: UInt16, _ manifest: BackupManifest?,
        _ began: Int64
    ) async throws {
        let process = try EtcdProcess(
            program: etcdProgram, directory: directory, client: client, peer: peer)
        defer { process.kill() }
        let http = HTTPClient(name: "kops-drill")
        defer { http.shutdown() }
        let endpoint = "http://127.0.0.1:\(client)"
        let etcd = EtcdClient(endpoints: [endpoint], tls: TLSSettings(), http: http, timeout: .seconds(5))
        let deadline = ContinuousClock.now + startLimit
        var range: EtcdRange?
        while range == nil {
            do {
                range = try await etcd.range([0], end: [0], limit: 1, keysOnly: true)
            } catch let error as EtcdError {
                if let status = process.exitStatus {
                    throw TrialEnded(message: "the trial's etcd ended with status \(status): \(process.lastLine)")
                }
                guard ContinuousClock.now < deadline else {
                    throw BackupError(.failed, "the trial's etcd does not serve: \(error); \(process.lastLine)")
                }
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        report.recoverySeconds = Double(monotonicNanoseconds() - began) / 1e9
        report.keys = range?.count ?? 0
        let served = range?.header.revision ?? 0
        // Nobody else knows of it: it serves what was restored, the log's changes included.
        // An empty etcd is at revision 1, of which nothing stands in its database.
        guard served == max(1, report.revision) else {
            throw BackupError(
                .damaged, "etcd serves revision \(served) of the restored backup, restored was \(report.revision)")
        }
        guard let manifest else { return }
        guard served >= manifest.revision else {
            throw BackupError(
                .damaged,
                "etcd serves revision \(served) of the restored backup, the manifest says \(manifest.revision)")
        }
        // Revision 0, of an etcd that nobody has written to yet, would be asked for as the newest one.
        guard let wanted = manifest.hashKV, wanted.revision > 0 || report.logFiles == 0 else { return }
        let hash = try await etcd.hashKV(endpoint, revision: wanted.revision)
        guard hash.compactRevision == wanted.compactRevision else { return }
        try compare(hash.hash, wanted.hash)
        report.hashCompared = true
    }

    /// Every page of the made database in its order, its keys, and the log that names its members.
    private func read(_ report: inout DrillReport, _ dataDirectory: String, _ manifest: BackupManifest?) async throws {
        let summary = try await cancellable { isCancelled in
            try Drill.scan(DataDirectory.databasePath(dataDirectory), isCancelled)
        }
        if let problem = summary.problems.first { throw BackupError(.damaged, "the restored database: \(problem)") }
        let survey = DataDirectory.survey(dataDirectory)
        guard survey.memberID != nil, survey.members.map(\.id) == [survey.memberID], survey.revision == summary.revision
        else { throw BackupError(.damaged, "the restored directory does not name its member") }
        report.served = false
        report.revision = summary.revision
        report.keys = summary.buckets.first { $0.name == "key" }?.keys ?? 0
        guard let manifest else { return }
        guard summary.revision >= manifest.revision else {
            throw BackupError(
                .damaged, "the restored database has revision \(summary.revision), the manifest \(manifest.revision)")
        }
        // The same at the snapshot's own revision, where no compaction was under way.
        if let wanted = manifest.hashKV, wanted.revision == summary.revision, let hash = summary.keyBucketHash,
            hash == wanted.hash
        {
            report.hashCompared = true
        }
    }

    private static func scan(_ path: String, _ isCancelled: () -> Bool) throws -> SnapshotSummary {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { throw FileError("read", path) }
        defer { close(fd) }
        var scanner = SnapshotScanner()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
        defer { buffer.deallocate() }
        while true {
            if isCancelled() { throw BackupError(.cancelled, "cancelled while reading \(path)") }
            let n = Glibc.read(fd, buffer.baseAddress, buffer.count)
            if n < 0, errno == EINTR { continue }
            if n < 0 { throw FileError("read", path) }
            if n == 0 { return scanner.finish() }
            scanner.feed(UnsafeRawBufferPointer(rebasing: buffer[..<n]))
        }
    }

    private func compare(_ found: UInt32, _ wanted: UInt32) throws {
        guard found == wanted else {
            throw BackupError(
                .damaged, "etcd's hash of the restored keys is \(hex8(found)), the backup's \(hex8(wanted))")
        }
    }
}

/// An etcd of one's own, found by PATH; its log is a file in its directory. For one task.
private final class EtcdProcess {
    private let pid: pid_t
    private let log: String
    private var status: Int32?

    /// Whether the program can be found.
    static func isThere(_ program: String) -> Bool {
        if program.contains("/") { return access(program, X_OK) == 0 }
        let path = getenv("PATH").map { String(cString: $0) } ?? ""
        return path.split(separator: ":").contains { access("\($0)/\(program)", X_OK) == 0 }
    }

    init(program: String, directory: String, client: UInt16, peer: UInt16) throws {
        log = directory + "/etcd.log"
        let arguments = [
            program, "--name", "drill", "--data-dir", directory + "/data",
            "--listen-client-urls", "http://127.0.0.1:\(client)", "--advertise-client-urls",
            "http://127.0.0.1:\(client)",
            "--listen-peer-urls", "http://127.0.0.1:\(peer)", "--log-level", "warn",
        ]
        var start = ProgramStart(arguments)
        start.output = .file(log, mode: 0o600)
        do {
            pid = try start.start()
        } catch {
            throw BackupError(
                .invalid,
                "\(program) cannot be started (\(systemMessage(error.code))): a drill needs the etcd program; install it, or name it"
            )
        }
    }

    var exitStatus: Int32? {
        if let status { return status }
        var code: Int32 = 0
        guard waitpid(pid, &code, WNOHANG) == pid else { return nil }
        status = Platform.exitStatus(ofWait: code)
        return status
    }

    var lastLine: String {
        let text = (try? FileSystem.readText(log, maxBytes: 4 << 20)) ?? ""
        return String((text.split(separator: "\n").last ?? "").prefix(300))
    }

    func kill() {
        if exitStatus != nil { return }
        _ = Glibc.kill(pid, SIGKILL)
        var code: Int32 = 0
        while waitpid(pid, &code, 0) < 0 && errno == EINTR {}
        status = 128 + SIGKILL
    }
}
