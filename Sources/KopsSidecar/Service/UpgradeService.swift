package import ClusterOps
package import Logging
package import Platform

/// Upgrades as the service does them: one at a time, as a job, gone on with after a restart. Thread-safe.
package final class UpgradeService: Sendable {
    package typealias Firing = @Sendable (_ severities: [String]) async throws -> [String]

    private struct State {
        var config: SidecarConfig
        /// The run that this service is at.
        var run: UpgradeRun?
    }

    package static let jobName = "upgrade"

    private let state: Lock<State>
    private let firing: Firing
    private let log: Logger
    private let journal: FileUpgradeJournal

    package init(_ config: SidecarConfig, metrics: MetricRegistry, log: Logger, firing: @escaping Firing) {
        state = Lock(State(config: config))
        self.firing = firing
        self.log = log
        journal = FileUpgradeJournal(directory: config.storage.path)
        let seen = Lock<(modified: Int64, run: UpgradeRun?)>((-1, nil))
        let path = FileSystem.resolve("upgrade.json", in: config.storage.path)
        metrics.onCollect { [journal] writer in
            // The journal tells also of a run at which a terminal is.
            let modified = ((try? FileSystem.status(path)) ?? nil)?.modified ?? 0
            let run = seen.withLock { seen in
                if seen.modified != modified { seen = (modified, (try? journal.load()) ?? nil) }
                return seen.run
            }
            publishUpgrade(run, changedAt: modified, &writer)
        }
    }

    package func apply(_ config: SidecarConfig) { state.withLock { $0.config = config } }

    /// The run under way or the last one, and whether anybody is at it.
    package func status() throws -> (run: UpgradeRun?, isUnderWay: Bool) {
        if let run = state.withLock({ $0.run }) { return (run, true) }
        return (try journal.load(), journal.isLocked)
    }

    private func assembly() throws -> UpgradeAssembly {
        let config = state.withLock { $0.config }
        guard config.upgrade != nil else {
            throw UpgradeError(.invalid, "the configuration has no section upgrade: say there how nodes are reached")
        }
        do {
            return try UpgradeAssembly(config, firing: firing)
        } catch {
            throw UpgradeError(.invalid, "\(error)")
        }
    }

    package func plan(_ target: KubernetesVersion) async throws -> UpgradePlan {
        let assembly = try assembly()
        do {
            let plan = try await assembly.planner.plan(target: target).plan
            await assembly.executors.close()
            return plan
        } catch {
            await assembly.executors.close()
            throw error
        }
    }

    /// Writes a new run down; the job does it. Throws where something stands in the way.
    package func begin(_ target: KubernetesVersion, overrides: Set<String>) async throws {
        let assembly = try assembly()
        let lock = try journal.lock()
        defer { withExtendedLifetime(lock) {} }
        if let old = try journal.load(), !old.state.isOver {
            throw UpgradeError(.state, "an upgrade to \(old.target) is \(old.state.rawValue): resume or abort it")
        }
        let run: UpgradeRun
        do {
            run = try await assembly.planner.admit(target: target, owner: .service, overrides: overrides).run
            await assembly.executors.close()
        } catch {
            await assembly.executors.close()
            throw error
        }
        try journal.archive()
        _ = journal.takeRequest()
        try journal.save(run)
    }

    /// Makes a run that is paused or stopped ready to be gone on with by the job.
    package func prepareToResume() throws {
        let lock = try journal.lock()
        defer { withExtendedLifetime(lock) {} }
        guard let run = try journal.load(), !run.state.isOver else {
            throw UpgradeError(.state, "there is no upgrade to go on with")
        }
        var machine = UpgradeMachine(run)
        machine.resume(at: WallClock.system.nowMilliseconds())
        var resumed = machine.run
        resumed.owner = .service
        _ = journal.takeRequest()
        try journal.save(resumed)
    }

    /// Asks whoever is at the run. True where nobody is, and the job has to do it.
    package func ask(_ request: UpgradeMachine.Request) async throws -> Bool {
        func current() throws -> UpgradeRun {
            guard let run = try journal.load(), !run.state.isOver else {
                throw UpgradeError(.state, "no upgrade is under way")
            }
            return run
        }
        _ = try current()
        guard let lock = try await journal.pass(request) else { return false }
        defer { withExtendedLifetime(lock) {} }
        var machine = UpgradeMachine(try current())
        machine.ask(request, at: WallClock.system.nowMilliseconds())
        var asked = machine.run
        asked.owner = .service
        try journal.save(asked)
        return asked.state.isActive
    }

    /// Whether this service was at a run when it ended.
    package var isUnfinished: Bool {
        guard let run = (try? journal.load()) ?? nil else { return false }
        return run.owner == .service && run.state.isActive
    }

    /// Goes on with the journal's run to its end. A word on how it ended.
    package func run(_ context: JobContext) async throws -> String {
        let assembly = try assembly()
        let lock = try journal.lock()
        defer { withExtendedLifetime(lock) {} }
        let told = Lock(((try? journal.load()) ?? nil)?.events.count ?? 0)
        let runner = UpgradeRunner(context: assembly.context, journal: journal) { [self] run in
            state.withLock { $0.run = run }
            let fresh = told.withLock { told -> ArraySlice<UpgradeRun.Event> in
                defer { told = run.events.count }
                return run.events.dropFirst(min(told, run.events.count))
            }
            for event in fresh {
                context.log(event.node.isEmpty ? event.text : "\(event.node): \(event.text)")
                log.info(
                    "upgrade", metadata: ["node": "\(event.node)", "target": "\(run.target)", "event": "\(event.text)"])
            }
        }
        defer { state.withLock { $0.run = nil } }
        do {
            let end = try await runner.run()
            await assembly.executors.close()
            switch end.state {
            case .finished: return "\(end.cluster) is at \(end.target)"
            case .paused: return "paused"
            case .aborted: return "aborted"
            default: throw JobError("stopped: \(end.problem ?? end.state.rawValue)")
            }
        } catch {
            await assembly.executors.close()
            throw error
        }
    }

    /// The job; only ever run when asked for.
    package var job: Job {
        var job = Job(name: Self.jobName, schedule: nil) { [self] context in try await self.run(context) }
        job.scope = .cluster
        job.timeout = 7 * 86_400_000
        return job
    }
}

private func publishUpgrade(_ run: UpgradeRun?, changedAt: Int64, _ writer: inout MetricWriter) {
    for state in UpgradeRun.State.allCases {
        writer.write(
            "kops_upgrade_state",
            "The state of the upgrade that is under way, or of the last one (1), and the others (0).",
            labels: [("state", state.rawValue)], run?.state == state ? 1 : 0)
    }
    guard let run else { return }
    writer.write(
        "kops_upgrade_last_change_timestamp_seconds", "When the upgrade's journal last changed.", labels: [],
        Double(changedAt) / 1000)
    writer.write("kops_upgrade_visits", "Turns of nodes in the upgrade.", labels: [], Double(run.visits.count))
    writer.write("kops_upgrade_visits_done", "Turns that are done.", labels: [], Double(run.visitsDone))
    writer.write(
        "kops_upgrade_target_info", "Always 1; the version that the upgrade goes to is in the label.",
        labels: [("version", run.target.description)], 1)
}
