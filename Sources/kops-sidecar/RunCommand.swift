import ArgumentParser
import KopsSidecar
import Logging
import Platform

/// `run`: the service.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Run the service until it is told to stop.",
        discussion: "SIGHUP reads the configuration again, SIGTERM and SIGINT end the service.")

    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("Keep data here instead of storage.path.", valueName: "directory"))
    var dataDir: String?

    @Option(help: ArgumentHelp("Listen here instead of http.listen.", valueName: "host:port"))
    var listen: String?

    @Flag(help: "Allow listening beyond loopback without authentication.")
    var insecureListen = false

    @Flag(help: "Take samples at /api/v1/write (remote write 1.0).")
    var enableRemoteWriteReceiver = false

    @Flag(name: .customLong("enable-admin-api"), help: "Take deletions and snapshots at /api/v1/admin/tsdb/.")
    var enableAdminAPI = false

    func run() async throws {
        ProcessMemory.keepForQueries()
        var options = RunOptions()
        options.configPath = try configurationPath(config)
        options.dataDirectory = dataDir
        options.insecureListen = insecureListen
        options.enableRemoteWriteReceiver = enableRemoteWriteReceiver
        options.enableAdminAPI = enableAdminAPI
        if let listen {
            guard parseListenAddress(listen) != nil else {
                throw CommandFailure.unusable(
                    "--listen must be HOST:PORT such as 127.0.0.1:9640, not \"\(listen)\"")
            }
            options.listen = listen
        }
        do {
            let service = try await SidecarService(options) { config in
                let level = Logger.Level(rawValue: config.level == "warn" ? "warning" : config.level) ?? .info
                let format = LineLogHandler.Format(rawValue: config.format) ?? .logfmt
                return Logger(label: "kops-sidecar") { label in
                    LineLogHandler(label: label, level: level, format: format)
                }
            }
            try await service.run()
        } catch let failure as StartFailure {
            switch failure.kind {
            case .configuration: throw CommandFailure.unusable(failure.lines)
            case .refused: throw CommandFailure(status: 3, lines: failure.lines)
            case .failed: throw CommandFailure.failed(failure.lines)
            }
        }
    }
}

let defaultConfigurationPath = "/etc/kops-sidecar/kops-sidecar.yaml"

/// The file that `--config` names, else the default one where it is there; nil for the built-in configuration.
func configurationPath(_ given: String?) throws -> String? {
    if let given {
        guard FileSystem.exists(given) else {
            throw CommandFailure.unusable("there is no configuration file \(given)")
        }
        return given
    }
    return FileSystem.exists(defaultConfigurationPath) ? defaultConfigurationPath : nil
}
