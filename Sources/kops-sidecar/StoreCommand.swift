import ArgumentParser
import KopsSidecar
import Logging
import MetricModel
import Platform
import TSDB

/// `store stats|check|compact|export|import`: the time-series store of a stopped sidecar.
struct StoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store",
        abstract: "Look at, check, compact, export and fill a stopped sidecar's time-series store.",
        subcommands: [
            StoreStatsCommand.self, StoreCheckCommand.self, StoreCompactCommand.self, StoreExportCommand.self,
            StoreImportCommand.self,
        ])
}

struct StoreOptionGroup: ParsableArguments {
    @Option(help: ArgumentHelp("The store's directory.", valueName: "directory"))
    var dataDir: String?

    @Option(help: ArgumentHelp("The configuration file that names it.", valueName: "file"))
    var config: String?

    /// The directory itself.
    func path() throws -> String {
        if let dataDir { return dataDir }
        do {
            return try SidecarConfig.load(try configurationPath(config)).storage.path
        } catch {
            throw CommandFailure.unusable((error as? ConfigProblems)?.lines ?? ["\(error)"])
        }
    }

    /// `create`: makes the directory where it is missing.
    func open(readOnly: Bool, create: Bool = false) throws -> Store {
        let path = try path()
        guard create || FileSystem.exists(path) else { throw CommandFailure.unusable("there is no directory \(path)") }
        // A directory of something else must not look like a store that is in order.
        let isStore =
            FileSystem.exists(path + "/lock")
            || ["day", "log"].contains { !FileSystem.glob("\(path)/\($0)-*.sqlite").isEmpty }
        if !create, !isStore, (try? FileSystem.status(path))?.isDirectory == true {
            throw CommandFailure.unusable("\(path) holds no time series: no sidecar has used it")
        }
        var options = StoreOptions(path: path)
        options.readOnly = readOnly
        let log = Logger(label: "store") { LineLogHandler(label: $0, level: .error, format: .logfmt) }
        do {
            return try Store(options: options, metrics: MetricRegistry(), log: log)
        } catch {
            if error.code == .locked {
                throw CommandFailure.refused("\(error); stop the service first")
            }
            throw CommandFailure.failed("\(error)")
        }
    }
}

struct StoreStatsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "stats", abstract: "Tell what the store holds.")

    @OptionGroup var store: StoreOptionGroup
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let store = try store.open(readOnly: true)
        defer { store.abandon() }
        let stats = store.stats(limit: 10)
        try printListing(
            listing, columns: ["FILE", "FROM", "TO", "SERIES", "BYTES"],
            rows: stats.files.map {
                [
                    $0.name, formatRFC3339($0.minTime, fraction: false), formatRFC3339($0.maxTime, fraction: false),
                    String($0.series), sizeText($0.bytes),
                ]
            }
        ) { writer in
            writer.object { writer in
                writer.key("headSeries")
                writer.int(stats.headSeries)
                writer.key("headSamples")
                writer.int(stats.headSamples)
                writer.key("files")
                writer.array(stats.files) { writer, file in
                    writer.object { writer in
                        writer.key("name")
                        writer.string(file.name)
                        writer.key("bytes")
                        writer.int(file.bytes)
                        writer.key("series")
                        writer.int(file.series)
                        writer.key("minTime")
                        writer.int(file.minTime)
                        writer.key("maxTime")
                        writer.int(file.maxTime)
                    }
                }
            }
        }
    }
}

struct StoreCheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Read the whole store and tell what is damaged; exit status 1 where anything is.")

    @OptionGroup var store: StoreOptionGroup

    func run() async throws {
        let store = try store.open(readOnly: true)
        defer { store.abandon() }
        let findings = store.check()
        if findings.isEmpty { return print("nothing is damaged") }
        throw CommandFailure.failed(findings.map(\.description))
    }
}

struct StoreCompactCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compact", abstract: "Write what is open to its day's file and give free pages back to the disk.")

    @OptionGroup var store: StoreOptionGroup

    func run() async throws {
        try await audited("store compact") { note in
            note.directory = try store.path()
            let store = try store.open(readOnly: false)
            defer { store.close() }
            try store.compact()
        }
    }
}
