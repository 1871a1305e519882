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
    /// A random part of this many milliseconds is added to each time of the schedule.
    package var jitter: Int64 = 0
    /// A scheduled run that falls outside waits until it opens.
    package var window: MaintenanceWindow?
    /// Asked once when the service starts: true where something was cut off that cannot wait for the schedule.
    package var isDueAtStart: (@Sendable () -> Bool)?
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
        var timer: JobTimer
        /// A cluster's job that was due while another sidecar led: this one takes it where it becomes the leader soon.
        var waitingSince: Int64?
    }

    private struct Running {
        let id: UInt64
        let task: Task<JobRun?, Never>
        /// What it did is done, and is being written down: who sees that may ask for the next run at once.
        var isOver = false
    }

    private struct State {
        var entries: [String: Entry] = [:]
        /// By job; also of jobs that the configuration no longer has.
        var running: [String: Running] = [:]
        var begun: UInt64 = 0
        var isEnding = false
    }

    /// How long after its time a cluster's job is taken over from a leader that has gone.
    private static let takeOverTime: Int64 = 300_000
    private static let maxLogBytes = 64 << 10

    private let journal: JobJournal
    private let clock: WallClock
    private let metrics: MetricRegistry
    private let log: Logger
    private let isLeader: @Sendable () -> Bool
    /// Told of each run that has ended.
    private let ended: @Sendable (JobRun) -> Void
    private let state = Lock(State())

    /// Opens the journal of runs. Throws where the file cannot be used.
    package init(
        path: String, clock: WallClock, metrics: MetricRegistry, log: Logger,
        isLeader: @escaping @Sendable () -> Bool = { true },
        ended: @escaping @Sendable (JobRun) -> Void = { _ in }
    ) throws {
        self.ended = ended
        journal = try JobJournal(path: path, care: StateFile.Care(clock: clock, metrics: metrics, log: log))
        self.clock = clock
        self.metrics = metrics
        self.log = log
        self.isLeader = isLeader
        try journal.markInterrupted(at: clock.nowMilliseconds())
    }

    /// Puts the journal's file in order, once nothing runs any more.
    package func close() async { _ = try? await WorkerPool.blocking.run { [journal] in journal.close() } }

    /// Replaces all jobs; runs under way go on.
    package func apply(_ jobs: [Job]) {
        let now = clock.nowMilliseconds()
        let isFirst = state.withLock { $0.entries.isEmpty }
        var entries: [String: Entry] = [:]
        for job in jobs {
            let last = try? journal.lastRun(job.name)
            let timer = JobTimer(
                job.schedule, window: job.window, jitter: job.jitter, now: now, lastStart: last?.startedAt,
                isDue: isFirst && job.isDueAtStart?() ?? false)
            entries[job.name] = Entry(job: job, timer: timer)
            if let last { publish(job.name, last) }
        }
        state.withLock { $0.entries = entries }
    }

    /// Starts what is due until the task is cancelled, then waits for runs under way.
    package func run() async throws {
        while !Task.isCancelled {
            let now = clock.nowMilliseconds()
            for job in due(now) where start(job, onDemand: false) == nil { skipped(job, "running") }
            let soonest = state.withLock { $0.entries.values.compactMap(\.timer.due).min() }
            let wait = min(max((soonest ?? .max) - clock.nowMilliseconds(), 50), 1000)
            try? await Task.sleep(for: .milliseconds(wait))
        }
        let running = state.withLock { state in
            state.isEnding = true
            return state.running.values.map(\.task)
        }
        for task in running { task.cancel() }
        for task in running { _ = await task.value }
    }

    /// What is to begin now. A cluster's job that is due elsewhere is remembered for a while.
    private func due(_ now: Int64) -> [Job] {
        let leads = isLeader()
        var passed: [Job] = []
        let due = state.withLock { state -> [Job] in
            var due: [Job] = []
            for name in state.entries.keys.sorted() {
                guard var entry = state.entries[name] else { continue }
                let isDue = entry.timer.isDue(now: now)
                if entry.job.scope == .node || leads {
                    if isDue || entry.waitingSince != nil { due.append(entry.job) }
                    entry.waitingSince = nil
                } else if isDue {
                    entry.waitingSince = now
                } else if let since = entry.waitingSince, now - since > Self.takeOverTime || now < since {
                    entry.waitingSince = nil
                    passed.append(entry.job)
                }
                state.entries[name] = entry
            }
            return due
        }
        for job in passed { skipped(job, "not_leader") }
        return due
    }

    private func skipped(_ job: Job, _ reason: String) {
        metrics.counter(
            "kops_job_skipped_total", "Times of a job's schedule at which it did not begin here, by reason.",
            labels: [("job", job.name), ("reason", reason)]
        ).add()
        log.debug("job skipped", metadata: ["job": "\(job.name)", "reason": "\(reason)"])
    }

    /// Runs a job now and waits for its end. Throws where there is no such job or it is under way, and as soon as the caller is told
    /// to end: the run goes on then.
    package func trigger(_ name: String) async throws -> JobRun {
        let (known, job) = state.withLock { ($0.entries.keys.sorted(), $0.entries[name]?.job) }
        guard let job else {
            throw JobError("there is no job \"\(name)\"; there are: \(known.joined(separator: ", "))")
        }
        guard let task = start(job, onDemand: true) else {
            throw JobError(
                state.withLock { $0.isEnding } ? "the sidecar is ending" : "job \(name) is running already")
        }
        let (ends, end) = AsyncStream<JobRun?>.makeStream()
        Task {
            end.yield(await task.value)
            end.finish()
        }
        for await run in ends {
            guard let run else { throw JobError("job \(name) was ended before it began") }
            return run
        }
        throw CancellationError()
    }

    package func list() -> [JobStatus] {
        state.withLock { state in
            state.entries.values.map { entry in
                JobStatus(
                    name: entry.job.name, schedule: entry.job.schedule?.description ?? "",
                    running: state.running[entry.job.name] != nil, nextRun: entry.timer.due, lastRun: nil)
            }
        }.map { status in
            var status = status
            status.lastRun = try? journal.lastRun(status.name)
            return status
        }.sorted { $0.name < $1.name }
    }

    package func history(_ name: String?, limit: Int) throws -> [JobRun] { try journal.runs(name, limit: limit) }

    /// Nil where it is under way. A run that is only being written down is waited for.
    private func start(_ job: Job, onDemand: Bool) -> Task<JobRun?, Never>? {
        state.withLock { state in
            let before = state.running[job.name]
            guard !state.isEnding, state.entries[job.name] != nil, before?.isOver ?? true else { return nil }
            state.begun += 1
            let id = state.begun
            let task = Task { [self] in
                _ = await before?.task.value
                let run = await execute(job, onDemand: onDemand)
                self.state.withLock { if $0.running[job.name]?.id == id { $0.running[job.name] = nil } }
                return run
            }
            state.running[job.name] = Running(id: id, task: task)
            return task
        }
    }

    /// The last attempt; nil where it was cancelled before there was one.
    private func execute(_ job: Job, onDemand: Bool) async -> JobRun? {
        var attempt = 0
        var last: JobRun?
        while !Task.isCancelled {
            let lines = Lock<(kept: [String], bytes: Int)>(([], 0))
            let started = clock.nowMilliseconds()
            var id: Int64?
            do {
                id = try journal.begin(job.name, at: started, onDemand: onDemand, attempt: attempt)
            } catch {
                log.error("a run cannot be written down", metadata: ["job": "\(job.name)", "error": "\(error)"])
            }
            log.info("job started", metadata: ["job": "\(job.name)"])
            let context = JobContext(onDemand: onDemand) { line in
                lines.withLock { lines in
                    guard lines.bytes < Self.maxLogBytes else { return }
                    let line = String(line.prefix(2000))
                    lines.kept.append(line)
                    lines.bytes += line.utf8.count
                    if lines.bytes >= Self.maxLogBytes { lines.kept.append("(the rest is left out)") }
                }
            }
            let (result, message) = await outcome(job, context)
            let run = JobRun(
                job: job.name, startedAt: started, endedAt: clock.nowMilliseconds(), result: result, message: message,
                log: lines.withLock { $0.kept }, onDemand: onDemand, attempt: attempt)
            last = run
            let isOver = result == .success || attempt >= job.retries || Task.isCancelled
            if isOver { state.withLock { $0.running[job.name]?.isOver = true } }
            if let id { try? journal.end(id, run) }
            ended(run)
            publish(job.name, run)
            metrics.counter(
                "kops_job_runs_total", "Runs of jobs, by result.",
                labels: [("job", job.name), ("result", result.rawValue)]
            ).add()
            if result == .success {
                log.info("job done", metadata: ["job": "\(job.name)", "result": "\(message)"])
                return run
            }
            // Told to end, as when the service goes down, is no failure to be woken by.
            let (level, what): (Logger.Level, Logger.Message) =
                Task.isCancelled ? (.notice, "job broken off") : (.error, "job failed")
            log.log(level: level, what, metadata: ["job": "\(job.name)", "error": "\(message)"])
            if isOver { return run }
            try? await Task.sleep(for: .milliseconds(job.retryDelay << Int64(min(attempt, 6))))
            attempt += 1
        }
        return last
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
        if let end = run.endedAt {
            metrics.gauge(
                "kops_job_last_duration_seconds", "How long a job's last run took.", labels: [("job", name)]
            ).set(Double(max(0, end - run.startedAt)) / 1000)
        }
    }
}

package struct JobError: Error, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}
