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
}

/// Restores a backup into a directory of its own, starts a real etcd on it that nobody else can reach, and compares what it
/// serves with what the manifest says. Nothing of the running cluster is touched.
package struct Drill: Sendable {
    package var destinations: [any Destination]
    package var workDirectory: String
    package var etcdProgram = "etcd"
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
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let client = try freePort()
        let peer = try freePort()
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
        let began = monotonicNanoseconds()
        let plan = try await RestorePlan.make(options, destinations: destinations, clock: clock)
        let manifest = plan.manifest
        let report = try await plan.execute(progress: progress)
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
                    throw BackupError(.failed, "the trial's etcd ended with status \(status): \(process.lastLine)")
                }
                guard ContinuousClock.now < deadline else {
                    throw BackupError(.failed, "the trial's etcd does not serve: \(error); \(process.lastLine)")
                }
                try await Task.sleep(for: .milliseconds(50))
            }
        }
        let seconds = Double(monotonicNanoseconds() - began) / 1e9
        let served = range?.header.revision ?? 0
        if let manifest, served < manifest.revision {
            throw BackupError(
                .damaged,
                "etcd serves revision \(served) of the restored backup, the manifest says \(manifest.revision)")
        }
        var compared = false
        if let wanted = manifest?.hashKV {
            let hash = try await etcd.hashKV(endpoint, revision: wanted.revision)
            if hash.compactRevision == wanted.compactRevision {
                guard hash.hash == wanted.hash else {
                    throw BackupError(
                        .damaged,
                        "etcd's hash of the restored keys is \(hex8(hash.hash)), the backup's \(hex8(wanted.hash))")
                }
                compared = true
            }
        }
        return DrillReport(
            backup: plan.source, revision: max(report.snapshotRevision, served), keys: range?.count ?? 0,
            recoverySeconds: seconds, hashCompared: compared)
    }

    private func temporaryDirectory() throws -> String {
        var template = Array((workDirectory + "/.kops-drill-XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw FileError("make a directory in", workDirectory) }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// A port that nobody has now.
    private func freePort() throws -> UInt16 {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard fd >= 0 else { throw FileError("make", "a socket") }
        defer { close(fd) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(fd, pointer, length) == 0 && getsockname(fd, pointer, &length) == 0
            }
        }
        guard bound else { throw FileError("bind", "127.0.0.1") }
        return UInt16(bigEndian: address.sin_port)
    }
}

/// An etcd of one's own, found by PATH; its log is a file in its directory. For one task.
private final class EtcdProcess {
    private let pid: pid_t
    private let log: String
    private var status: Int32?

    init(program: String, directory: String, client: UInt16, peer: UInt16) throws {
        log = directory + "/etcd.log"
        let arguments = [
            program, "--name", "drill", "--data-dir", directory + "/data",
            "--listen-client-urls", "http://127.0.0.1:\(client)", "--advertise-client-urls",
            "http://127.0.0.1:\(client)",
            "--listen-peer-urls", "http://127.0.0.1:\(peer)", "--log-level", "warn",
        ]
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, program, &actions, nil, &argv, environ)
        guard code == 0 else {
            throw BackupError(
                .invalid,
                "\(program) cannot be started (\(String(cString: strerror(code)))): a drill needs the etcd program; install it, or name it"
            )
        }
        self.pid = pid
    }

    var exitStatus: Int32? {
        if let status { return status }
        var code: Int32 = 0
        guard waitpid(pid, &code, WNOHANG) == pid else { return nil }
        status = code & 0x7f == 0 ? code >> 8 & 0xff : 128 + (code & 0x7f)
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
