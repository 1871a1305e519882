import ArgumentParser
import Glibc
import KopsSidecar
import MetricModel
import Platform
import PromQL
import TSDB

/// `store export`: samples as OpenMetrics on standard output or in a file.
struct StoreExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write a stopped sidecar's samples as OpenMetrics.",
        discussion: """
            Day after day, a series' samples in order of time. Stale markers and native histograms have no place in the format \
            and are left out. `store import` and `promtool tsdb create-blocks-from openmetrics` read it.
            """)

    @OptionGroup var store: StoreOptionGroup

    @Option(help: ArgumentHelp("Only these series; may be given several times.", valueName: "selector"))
    var match: [String] = []

    @Option(help: ArgumentHelp("From here on: RFC 3339 or seconds since 1970.", valueName: "time"))
    var from: String?

    @Option(help: ArgumentHelp("Up to here, inclusive.", valueName: "time"))
    var to: String?

    @Option(name: .shortAndLong, help: ArgumentHelp("Write here instead of standard output.", valueName: "file"))
    var output: String?

    func run() async throws {
        let now = WallClock.system.nowMilliseconds()
        let low = try from.map { try parseTimeArgument($0, now: now) } ?? .min
        let high = try to.map { try parseTimeArgument($0, now: now) } ?? .max
        let sets: [[LabelMatcher]] = try match.map { text in
            do throws(ParseError) {
                return try parseMetricSelector(text)
            } catch {
                throw CommandFailure.unusable("--match \(text): \(error.description)")
            }
        }
        let store = try store.open(readOnly: true)
        defer { store.abandon() }
        do {
            guard let output else {
                return try write(store, sets, low, high) { try AtomicFile.writeAll($0, to: 1, path: "standard output") }
            }
            let part = output + ".part"
            let fd = Glibc.open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
            guard fd >= 0 else { throw FileError("open", part) }
            defer { Glibc.close(fd) }
            try write(store, sets, low, high) { try AtomicFile.writeAll($0, to: fd, path: part) }
            guard fsync(fd) == 0 else { throw FileError("sync", part) }
            try FileSystem.rename(part, to: output)
        } catch {
            throw CommandFailure.failed("\(error)")
        }
    }

    private func write(
        _ store: Store, _ sets: [[LabelMatcher]], _ from: Int64, _ through: Int64, _ sink: ([UInt8]) throws -> Void
    ) throws {
        var out: [UInt8] = []
        try store.forEachSeries(sets.isEmpty ? [[]] : sets, from: from, through: through) { series in
            OpenMetricsText.append(series, to: &out)
            if out.count > 1 << 20 {
                try sink(out)
                out.removeAll(keepingCapacity: true)
            }
        }
        out += "# EOF\n".utf8
        try sink(out)
    }
}

/// `store import`: OpenMetrics with timestamps into the store, however old.
struct StoreImportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Add OpenMetrics with timestamps to a stopped sidecar's store.",
        discussion: """
            Years are taken as well as minutes; memory does not grow with them. A sample that is there already stays as it is. \
            Days that are older than storage.retention.time go when the service starts: raise it first.
            """)

    @OptionGroup var store: StoreOptionGroup

    @Argument(help: ArgumentHelp("OpenMetrics; - for standard input.", valueName: "file"))
    var file: String

    func run() async throws { try await audited("store import", subject: file) { try await run($0) } }

    private func run(_ note: CommandNote) async throws {
        note.directory = try store.path()
        let descriptor = file == "-" ? 0 : Glibc.open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandFailure.unusable("\(file) cannot be read: \(systemMessage(errno))") }
        defer { if descriptor > 0 { Glibc.close(descriptor) } }
        let store = try store.open(readOnly: false, create: true)
        defer { store.close() }
        let target = StoreImport(store)
        do {
            var reader = OpenMetricsReader()
            var piece = [UInt8](repeating: 0, count: 1 << 20)
            while true {
                let count = piece.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
                if count < 0, errno == EINTR { continue }
                if count < 0 { throw CommandFailure.failed("\(file) cannot be read: \(systemMessage(errno))") }
                if count == 0 { break }
                try reader.read(Array(piece[..<count])) { try target.add($0, $1, $2) }
            }
            try reader.finish()
            try target.finish()
        } catch let error as StoreError {
            throw CommandFailure.failed("\(file): \(error.message); \(target.samples) samples before that were read")
        }
        note.detail = "\(target.samples) samples over \(target.dayCount) days"
        print(note.detail)
    }
}
