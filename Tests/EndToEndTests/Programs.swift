import Glibc
import Platform
import TestSupport

/// A program that a test runs beside itself; killed with its children when it is let go.
final class Program {
    let pid: pid_t
    let log: String
    private var status: Int32?

    /// Output goes to `log`.
    init(_ arguments: [String], log: String) throws {
        self.log = log
        var start = ProgramStart(arguments)
        start.output = .file(log, mode: 0o600)
        pid = try start.start()
    }

    deinit { stop(SIGKILL) }

    var text: String { (try? FileSystem.readText(log)) ?? "" }

    /// Nil while it runs.
    var exitStatus: Int32? {
        if let status { return status }
        var code: Int32 = 0
        guard waitpid(pid, &code, WNOHANG) == pid else { return nil }
        status = Platform.exitStatus(ofWait: code)
        return status
    }

    @discardableResult
    func stop(_ signal: Int32 = SIGTERM) -> Int32 {
        if let status = exitStatus { return status }
        kill(pid, signal)
        var code: Int32 = 0
        while waitpid(pid, &code, 0) < 0 && errno == EINTR {}
        let ended = Platform.exitStatus(ofWait: code)
        status = ended
        return ended
    }
}

struct TestProblem: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Runs a command line to its end; its output (both streams) and status.
func shell(_ command: String) async throws -> (status: Int32, output: String) {
    let log = try scratch() + "/out"
    defer { try? FileSystem.removeTree(FileSystem.parent(of: log)) }
    let program = try Program(["/bin/bash", "-c", command], log: log)
    return (try await program.wait(), program.text)
}

extension Program {
    /// Waits without a thread: a test that held one of the few would hold up all the others.
    func wait() async throws -> Int32 {
        while true {
            if let status = exitStatus { return status }
            try await Task.sleep(for: .milliseconds(10))
        }
    }
}

/// A directory of the test's own.
func scratch() throws -> String { try scratchDirectory() }

/// Ports that nobody listens on now.
func freePorts(_ count: Int) throws -> [Int] { try (0..<count).map { _ in Int(try LoopbackPorts.free()) } }

/// The package's directory.
let root: String = {
    var parts = #filePath.split(separator: "/")
    parts.removeLast(3)
    return "/" + parts.joined(separator: "/")
}()

/// Where the tests were built, and the program with them: also where that is another directory than `.build`.
let builtDirectory: String = {
    var path = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &path, path.count)
    let own = FileSystem.parent(
        of: String(decoding: path.prefix(max(0, length)).map { UInt8(bitPattern: $0) }, as: UTF8.self))
    return FileSystem.exists(own + "/kops-sidecar") ? own : root + "/.build/debug"
}()
let binary = builtDirectory + "/kops-sidecar"

func isInstalled(_ programs: String...) -> Bool {
    programs.allSatisfy { name in
        ["/usr/bin/", "/usr/local/bin/", "/bin/"].contains { FileSystem.exists($0 + name) }
    }
}
