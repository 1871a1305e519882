package import Logging
package import Platform

/// What a job does; it may be called again for a retry.
package struct Job: Sendable {
    package enum Scope: String, Sendable {
        /// About this node alone: never waits for a leader.
        case node
        /// About the whole cluster: only the leader runs it.
        case cluster
    }

    package var name: String
    /// Nil for a job that runs only when asked to.
    package var schedule: Schedule?
    package var scope = Scope.node
    /// Milliseconds.
    package var timeout: Int64 = 3_600_000
    /// A random part of this many milliseconds is waited before a scheduled run.
    package var jitter: Int64 = 0
    package var retries = 0
    /// Before the first retry; doubled each time.
    package var retryDelay: Int64 = 30_000
    package var run: @Sendable (JobContext) async throws -> String

    /// `run` returns one line that says what came of it.
    package init(name: String, schedule: Schedule?, run: @escaping @Sendable (JobContext) async throws -> String) {
        self.name = name
        self.schedule = schedule
        self.run = run
    }
}

/// What a running job is given.
package struct JobContext: Sendable {
    /// Whether it runs because somebody asked, not because it was time.
    package let onDemand: Bool
    /// Adds a line to the run's log, which is kept with the run.
    package let log: @Sendable (String) -> Void
}

package struct JobStatus: Sendable {
    package var name: String
    package var schedule: String
    package var running: Bool
    /// Milliseconds since 1970 UTC; nil where there is none.
    package var nextRun: Int64?
    package var lastRun: JobRun?
}

/// Runs jobs on their schedules, one run of a job at a time, and writes every run down before it starts. A run that was
/// due while the sidecar was away is made up for once. Thread-safe.
package final class JobRunner: Sendable {
    private struct Entry {
        var job: Job
        var next: Int64?
        var task: Task<Void, Never>?
    }

    private let journal: JobJournal
    private let clock: WallClock
    private let metrics: MetricRegistry
    private let log: Logger
    private let isLeader: @Sendable () -> Bool
    private let state = Lock<[String: Entry]>([:])

    /// Opens the journal of runs. Throws where the file cannot be used.
    package init(
        path: String, clock: WallClock, metrics: MetricRegistry, log: Logger,
        isLeader: @escaping @Sendable () -> Bool = { true }
    ) throws {
        journal = try JobJournal(path: path)
        self.clock = clock
        self.metrics = metrics
        self.log = log
        self.isLeader = isLeader
        try journal.markInterrupted(at: clock.nowMilliseconds())
    }

    /// Replaces all jobs; runs under way go on.
    package func apply(_ jobs: [Job]) {
        let now = clock.nowMilliseconds()
        var entries: [String: Entry] = [:]
        for job in jobs {
            let last = try? journal.lastRun(job.name)
            var next = job.schedule?.next(after: now)
            // Missed while away: made up for now, once.
            if let last, let due = job.schedule?.next(after: last.startedAt), due < now { next = now }
            entries[job.name] = Entry(job: job, next: next)
            if let last { publish(job.name, last) }
        }
        state.withLock { state in
            for name in entries.keys { entries[name]?.task = state[name]?.task }
            state = entries
        }
    }

    /// Starts what is due until the task is cancelled, then waits a little for runs under way.
    package func run() async throws {
        while !Task.isCancelled {
            let now = clock.nowMilliseconds()
            let due = state.withLock { state -> [Job] in
                var due: [Job] = []
                for (name, entry) in state {
                    guard let next = entry.next else { continue }
                    let jumped = next > now + 400 * 86_400_000
                    guard next <= now || jumped else { continue }
                    state[name]?.next = entry.job.schedule?.next(after: now)
                    if next <= now, entry.task == nil { due.append(entry.job) }
                }
                return due
            }
            for job in due where job.scope == .node || isLeader() { start(job, onDemand: false) }
            let soonest = state.withLock { $0.values.compactMap(\.next).min() }
            let wait = min(max((soonest ?? .max) - clock.nowMilliseconds(), 50), 1000)
            try? await Task.sleep(for: .milliseconds(wait))
        }
        let running = state.withLock { $0.values.compactMap(\.task) }
        for task in running { task.cancel() }
        for task in running { await task.value }
    }

    /// Runs a job now and waits for its end. Throws where there is no such job or it is under way.
    package func trigger(_ name: String) async throws -> JobRun {
        let job = state.withLock { $0[name].map { ($0.job, $0.task != nil) } }
        guard let job else {
            let known = state.withLock { $0.keys.sorted().joined(separator: ", ") }
            throw JobError("there is no job \"\(name)\"; there are: \(known)")
        }
        if job.1 { throw JobError("job \(name) is running already") }
        await start(job.0, onDemand: true)?.value
        guard let run = try journal.lastRun(name) else { throw JobError("job \(name) left no record of its run") }
        return run
    }

    package func list() -> [JobStatus] {
        state.withLock { state in
            state.values.map { entry in
                JobStatus(
                    name: entry.job.name, schedule: entry.job.schedule?.description ?? "", running: entry.task != nil,
                    nextRun: entry.next, lastRun: nil)
            }
        }.map { status in
            var status = status
            status.lastRun = try? journal.lastRun(status.name)
            return status
        }.sorted { $0.name < $1.name }
    }

    package func history(_ name: String?, limit: Int) throws -> [JobRun] { try journal.runs(name, limit: limit) }

    @discardableResult
    private func start(_ job: Job, onDemand: Bool) -> Task<Void, Never>? {
        state.withLock { state in
            guard state[job.name] != nil, state[job.name]?.task == nil else { return nil }
            let task = Task { [self] in
                await execute(job, onDemand: onDemand)
                self.state.withLock { $0[job.name]?.task = nil }
            }
            state[job.name]?.task = task
            return task
        }
    }

    private func execute(_ job: Job, onDemand: Bool) async {
        if job.jitter > 0, !onDemand {
            try? await Task.sleep(for: .milliseconds(Int64.random(in: 0...job.jitter)))
        }
        var attempt = 0
        while !Task.isCancelled {
            let lines = Lock<[String]>([])
            let started = clock.nowMilliseconds()
            var id: Int64?
            do {
                id = try journal.begin(job.name, at: started, onDemand: onDemand, attempt: attempt)
            } catch {
                log.error("a run cannot be written down", metadata: ["job": "\(job.name)", "error": "\(error)"])
            }
            log.info("job started", metadata: ["job": "\(job.name)"])
            let context = JobContext(onDemand: onDemand) { line in
                lines.withLock { if $0.count < 1000 { $0.append(String(line.prefix(2000))) } }
            }
            let (result, message) = await outcome(job, context)
            let run = JobRun(
                job: job.name, startedAt: started, endedAt: clock.nowMilliseconds(), result: result, message: message,
                log: lines.withLock { $0 }, onDemand: onDemand)
            if let id { try? journal.end(id, run) }
            publish(job.name, run)
            metrics.counter(
                "kops_job_runs_total", "Runs of jobs, by result.",
                labels: [("job", job.name), ("result", result.rawValue)]
            ).add()
            if result == .success {
                log.info("job done", metadata: ["job": "\(job.name)", "result": "\(message)"])
                return
            }
            log.error("job failed", metadata: ["job": "\(job.name)", "error": "\(message)"])
            if attempt >= job.retries { return }
            try? await Task.sleep(for: .milliseconds(job.retryDelay << Int64(min(attempt, 6))))
            attempt += 1
        }
    }

    /// Runs the job within its timeout.
    private func outcome(_ job: Job, _ context: JobContext) async -> (JobRun.Result, String) {
        await withTaskGroup(of: (JobRun.Result, String).self) { group in
            group.addTask {
                do {
                    return (.success, try await job.run(context))
                } catch is CancellationError {
                    return (.interrupted, "interrupted")
                } catch {
                    return (.failure, "\(error)")
                }
            }
            group.addTask {
                try? await Task.sleep(for: .milliseconds(job.timeout))
                return (.timeout, "took longer than \(job.timeout / 1000) s")
            }
            let first = await group.next() ?? (.failure, "did not run")
            group.cancelAll()
            if first.0 == .timeout, Task.isCancelled { return await group.next() ?? (.interrupted, "interrupted") }
            return first
        }
    }

    private func publish(_ name: String, _ run: JobRun) {
        guard run.result != .running else { return }
        metrics.gauge(
            "kops_job_last_run_timestamp_seconds", "When a job last ended.", labels: [("job", name)]
        ).set(Double(run.endedAt ?? run.startedAt) / 1000)
        metrics.gauge(
            "kops_job_last_result", "Whether a job's last run went well (1) or not (0).", labels: [("job", name)]
        ).set(run.result == .success ? 1 : 0)
    }
}

package struct JobError: Error, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
