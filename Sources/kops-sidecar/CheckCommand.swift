import ArgumentParser
import KopsSidecar
import Monitoring
import Platform

/// `check config|rules|metrics`: validates and tells all findings.
struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Validate configuration, rules or metrics.",
        subcommands: [CheckConfigCommand.self, CheckRulesCommand.self, CheckMetricsCommand.self])
}

/// `check config F…`
struct CheckConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Validate configuration files and all they name.",
        discussion: """
            Exit status 2 where any is not usable. Secrets, keys and certificates that are named and cannot be read here are
            told as warnings: they are read when they are needed.
            """)

    @Argument(help: ArgumentHelp("The files; by default /etc/kops-sidecar/kops-sidecar.yaml.", valueName: "file"))
    var files: [String] = []

    func run() async throws {
        var findings: [String] = []
        for file in files.isEmpty ? [defaultConfigurationPath] : files {
            do {
                let config = try SidecarConfig.load(file)
                for warning in config.warnings { printError("\(file): warning: \(warning)") }
                for file in config.unreadableFiles { printError(file.description) }
                let rules = config.ruleGroups.reduce(0) { $0 + $1.rules.count }
                print("\(file): valid, \(config.scrapeConfigs.count) scrape configs, \(rules) rules")
            } catch {
                findings += error.lines
            }
        }
        if !findings.isEmpty { throw CommandFailure.unusable(findings) }
    }
}

/// `check rules F…`
struct CheckRulesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rules", abstract: "Validate rule files.",
        discussion: "Exit status 1 where one is not usable. A rule that a file has twice is a warning.")

    @Argument(help: ArgumentHelp("The rule files.", valueName: "file"))
    var files: [String]

    func run() async throws {
        var findings: [String] = []
        for file in files {
            let issues = ConfigIssues()
            let groups = decodeRuleFile(file, defaultInterval: 60_000, issues: issues)
            findings += issues.all.map(\.description)
            // As for promtool, a warning: alerts of one name with other expressions are not always a mistake.
            for duplicate in duplicateRules(groups) { printError("\(file): warning: \(duplicate)") }
            if issues.all.isEmpty {
                print("\(file): \(groups.reduce(0) { $0 + $1.rules.count }) rules found")
            }
        }
        if !findings.isEmpty { throw CommandFailure.failed(findings) }
    }
}

/// `check metrics < text`
struct CheckMetricsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "metrics", abstract: "Validate metrics in the text format, read from standard input.",
        discussion: "Exit status 1 where they cannot be read, 3 where they break a convention.")

    func run() async throws {
        let bytes = try FileSystem.read("/dev/stdin", maxBytes: 256 << 20)
        let findings = lintMetrics(bytes)
        if let problem = findings.problem { throw CommandFailure.failed(problem) }
        if !findings.lint.isEmpty { throw CommandFailure(status: 3, lines: findings.lint) }
    }
}
