import Glibc
import Platform

/// Programs of the system.
enum ChildProcess {
    /// Runs a program without input and output to its end; its exit status, or 128 and the signal. Found by PATH.
    static func run(_ arguments: [String]) throws -> Int32 { try output(arguments).status }

    /// Exit status, and the first MiB of standard output.
    static func output(_ arguments: [String]) throws -> (status: Int32, text: String) {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { throw FileError("make", "a pipe") }
        for fd in ends { _ = fcntl(fd, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, arguments[0], &actions, nil, &argv, environ)
        close(ends[1])
        guard code == 0 else { throw FileError("start", arguments[0], code) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let n = read(ends[0], &buffer, buffer.count)
            if n < 0 && errno == EINTR { continue }
            if n <= 0 { break }
            if text.count < 1 << 20 { text += buffer[..<n] }
        }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        return (status & 0x7f == 0 ? status >> 8 & 0xff : 128 + (status & 0x7f), String(decoding: text, as: UTF8.self))
    }
}

/// What the restore's surroundings do for it; tests put their own there.
package struct RestoreSurroundings: Sendable {
    /// Restarts kubelet.
    package var restartKubelet: @Sendable () async throws -> Void
    /// Whether the service manager says that kubelet runs.
    package var kubeletRuns: @Sendable () async -> Bool = { true }
    /// Stops a static pod's containers through the container runtime, for where no kubelet does it. False where it cannot.
    package var stopContainers: @Sendable (_ component: String) async -> Bool = { _ in false }
    /// Whether the container runtime has no living pod of that component: kubelet has let go of it. False where that cannot
    /// be asked.
    package var podIsGone: @Sendable (_ component: String) async -> Bool = { _ in true }
    /// Where it cannot be asked: kubelet's poll of its manifests, and a little.
    package var quietLimit: Duration = .seconds(25)
    /// How long a pod may take to stop (kubelet's poll of 20 s, a grace period of 30 s, and as much again) and to serve.
    package var stopLimit: Duration = .seconds(150)
    package var startLimit: Duration = .seconds(600)
    /// How long a member waits for a majority before it leaves the rest to the other nodes.
    package var quorumLimit: Duration = .seconds(120)
    /// How long other members get to catch up before they are told of.
    package var memberLimit: Duration = .seconds(30)
    /// When kubelet is no longer waited for: its poll, the grace period and a little.
    package var kubeletLimit: Duration = .seconds(60)
    /// The way to another member by its name; nil goes by SSH.
    var executor: (@Sendable (String) -> (any Executor)?)?
    /// Between two looks at another node where its restore is under way already.
    var remotePause: Duration = .seconds(2)
    /// Whether a process of a component's name is this node's, by its command line: tests run beside other clusters.
    var isOurs: @Sendable ([String]) -> Bool = { _ in true }
    /// Called before each step (false) and behind it, before that is written down (true); what it throws ends the restore
    /// there as a kill would.
    var interrupt: (@Sendable (RestoreStep, _ isDone: Bool) throws -> Void)?

    package init(restartKubelet: @escaping @Sendable () async throws -> Void) { self.restartKubelet = restartKubelet }

    package static let system: RestoreSurroundings = {
        var surroundings = RestoreSurroundings {
            try await cancellable { _ in
                let code = try ChildProcess.run(["systemctl", "restart", "kubelet"])
                guard code == 0 else {
                    throw BackupError(
                        .failed, "systemctl restart kubelet ended with status \(code): restart it by hand")
                }
            }
        }
        #if DEBUG
            surroundings.interrupt = KillPoint.fromEnvironment()
        #endif
        surroundings.kubeletRuns = {
            let code = try? await cancellable { _ in try ChildProcess.run(["systemctl", "is-active", "kubelet"]) }
            return code == 0
        }
        surroundings.stopContainers = { component in
            let done = try? await cancellable { _ in
                let list = try ChildProcess.output(["crictl", "ps", "-q", "--name", "^\(component)$"])
                let ids = list.text.split(whereSeparator: \.isWhitespace).map(String.init)
                guard list.status == 0 else { return false }
                return ids.isEmpty ? true : try ChildProcess.run(["crictl", "stop"] + ids) == 0
            }
            return done ?? false
        }
        surroundings.podIsGone = { component in
            let gone = try? await cancellable { _ in
                let list = try ChildProcess.output(
                    ["crictl", "pods", "-q", "--state", "ready", "--label", "component=\(component)"])
                return list.status == 0 && list.text.allSatisfy(\.isWhitespace)
            }
            return gone ?? false
        }
        return surroundings
    }()
}
