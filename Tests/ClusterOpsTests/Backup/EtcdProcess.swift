import Glibc
import Platform
import TestSupport

@testable import Etcd

/// A real etcd on loopback for a test, with a directory of its own; gone with the object. Not for use from several threads.
final class EtcdProcess: @unchecked Sendable {
    let directory: String
    let clientPort: Int
    let peerPort: Int
    let name: String
    private(set) var pid: pid_t = 0
    private let arguments: [String]

    var endpoint: String { "http://127.0.0.1:\(clientPort)" }
    var peerURL: String { "http://127.0.0.1:\(peerPort)" }
    var dataDirectory: String { directory + "/data" }

    /// The first in PATH, as etcdctl and etcdutl are: `PATH=DIR:$PATH swift test` runs all of this on another version.
    static let binary = programInPath("etcd")
    static var isThere: Bool { binary != nil }

    /// `ports` are found free unless given.
    init(
        name: String = "node", directory: String? = nil, ports: (client: Int, peer: Int)? = nil,
        initialCluster: String? = nil, extra: [String] = []
    ) throws {
        self.name = name
        self.directory = try directory ?? temporaryDirectory()
        clientPort = try ports?.client ?? freePort()
        peerPort = try ports?.peer ?? freePort()
        let peer = "http://127.0.0.1:\(peerPort)"
        arguments =
            [
                "--name", name, "--data-dir", self.directory + "/data",
                "--listen-client-urls", "http://127.0.0.1:\(clientPort)",
                "--advertise-client-urls", "http://127.0.0.1:\(clientPort)",
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", initialCluster ?? "\(name)=\(peer)", "--logger", "zap", "--log-level", "error",
                "--quota-backend-bytes", "8589934592",
            ] + extra
        try start()
    }

    deinit { kill() }

    func start() throws {
        pid = try spawn([EtcdProcess.binary ?? "etcd"] + arguments, log: directory + "/etcd.log")
    }

    func kill(_ signal: Int32 = SIGKILL) {
        guard pid > 0 else { return }
        Glibc.kill(pid, signal)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        pid = 0
    }

    func waitUntilServing() async throws {
        let http = HTTPClient(name: "wait")
        defer { http.shutdown() }
        let client = EtcdClient(endpoints: [endpoint], tls: TLSSettings(), http: http, timeout: .seconds(10))
        do {
            try await eventually("etcd serves") {
                guard let status = try? await client.status(endpoint) else { return false }
                return status.leader != 0 && status.errors.isEmpty
            }
        } catch let failure as TestFailure {
            let log = (try? FileSystem.readText(directory + "/etcd.log")) ?? ""
            throw EtcdError(.timeout, "\(failure): \(log.suffix(2000))")
        }
    }
}

func programInPath(_ name: String) -> String? {
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    return path.split(separator: ":").map { "\($0)/\(name)" }.first { FileSystem.exists($0) }
}

/// A port nobody listens on just now. Handed out once each by this process.
func freePort() throws -> Int { Int(try LoopbackPorts.free()) }

func temporaryDirectory() throws -> String { try scratchDirectory() }

/// Starts a program that ends with the tests at the latest; output goes to `log`.
func spawn(_ arguments: [String], log: String) throws -> pid_t {
    var start = ProgramStart(arguments)
    start.output = .file(log, mode: 0o644)
    return try start.start()
}

/// Runs a program to its end; its exit status and what it wrote on both outputs.
@discardableResult
func runProgram(_ arguments: [String]) throws -> (status: Int32, output: String) {
    let directory = try temporaryDirectory()
    defer { try? FileSystem.removeTree(directory) }
    let pid = try spawn(arguments, log: directory + "/out")
    var status: Int32 = 0
    waitpid(pid, &status, 0)
    return (exitStatus(ofWait: status), try FileSystem.readText(directory + "/out"))
}
