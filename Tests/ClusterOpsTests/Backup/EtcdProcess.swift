import Glibc
import Platform

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
        clientPort = ports?.client ?? freePort()
        peerPort = ports?.peer ?? freePort()
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
        let client = EtcdClient(endpoints: [endpoint], tls: TLSSettings(), http: http, timeout: .seconds(2))
        for _ in 0..<300 {
            if let status = try? await client.status(endpoint), status.leader != 0, status.errors.isEmpty { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        let log = (try? FileSystem.readText(directory + "/etcd.log")) ?? ""
        throw EtcdError(.timeout, "etcd did not come up: \(log.suffix(2000))")
    }
}

func programInPath(_ name: String) -> String? {
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    return path.split(separator: ":").map { "\($0)/\(name)" }.first { FileSystem.exists($0) }
}

func temporaryDirectory() throws -> String {
    var template = Array("/tmp/kops-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw FileError("make directory", "/tmp") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// A port nobody listens on just now. Handed out once each by this process.
func freePort() -> Int {
    let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(fd) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            _ = bind(fd, $0, length)
            _ = getsockname(fd, $0, &length)
        }
    }
    return Int(UInt16(bigEndian: address.sin_port))
}

/// Starts a program that ends with the tests at the latest; output goes to `log`.
func spawn(_ arguments: [String], log: String) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    // This thread may have signals blocked, which a program would inherit: SIGTERM would never reach it.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
    argv.append(nil)
    defer { for argument in argv { free(argument) } }
    var pid: pid_t = 0
    let code = posix_spawnp(&pid, arguments[0], &actions, &attributes, argv, environ)
    guard code == 0 else { throw FileError("start", arguments[0], code) }
    return pid
}

/// Runs a program to its end; its exit status and what it wrote on both outputs.
@discardableResult
func runProgram(_ arguments: [String]) throws -> (status: Int32, output: String) {
    let directory = try temporaryDirectory()
    defer { try? FileSystem.removeTree(directory) }
    let pid = try spawn(arguments, log: directory + "/out")
    var status: Int32 = 0
    waitpid(pid, &status, 0)
    return (status & 0x7f == 0 ? status >> 8 & 0xff : -1, try FileSystem.readText(directory + "/out"))
}
