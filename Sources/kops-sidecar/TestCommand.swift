import ArgumentParser
import FoundationEssentials
import KopsSidecar
import MetricModel
import Monitoring
import Platform
import PromQL

/// `test promql|rules|routes|template`.
struct TestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test", abstract: "Test rules, PromQL, routes and templates.",
        subcommands: [
            TestRulesCommand.self, TestPromQLCommand.self, TestRoutesCommand.self, TestTemplateCommand.self,
        ])
}

/// `test promql F…`
struct TestPromQLCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "promql", abstract: "Run scripts in Prometheus' PromQL test language.")

    @Argument(help: ArgumentHelp("The scripts.", valueName: "file"))
    var files: [String]

    func run() async throws {
        var passed = 0
        var failures: [String] = []
        for file in files {
            let text: String
            do {
                text = try FileSystem.readText(file)
            } catch {
                throw CommandFailure.unusable("\(error)")
            }
            let outcome = PromQLScript.run(file: file, text: text)
            passed += outcome.passed
            failures += outcome.failures.map(\.description)
        }
        for failure in failures { print(failure) }
        print("\(passed) passed, \(failures.count) failed")
        if !failures.isEmpty { throw CommandFailure(status: 1, lines: []) }
    }
}

/// `test rules F…`
struct TestRulesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rules", abstract: "Run unit tests of rules, in promtool's file format.")

    @Argument(help: ArgumentHelp("The test files.", valueName: "file"))
    var files: [String]

    @Option(help: ArgumentHelp("Only groups whose name matches.", valueName: "pattern"))
    var run: [String] = []

    @Flag(help: "The files are rule files: tell when their alerts would have fired over stored samples.")
    var againstHistory = false

    @OptionGroup(title: "Against history") var backtest: BacktestOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        if againstHistory { return try await backtest.run(files, listing) }
        if backtest.isGiven {
            throw CommandFailure.unusable("--from, --to, --data-dir and --url need --against-history")
        }
        var failed: [String] = []
        for file in files {
            print("Unit Testing:  \(file)")
            let outcome = RuleUnitTest.run(file, groups: run)
            for warning in outcome.warnings { print("  WARNING: \(warning)") }
            if outcome.problems.isEmpty {
                print("  SUCCESS")
            } else {
                print("  FAILED:")
                for problem in outcome.problems { print("    \(problem)") }
                failed.append(file)
            }
            print("")
        }
        if !failed.isEmpty { throw CommandFailure(status: 1, lines: []) }
    }
}

/// `test routes F`
struct TestRoutesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "routes", abstract: "Tell which receivers an alert would reach.",
        discussion: "The file is an alertmanager.yml or the sidecar's own configuration.")

    @Argument(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var file: String

    @Argument(help: ArgumentHelp("The alert's labels: severity=critical …", valueName: "label"))
    var labels: [String] = []

    @Option(
        help: ArgumentHelp(
            "Receivers that it should reach, comma-separated; exit status 1 where not.", valueName: "receivers"))
    var verifyReceivers: String?

    @Option(
        parsing: .unconditional,
        help: "The moment, for mute and active time intervals: RFC 3339, Unix seconds, now, or -1h."
    )
    var at: String?

    func run() async throws {
        let config = try loadNotifications(file)
        var pairs: [(String, String)] = []
        for label in labels {
            let parts = label.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2 else { throw CommandFailure.unusable("\"\(label)\" is no label: write NAME=VALUE") }
            pairs.append((String(parts[0]), String(parts[1]).trimmingQuotes))
        }
        let core = NotificationCore(config: config.alertmanager, now: 0)
        var reached = core.receivers(of: Labels(pairs))
        if let at {
            let moment = try parseTimeArgument(at, now: WallClock.system.nowMilliseconds())
            let routes = core.routes(of: Labels(pairs), at: moment)
            reached = []
            for route in routes where route.mutedBy.isEmpty && !reached.contains(route.receiver) {
                reached.append(route.receiver)
            }
            for route in routes where !route.mutedBy.isEmpty {
                printError("\(route.receiver) is quiet at that time: \(route.mutedBy.joined(separator: ", "))")
            }
        }
        print(reached.joined(separator: ","))
        if let verifyReceivers, verifyReceivers != reached.joined(separator: ",") {
            throw CommandFailure.failed("WARNING: Expected receivers did not match resolved receivers.")
        }
    }
}

/// The notifications of an alertmanager.yml, or of the sidecar's own file.
func loadNotifications(_ file: String) throws -> NotificationsConfig {
    let issues = ConfigIssues()
    do {
        guard let node = try ConfigNode.read(file: file), let section = ConfigSection(node, issues) else {
            throw CommandFailure.unusable("\(file) is empty")
        }
        if section.keys.contains("route") || section.keys.contains("receivers") {
            if let config = decodeNotifications(section) { return config }
            throw CommandFailure.unusable(issues.all.map(\.description))
        }
        guard let config = try SidecarConfig.load(file).notifications else {
            throw CommandFailure.unusable("\(file) configures no notifications")
        }
        return config
    } catch let issue as ConfigIssue {
        throw CommandFailure.unusable(issue.description)
    } catch let problems as ConfigProblems {
        throw CommandFailure.unusable(problems.lines)
    }
}

extension String {
    fileprivate var trimmingQuotes: String {
        count > 1 && hasPrefix("\"") && hasSuffix("\"") ? String(dropFirst().dropLast()) : self
    }
}

/// `test template TEXT`
struct TestTemplateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "template", abstract: "Render a notification template with an example alert.")

    @Argument(help: "The text, such as '{{ template \"slack.default.title\" . }}'.")
    var text: String

    @Option(help: ArgumentHelp("Template files.", valueName: "file"))
    var templates: [String] = []

    @Flag(help: "Render as HTML.")
    var html = false

    func run() async throws {
        do {
            let texts = try templates.map { (name: FileSystem.name(of: $0), text: try FileSystem.readText($0)) }
            let now = WallClock.system.nowMilliseconds()
            let alert = RoutedAlert(
                labels: Labels([
                    ("alertname", "ExampleAlert"), ("instance", "node-1:9100"), ("job", "node"),
                    ("severity", "warning"),
                ]),
                annotations: Labels([("summary", "An example"), ("description", "Made to try a template")]),
                startsAt: now - 300_000, endsAt: now + 300_000, generatorURL: "http://127.0.0.1:9640/graph",
                updatedAt: now, timesOut: false)
            let data = NotificationData(
                receiver: "example", groupKey: "{}:{alertname=\"ExampleAlert\"}",
                groupLabels: Labels([("alertname", "ExampleAlert")]),
                alerts: [NotifiedAlert(alert: alert, resolved: false)], externalURL: "http://127.0.0.1:9640")
            print(try NotificationTemplates(texts).render(text, html: html, data))
        } catch {
            throw CommandFailure.failed("\(error)")
        }
    }
}
