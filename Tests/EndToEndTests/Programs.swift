import Glibc
import Platform

/// A program that a test runs beside itself; killed with its children when it is let go.
final class Program {
    let pid: pid_t
    let log: String
    private var status: Int32?

    /// Output goes to `log`.
    init(_ arguments: [String], log: String) throws {
        self.log = log
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, arguments[0], &actions, nil, &argv, environ)
        guard code == 0 else { throw TestProblem("\(arguments[0]): \(String(cString: strerror(code)))") }
        self.pid = pid
    }

    deinit { stop(SIGKILL) }

    var text: String { (try? FileSystem.readText(log)) ?? "" }

    /// Nil while it runs.
    var exitStatus: Int32? {
        if let status { return status }
        var code: Int32 = 0
        guard waitpid(pid, &code, WNOHANG) == pid else { return nil }
        status = code & 0x7f == 0 ? code >> 8 & 0xff : 128 + (code & 0x7f)
        return status
    }

    @discardableResult
    func stop(_ signal: Int32 = SIGTERM) -> Int32 {
        if let status = exitStatus { return status }
        kill(pid, signal)
        var code: Int32 = 0
        while waitpid(pid, &code, 0) < 0 && errno == EINTR {}
        let ended = code & 0x7f == 0 ? code >> 8 & 0xff : 128 + (code & 0x7f)
        status = ended
        return ended
    }
}

struct TestProblem: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Runs a command line to its end; its output (both streams) and status.
func shell(_ command: String) throws -> (status: Int32, output: String) {
    let log = try scratch() + "/out"
    defer { try? FileSystem.removeTree(FileSystem.parent(of: log)) }
    let program = try Program(["/bin/bash", "-c", command], log: log)
    return (program.wait(), program.text)
}

extension Program {
    func wait() -> Int32 {
        while true {
            if let status = exitStatus { return status }
            usleep(5000)
        }
    }
}

/// A directory of the test's own.
func scratch() throws -> String {
    var template = Array("/tmp/kops-e2e-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw TestProblem("cannot make a directory in /tmp") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Waits until something holds; an error that says what did not after `seconds`.
func until(_ what: String, seconds: Int = 120, _ holds: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < deadline {
        if try await holds() { return }
        try await Task.sleep(for: .milliseconds(100))
    }
    throw TestProblem("waited \(seconds) s in vain: \(what)")
}

/// Ports that nobody listens on now.
func freePorts(_ count: Int) throws -> [Int] {
    var sockets: [Int32] = []
    defer { for fd in sockets { close(fd) } }
    return try (0..<count).map { _ in
        let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        sockets.append(fd)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(fd, pointer, length) == 0 && getsockname(fd, pointer, &length) == 0
            }
        }
        guard bound else { throw TestProblem("no port is free") }
        return Int(UInt16(bigEndian: address.sin_port))
    }
}

/// The package's directory, and the binary that was built with the tests.
let root: String = {
    var parts = #filePath.split(separator: "/")
    parts.removeLast(3)
    return "/" + parts.joined(separator: "/")
}()
let binary = root + "/.build/debug/kops-sidecar"

func isInstalled(_ programs: String...) -> Bool {
    programs.allSatisfy { name in
        ["/usr/bin/", "/usr/local/bin/", "/bin/"].contains { FileSystem.exists($0 + name) }
    }
}
