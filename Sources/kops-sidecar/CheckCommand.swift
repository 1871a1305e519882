import ArgumentParser

/// `check config|rules|metrics`: validates and tells all findings.
struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Validate configuration, rules or metrics.", subcommands: [])
}
