import Glibc
package import Logging
import Platform

/// Writes each log message as one line on standard error, as logfmt or JSON. Thread-safe.
package struct LineLogHandler: LogHandler {
    package enum Format: String, Sendable { case logfmt, json }

    package var metadata: Logger.Metadata = [:]
    package var logLevel: Logger.Level
    package var metadataProvider: Logger.MetadataProvider?
    private let label: String
    private let format: Format

    package init(label: String, level: Logger.Level, format: Format) {
        self.label = label
        logLevel = level
        self.format = format
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var fields: [(String, String)] = [
            ("time", formatRFC3339(WallClock.system.nowMilliseconds())), ("level", levelName(event.level)),
            ("msg", event.message.description), ("part", label),
        ]
        var all = metadata
        if let more = event.metadata { all.merge(more) { _, new in new } }
        for (key, value) in all.sorted(by: { $0.key < $1.key }) { fields.append((key, "\(value)")) }
        if let error = event.error { fields.append(("error", "\(error)")) }
        let line = format == .json ? jsonLine(fields) : logfmtLine(fields)
        line.withUnsafeBytes { bytes in
            // One write, so that lines of several threads do not mix; a full pipe loses the line, not the service.
            _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count)
        }
    }

    private func levelName(_ level: Logger.Level) -> String {
        switch level {
        case .trace, .debug: "debug"
        case .info, .notice: "info"
        case .warning: "warn"
        case .error, .critical: "error"
        }
    }
}

private func jsonLine(_ fields: [(String, String)]) -> [UInt8] {
    var writer = JSONWriter()
    writer.object { writer in
        for (key, value) in fields {
            writer.key(key)
            writer.string(value)
        }
    }
    return writer.bytes + [UInt8(ascii: "\n")]
}

private func logfmtLine(_ fields: [(String, String)]) -> [UInt8] {
    var out: [UInt8] = []
    for (key, value) in fields {
        if !out.isEmpty { out.append(UInt8(ascii: " ")) }
        out += key.utf8
        out.append(UInt8(ascii: "="))
        let plain = !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x3d && $0 != 0x7f }
        if plain {
            out += value.utf8
        } else {
            var writer = JSONWriter()
            writer.string(value)
            out += writer.bytes
        }
    }
    out.append(UInt8(ascii: "\n"))
    return out
}

/// Makes this the program's logging, once, before anything logs. `level` is one of debug, info, warn, error.
package func startLogging(level: String, format: String) {
    let level: Logger.Level =
        switch level {
        case "debug": .debug
        case "warn": .warning
        case "error": .error
        default: .info
        }
    let format = LineLogHandler.Format(rawValue: format) ?? .logfmt
    LoggingSystem.bootstrap { label in LineLogHandler(label: label, level: level, format: format) }
}
