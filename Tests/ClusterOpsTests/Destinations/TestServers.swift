import Glibc
import Platform

@testable import ClusterOps

private let projectDirectory: String = {
    // Tests/ClusterOpsTests/Destinations/<this file>
    var path = #filePath
    for _ in 0..<4 { path = FileSystem.parent(of: path) }
    return path
}()

/// A program that a test talks to by pipes; it ends with its standard input.
private func spawnPiped(_ arguments: [String]) throws -> (pid: pid_t, input: Int32, output: Int32) {
    let (input, output) = (try makePipe(), try makePipe())
    var start = ProgramStart(arguments)
    start.input = input.reading
    start.output = .descriptor(output.writing)
    start.errors = .null
    let pid = try start.start()
    close(input.reading)
    close(output.writing)
    return (pid, input.writing, output.reading)
}

private func readLine(_ fd: Int32) -> String {
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while read(fd, &byte, 1) == 1, byte != 10 { line.append(byte) }
    return String(decoding: line, as: UTF8.self)
}

/// moto's S3 server with a proxy before it that can be told to fail (s3server.py). It ends with the tests.
final class S3Server: Sendable {
    let moto: Int
    let port: Int
    let accessKeyFile: String
    let secretKeyFile: String
    private let input: Int32

    private static let python = projectDirectory + "/.build/test-tools/moto/bin/python3"
    static var isThere: Bool { FileSystem.exists(python) }

    /// For all tests that need no checks of signatures.
    static let shared = try? S3Server(checksSignatures: false)
    /// One that takes no request whose signature is wrong; its only bucket is `checked`.
    static let checking = try? S3Server(checksSignatures: true)

    init(checksSignatures: Bool) throws {
        let script = FileSystem.parent(of: #filePath) + "/s3server.py"
        let (_, input, output) = try spawnPiped([S3Server.python, script, checksSignatures ? "1" : "0"])
        self.input = input
        let words = readLine(output).split(separator: " ").map(String.init)
        close(output)
        guard words.count == 4, let moto = Int(words[0]), let port = Int(words[1]) else {
            throw BackupError(.failed, "moto did not start")
        }
        self.moto = moto
        self.port = port
        let directory = try temporaryDirectory()
        accessKeyFile = directory + "/access"
        secretKeyFile = directory + "/secret"
        try AtomicFile.write(Array((words[2] + "\n").utf8), to: accessKeyFile)
        try AtomicFile.write(Array((words[3] + "\n").utf8), to: secretKeyFile)
    }

    /// Options of a bucket that is made here.
    func bucket(headers: [(name: String, value: String)] = []) async throws -> S3Options {
        var options = S3Options()
        options.endpoint = "http://127.0.0.1:\(port)"
        options.bucket = "b" + hex16(UInt64.random(in: .min ... .max))
        options.prefix = "backups/of one"
        options.accessKeyFile = accessKeyFile
        options.secretKeyFile = secretKeyFile
        options.partSize = 5 << 20
        options.timeout = 60_000
        var request = HTTPRequest("PUT", "http://127.0.0.1:\(moto)/\(options.bucket)")
        request.headers = headers
        request.body = []
        _ = try await ask(request)
        return options
    }

    func destination(_ options: S3Options, pageSize: Int = 1000) -> S3Destination {
        S3Destination(name: "s3", options: options, retry: .quick, pageSize: pageSize)
    }

    /// What happens to the next requests: kind, beginning of "METHOD path", how often.
    func faults(_ faults: [(kind: String, method: String, times: Int)]) async throws {
        let list = faults.map { "{\"kind\":\"\($0.kind)\",\"method\":\"\($0.method)\",\"times\":\($0.times)}" }
        var request = HTTPRequest("POST", "http://127.0.0.1:\(port)/-/faults")
        request.body = Array("[\(list.joined(separator: ","))]".utf8)
        _ = try await ask(request)
    }

    /// Requests since `faults` was last called, as "METHOD path".
    func seen() async throws -> [String] {
        let text = try await ask(HTTPRequest("GET", "http://127.0.0.1:\(port)/-/seen")).bodyText
        return text.split(separator: "\"").map(String.init).filter { $0.contains("/") }
    }

    @discardableResult
    func ask(_ request: HTTPRequest) async throws -> HTTPResponse {
        let http = HTTPClient(name: "ask")
        defer { http.shutdown() }
        return try await http.send(request)
    }
}

extension TransferRetry {
    static var quick: TransferRetry {
        var retry = TransferRetry()
        retry.attempts = 5
        retry.firstPause = .milliseconds(5)
        retry.longestPause = .milliseconds(50)
        return retry
    }
}

/// A real OpenSSH server on loopback with keys of its own.
final class SSHServer: @unchecked Sendable {
    // Unchecked: `pid` changes under the tests' serialised suites only.
    let directory: String
    let port: Int
    private(set) var pid: pid_t = 0

    private static let program = "/usr/sbin/sshd"
    static var isThere: Bool { FileSystem.exists(program) && FileSystem.exists("/usr/bin/ssh-keygen") }
    static let shared: SSHServer? = {
        let server = try? SSHServer()
        // Nobody lets go of it, and it would outlive the tests.
        atexit { SSHServer.shared?.stop() }
        return server
    }()

    init() throws {
        directory = try temporaryDirectory()
        port = try freePort()
        chmod(directory, 0o700)
        for key in ["host", "client", "stranger"] {
            try runProgram(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "\(directory)/\(key)"])
        }
        try runProgram([
            "ssh-keygen", "-q", "-t", "ed25519", "-N", "a long word", "-f", "\(directory)/sealed",
        ])
        let authorized =
            try FileSystem.readText(directory + "/client.pub") + FileSystem.readText(directory + "/sealed.pub")
        try AtomicFile.write(Array(authorized.utf8), to: directory + "/authorized")
        let host = try FileSystem.readText(directory + "/host.pub")
        try AtomicFile.write(Array("[127.0.0.1]:\(port) \(host)".utf8), to: directory + "/known_hosts")
        let stranger = try FileSystem.readText(directory + "/stranger.pub")
        try AtomicFile.write(Array("[127.0.0.1]:\(port) \(stranger)".utf8), to: directory + "/other_hosts")
        try AtomicFile.write([], to: directory + "/no_hosts")
        try AtomicFile.write(Array("a long word\n".utf8), to: directory + "/passphrase")
        let config = """
            Port \(port)
            ListenAddress 127.0.0.1
            HostKey \(directory)/host
            AuthorizedKeysFile \(directory)/authorized
            PidFile none
            StrictModes no
            UsePAM no
            MaxStartups 200
            PasswordAuthentication no
            PermitRootLogin prohibit-password
            Subsystem sftp internal-sftp

            """
        try AtomicFile.write(Array(config.utf8), to: directory + "/config")
        // Where it drops its rights; a package's start script makes it.
        if geteuid() == 0 { try? FileSystem.makeDirectories("/run/sshd") }
        try start()
    }

    deinit { stop() }

    func start() throws {
        pid = try spawn([SSHServer.program, "-D", "-e", "-f", directory + "/config"], log: directory + "/log")
        for _ in 0..<6000 {
            if isListening { return }
            usleep(20_000)
        }
        throw BackupError(.failed, "sshd did not start: \((try? FileSystem.readText(directory + "/log")) ?? "")")
    }

    func stop() {
        guard pid > 0 else { return }
        kill(pid, SIGKILL)
        var status: Int32 = 0
        waitpid(pid, &status, 0)
        pid = 0
    }

    private var isListening: Bool {
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { close(fd) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    func options() -> SFTPOptions {
        var options = SFTPOptions()
        options.host = "127.0.0.1"
        options.port = port
        options.user = String(cString: getpwuid(geteuid()).pointee.pw_name)
        options.path = directory + "/files/" + hex16(UInt64.random(in: .min ... .max)) + "/of \"one\""
        options.privateKeyFile = directory + "/client"
        options.knownHostsFile = directory + "/known_hosts"
        options.timeout = 60_000
        return options
    }

    func destination(_ options: SFTPOptions) -> SFTPDestination {
        SFTPDestination(name: "sftp", options: options, retry: .quick)
    }
}

/// A place whose calls fail as told, and else do what the one behind it does.
final class FailingDestination: Destination {
    let behind: any Destination
    let failing: Lock<Set<String>>

    init(_ behind: any Destination, failing: Set<String>) {
        self.behind = behind
        self.failing = Lock(failing)
    }

    var name: String { behind.name }
    var location: String { behind.location }

    private func check(_ call: String) throws {
        if failing.withLock({ $0.contains(call) }) { throw BackupError(.destination, "\(call) fails") }
    }

    func list() async throws -> [StoredFile] {
        try check("list")
        return try await behind.list()
    }
    func put(file path: String, as name: String, progress: ByteProgress?) async throws {
        try check("put")
        try await behind.put(file: path, as: name, progress: progress)
    }
    func putNew(file path: String, as name: String, progress: ByteProgress?) async throws {
        try check("put")
        try await behind.putNew(file: path, as: name, progress: progress)
    }
    func get(_ name: String, to path: String, progress: ByteProgress?) async throws {
        try check("get")
        try await behind.get(name, to: path, progress: progress)
    }
    func read(_ name: String, limit: Int) async throws -> [UInt8] {
        try check("read")
        return try await behind.read(name, limit: limit)
    }
    func remove(_ name: String) async throws {
        try check("remove")
        try await behind.remove(name)
    }
    func removeLeftovers(olderThan: Int64) async throws {
        try check("removeLeftovers")
        try await behind.removeLeftovers(olderThan: olderThan)
    }
}
