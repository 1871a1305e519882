import Logging
import MetricModel
import Platform

/// The targets of one scrape configuration. Thread-safe.
final class ScrapePool: Sendable {
    private struct State {
        var loops: [Target: ScrapeLoop] = [:]
        var dropped: [Labels] = []
        var droppedCount = 0
        /// By discovery, then by group.
        var groups: [Int: [TargetGroup]] = [:]
        var tasks: [Task<Void, Never>] = []
        var stopping: [Task<Void, Never>] = []
        var stopped = false
    }

    let config: ScrapeConfig
    private let environment: ScrapeEnvironment
    private let state = Lock(State())

    init(_ config: ScrapeConfig, _ environment: ScrapeEnvironment) {
        self.config = config
        self.environment = environment
    }

    func start() {
        let tasks = config.discovery.enumerated().map { index, discovery in
            Task { [self] in
                await discovery.run(environment.discovery) { groups in update(index, groups) }
            }
        }
        state.withLock { $0.tasks = tasks }
    }

    func stop(endsSeries: Bool = true) {
        let (tasks, loops) = state.withLock { state in
            state.stopped = true
            defer { state.tasks = [] }
            return (state.tasks, Array(state.loops.values))
        }
        for task in tasks { task.cancel() }
        for loop in loops { loop.stop(endsSeries: endsSeries) }
    }

    /// Waits for scrapes that were under way.
    func finished() async {
        for loop in state.withLock({ Array($0.loops.values) }) { await loop.finished() }
    }

    private func update(_ discovery: Int, _ groups: [TargetGroup]) {
        let (started, stopped, problems) = state.withLock { state -> ([ScrapeLoop], [ScrapeLoop], [String]) in
            if state.stopped { return ([], [], []) }
            state.groups[discovery] = groups
            // Of targets that relabelling made the same, the last one's discovered labels are shown.
            var wanted: [Target: Target] = [:]
            var problems: [String] = []
            state.dropped = []
            state.droppedCount = 0
            for group in state.groups.values.joined() {
                for found in group.targets {
                    switch makeTarget(found, group: group.labels, config: config) {
                    case .active(let target): wanted[target] = target
                    case .dropped(let labels):
                        state.droppedCount += 1
                        let limit = config.limits.keptDroppedTargets
                        if state.dropped.count < (limit > 0 ? limit : 10_000) { state.dropped.append(labels) }
                    case .invalid(let why): problems.append(why)
                    }
                }
            }
            let tooMany = config.limits.targets > 0 && wanted.count > config.limits.targets
            let excess =
                tooMany
                ? "target_limit exceeded (number of targets: \(wanted.count), limit: \(config.limits.targets))" : nil
            var started: [ScrapeLoop] = []
            let stopped = state.loops.filter { wanted[$0.key] == nil }.map(\.value)
            for loop in stopped { state.loops[loop.target] = nil }
            for target in wanted.values {
                if let loop = state.loops[target] {
                    loop.setDiscovered(target.discovered)
                    loop.setFailure(excess)
                    continue
                }
                let loop = ScrapeLoop(target, config, environment)
                loop.setFailure(excess)
                state.loops[target] = loop
                started.append(loop)
            }
            return (started, stopped, problems)
        }
        for problem in Set(problems) {
            environment.log.error(
                "a target is not usable", metadata: ["job": "\(config.jobName)", "reason": "\(problem)"])
        }
        for loop in stopped { loop.stop() }
        for loop in started { loop.start() }
    }

    func snapshot() -> (active: [TargetStatus], dropped: [Labels], droppedCount: Int) {
        let (loops, dropped, count) = state.withLock { (Array($0.loops.values), $0.dropped, $0.droppedCount) }
        return (loops.map { $0.status }.sorted { $0.target.labels < $1.target.labels }, dropped, count)
    }
}
