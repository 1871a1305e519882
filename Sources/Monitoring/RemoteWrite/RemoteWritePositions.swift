import MetricModel
import Platform

/// Files with how far each destination has read: one line, the log's number and the batch.
enum RemoteWritePositions {
    static func path(_ directory: String, _ name: String) -> String {
        var safe = ""
        for byte in name.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
                safe.unicodeScalars.append(Unicode.Scalar(byte))
            default: safe += "%" + String(byte, radix: 16)
            }
        }
        return directory + "/" + safe + ".position"
    }

    /// Nil where there is none, or none that can be read: then the destination begins anew.
    static func read(_ directory: String, _ name: String) -> LogPosition? {
        guard let text = try? FileSystem.readText(path(directory, name), maxBytes: 1000) else { return nil }
        let words = text.split(whereSeparator: \.isWhitespace)
        guard words.count == 2, let log = UInt64(words[0]), let batch = Int64(words[1]) else { return nil }
        return LogPosition(log: log, batch: batch)
    }

    static func write(_ directory: String, _ name: String, _ position: LogPosition) throws {
        try FileSystem.makeDirectories(directory)
        try AtomicFile.write(Array("\(position.log) \(position.batch)\n".utf8), to: path(directory, name))
    }

    /// Forgets destinations that are no longer named.
    static func keep(_ names: [String], in directory: String) {
        let kept = Set(names.map { path(directory, $0) })
        for name in (try? FileSystem.list(directory)) ?? [] where name.hasSuffix(".position") {
            if !kept.contains(directory + "/" + name) { try? FileSystem.removeFile(directory + "/" + name) }
        }
    }
}
