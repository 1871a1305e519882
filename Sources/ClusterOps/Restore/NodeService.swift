import Platform

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
                let code = try ChildProgram.run("systemctl", ["restart", "kubelet"]).status
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
            let code = try? await cancellable { _ in
                try ChildProgram.run("systemctl", ["is-active", "kubelet"]).status
            }
            return code == 0
        }
        surroundings.stopContainers = { component in
            let done = try? await cancellable { _ in
                let list = try ChildProgram.run(
                    "crictl", ["ps", "-q", "--name", "^\(component)$"], errors: .null)
                let ids = list.output.split(whereSeparator: \.isWhitespace).map(String.init)
                guard list.status == 0 else { return false }
                return ids.isEmpty ? true : try ChildProgram.run("crictl", ["stop"] + ids).status == 0
            }
            return done ?? false
        }
        surroundings.podIsGone = { component in
            let gone = try? await cancellable { _ in
                let list = try ChildProgram.run(
                    "crictl", ["pods", "-q", "--state", "ready", "--label", "component=\(component)"], errors: .null)
                return list.status == 0 && list.output.allSatisfy(\.isWhitespace)
            }
            return gone ?? false
        }
        return surroundings
    }()
}
