import Glibc
import Logging
import Platform
import TestSupport
import Testing

@testable import ClusterOps

@Suite struct JobRunnerTests {
    /// A runner over a clock that only the test moves.
    private final class Bench: Sendable {
        let now = Lock<Int64>(1_000_000_000)
        let leads = Lock(true)
        let metrics = MetricRegistry()
        let directory: String
        let runner: JobRunner

        init() throws {
            directory = try temporaryDirectory()
            runner = try Self.open(directory, now, leads, metrics)
        }

        private static func open(
            _ directory: String, _ now: Lock<Int64>, _ leads: Lock<Bool>, _ metrics: MetricRegistry
        ) throws -> JobRunner {
            try JobRunner(
                path: directory + "/jobs.sqlite", clock: WallClock { now.withLock { $0 } }, metrics: metrics,
                log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, isLeader: { leads.withLock { $0 } })
        }

        func again() throws -> JobRunner { try Self.open(directory, now, leads, metrics) }

        deinit { try? FileSystem.removeTree(directory) }

        func advance(_ milliseconds: Int64) { now.withLock { $0 += milliseconds } }
    }

    @Test func runsOnTimeNeverTwiceAtOnceAndKeepsTheLog() async throws {
        let bench = try Bench()
        let running = Lock((now: 0, most: 0, count: 0))
        let gate = Lock(false)
        let job = Job(name: "slow", schedule: try Schedule("every 1m")) { context in
            running.withLock {
                $0.now += 1
                $0.most = max($0.most, $0.now)
                $0.count += 1
            }
            context.log("first line")
            while !gate.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(10)) }
            running.withLock { $0.now -= 1 }
            return "fine"
        }
        bench.runner.apply([job])
        let service = Task { try await bench.runner.run() }
        bench.advance(61_000)
        try await eventually("it runs") { running.withLock { $0.count } == 1 }
        bench.advance(61_000)
        await #expect(throws: JobError.self) { try await bench.runner.trigger("slow") }
        try await eventually("the next is skipped") {
            String(decoding: bench.metrics.expose(), as: UTF8.self)
                .contains("kops_job_skipped_total{job=\"slow\",reason=\"running\"} 1")
        }
        gate.withLock { $0 = true }
        try await eventually("it has ended") {
            (try? bench.runner.history("slow", limit: 9))?.first?.result == .success
        }
        let run = try #require(try bench.runner.history("slow", limit: 9).last)
        #expect(run.log == ["first line"])
        #expect(run.message == "fine")
        #expect(running.withLock { $0.most } == 1)
        service.cancel()
        try await service.value
    }

    /// Whoever sees a run's end may ask for the next one at once, though the first is still being written down.
    @Test func aRunThatIsJustEndingKeepsNobodyFromTheNext() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileSystem.removeTree(directory) }
        let ends = Lock(0)
        let asked = Lock<Task<JobRun, any Error>?>(nil)
        let runner = Lock<JobRunner?>(nil)
        let made = try JobRunner(
            path: directory + "/jobs.sqlite", clock: .system, metrics: MetricRegistry(), log: quietLogger(),
            ended: { _ in
                let isFirst = ends.withLock { count in
                    count += 1
                    return count == 1
                }
                guard isFirst, let runner = runner.withLock({ $0 }) else { return }
                asked.withLock { $0 = Task { try await runner.trigger("job") } }
                // Until it was asked for.
                usleep(200_000)
            })
        runner.withLock { $0 = made }
        defer { runner.withLock { $0 = nil } }
        let calls = Lock(0)
        made.apply([
            Job(name: "job", schedule: nil) { _ in
                let call = calls.withLock { calls in
                    calls += 1
                    return calls
                }
                return "call \(call)"
            }
        ])
        #expect(try await made.trigger("job").message == "call 1")
        let second = try #require(asked.withLock { $0 })
        #expect(try await second.value.message == "call 2")
        #expect(try made.history("job", limit: 9).map(\.message) == ["call 2", "call 1"])
        try await eventually("nothing runs") { !made.list()[0].running }
    }

    /// A service that ends must not wait here for a job that nobody has told to end yet.
    @Test func whoWaitsForARunMayLeaveAndItGoesOn() async throws {
        let bench = try Bench()
        let (gate, begun) = (Lock(false), Lock(false))
        bench.runner.apply([
            Job(name: "long", schedule: nil) { _ in
                begun.withLock { $0 = true }
                while !gate.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(10)) }
                return "done"
            }
        ])
        let waiting = Task { try await bench.runner.trigger("long") }
        try await eventually("it runs") { begun.withLock { $0 } }
        waiting.cancel()
        await #expect(throws: CancellationError.self) { try await waiting.value }
        #expect(bench.runner.list()[0].running)
        gate.withLock { $0 = true }
        try await eventually("it has ended") { !bench.runner.list()[0].running }
        #expect(try bench.runner.history("long", limit: 1).first?.message == "done")
    }

    /// A run goes on when a reload takes its job away; back again it is not begun twice, and an end waits for it.
    @Test func aReloadLosesNoRun() async throws {
        let bench = try Bench()
        let gate = Lock(false)
        let (most, ended) = (Lock((now: 0, most: 0)), Lock(0))
        let job = Job(name: "long", schedule: nil) { _ in
            most.withLock { $0 = ($0.now + 1, max($0.most, $0.now + 1)) }
            while !gate.withLock({ $0 }) { try? await Task.sleep(for: .milliseconds(10)) }
            most.withLock { $0.now -= 1 }
            ended.withLock { $0 += 1 }
            return "done"
        }
        bench.runner.apply([job])
        let service = Task { try await bench.runner.run() }
        let run = Task { try await bench.runner.trigger("long") }
        try await eventually("it runs") { most.withLock { $0.now } == 1 }
        bench.runner.apply([])
        bench.runner.apply([job])
        await #expect(throws: JobError.self) { try await bench.runner.trigger("long") }
        bench.runner.apply([])
        service.cancel()
        #expect(ended.withLock { $0 } == 0)
        gate.withLock { $0 = true }
        try await service.value
        #expect(ended.withLock { $0 } == 1 && most.withLock { $0.most } == 1)
        #expect(try await run.value.message == "done")
    }

    @Test func retriesWithinItsCountAndTimesOut() async throws {
        let bench = try Bench()
        let calls = Lock(0)
        var flaky = Job(name: "flaky", schedule: nil) { _ in
            let call = calls.withLock { calls -> Int in
                calls += 1
                return calls
            }
            if call < 3 { throw JobError("not yet") }
            return "at last"
        }
        flaky.retries = 5
        flaky.retryDelay = 1
        var hanging = Job(name: "hanging", schedule: nil) { _ in
            try await Task.sleep(for: .seconds(600))
            return ""
        }
        hanging.timeout = 100
        bench.runner.apply([flaky, hanging])
        #expect(try await bench.runner.trigger("flaky").result == .success)
        let runs = try bench.runner.history("flaky", limit: 9)
        #expect(runs.map(\.result) == [.success, .failure, .failure])
        #expect(runs.map(\.attempt) == [2, 1, 0])
        #expect(runs.allSatisfy { $0.onDemand })
        #expect(try await bench.runner.trigger("hanging").result == .timeout)
        await #expect(throws: JobError.self) { try await bench.runner.trigger("unknown") }
    }

    @Test func aClustersJobWaitsForALeaderAndANodesDoesNot() async throws {
        let bench = try Bench()
        bench.leads.withLock { $0 = false }
        let done = Lock<[String]>([])
        func job(_ name: String, _ scope: Job.Scope) throws -> Job {
            var job = Job(name: name, schedule: try Schedule("every 1h")) { _ in
                done.withLock { $0.append(name) }
                return ""
            }
            job.scope = scope
            return job
        }
        bench.runner.apply([try job("node", .node), try job("cluster", .cluster)])
        let service = Task { try await bench.runner.run() }
        bench.advance(3_600_000)
        try await eventually("the node's runs") { done.withLock { $0 } == ["node"] }
        // The leader has gone before it could run it; this one takes over.
        bench.advance(20_000)
        bench.leads.withLock { $0 = true }
        try await eventually("the cluster's is taken over") { done.withLock { $0 } == ["node", "cluster"] }
        // Led elsewhere for good: not run here, later either.
        bench.leads.withLock { $0 = false }
        bench.advance(3_600_000)
        try await eventually("the node's runs again") { done.withLock { $0.count } == 3 }
        bench.advance(400_000)
        try await eventually("it is given up") {
            String(decoding: bench.metrics.expose(), as: UTF8.self)
                .contains("kops_job_skipped_total{job=\"cluster\",reason=\"not_leader\"} 1")
        }
        bench.leads.withLock { $0 = true }
        try await Task.sleep(for: .milliseconds(300))
        #expect(done.withLock { $0 } == ["node", "cluster", "node"])
        service.cancel()
        try await service.value
    }

    @Test func aRunThatWasCutOffIsKnownAfterARestart() async throws {
        let bench = try Bench()
        let begun = Lock(false)
        let job = Job(name: "cut", schedule: try Schedule("every 1m")) { _ in
            begun.withLock { $0 = true }
            try await Task.sleep(for: .seconds(600))
            return ""
        }
        bench.runner.apply([job])
        let service = Task { try await bench.runner.run() }
        bench.advance(61_000)
        try await eventually("it has begun") { begun.withLock { $0 } }
        // As after a kill: another process opens the same journal.
        let again = try bench.again()
        #expect(try again.history("cut", limit: 1).first?.result == .interrupted)
        service.cancel()
        try await service.value
    }
}
