import ArgumentParser
import FoundationEssentials
import KopsSidecar
import MetricModel
import Platform

/// `jobs list|run|history`: the scheduler of a running sidecar.
struct JobsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "jobs", abstract: "Show and run the scheduler's jobs.",
        subcommands: [JobsListCommand.self, JobsRunCommand.self, JobsHistoryCommand.self])
}

private struct Envelope<T: Decodable>: Decodable { var data: T }

private struct JobRow: Decodable {
    var name: String
    var schedule: String
    var running: Bool
    var nextRun: String?
    var lastRun: String?
    var lastResult: String
    var lastMessage: String
}

private struct RunRow: Decodable {
    var job: String
    var startedAt: String
    var endedAt: String?
    var result: String
    var message: String
    var log: [String]?
}

struct JobsListCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "list", abstract: "List jobs and when they run next.")

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        struct Jobs: Decodable { var jobs: [JobRow] }
        let body = try await server.send("GET", "/api/kops/v1/jobs")
        guard listing.output == .table else { return try printJSON(body, listing) }
        var table = TextTable(["JOB", "SCHEDULE", "NEXT", "LAST", "RESULT", "MESSAGE"])
        for job in try decodeAnswer(Envelope<Jobs>.self, body).data.jobs {
            table.rows.append([
                job.name, job.schedule, job.running ? "running" : job.nextRun ?? "-", job.lastRun ?? "never",
                job.lastResult, job.lastMessage,
            ])
        }
        table.printOut()
    }
}

struct JobsRunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run a job now and wait for its end; exit status 1 where it fails.")

    @Argument(help: "The job's name.")
    var name: String

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let body = try await server.send("POST", "/api/kops/v1/jobs/\(percentEncoded(name))/run")
        let run = try decodeAnswer(Envelope<RunRow>.self, body).data
        if listing.output == .table {
            print("\(run.job): \(run.result): \(run.message)")
        } else {
            try printJSON(body, listing)
        }
        if run.result != "success" {
            throw CommandFailure.failed("job \(run.job) ended with \(run.result): \(run.message)")
        }
    }
}

struct JobsHistoryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "history", abstract: "List runs, the newest first.")

    @Argument(help: "Of this job only.")
    var name: String?

    @Option(help: "At most so many.")
    var limit = 20

    @Flag(help: "With each run's log.")
    var log = false

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        struct Runs: Decodable { var runs: [RunRow] }
        var form = [("limit", String(limit))]
        if let name { form.append(("job", name)) }
        let body = try await server.send("GET", "/api/kops/v1/jobs/history", form: form)
        guard listing.output == .table else { return try printJSON(body, listing) }
        var table = TextTable(["JOB", "STARTED", "ENDED", "RESULT", "MESSAGE"])
        for run in try decodeAnswer(Envelope<Runs>.self, body).data.runs {
            table.rows.append([run.job, run.startedAt, run.endedAt ?? "-", run.result, run.message])
            if log { for line in run.log ?? [] { table.rows.append(["", "", "", "", "| " + line]) } }
        }
        table.printOut()
    }
}
