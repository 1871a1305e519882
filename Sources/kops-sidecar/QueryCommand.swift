import ArgumentParser
import FoundationEssentials
import KopsSidecar
import MetricModel
import Platform
import PromQL
import TSDB

/// `query EXPR`: asks a running sidecar or a stopped one's data, instant or over a range.
struct QueryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "query", abstract: "Evaluate a PromQL expression.",
        discussion: "With --start a range is evaluated and drawn; without it, one moment.")

    @Argument(help: "The expression.")
    var expression: String

    @Option(parsing: .unconditional, help: "The moment to evaluate at: RFC 3339, Unix seconds, now, or -1h.")
    var at: String?

    @Option(parsing: .unconditional, help: "The first moment of a range.")
    var start: String?

    @Option(parsing: .unconditional, help: "The last moment of a range; now by default.")
    var end: String?

    @Option(help: "The distance between two moments of a range, such as 15s.")
    var step: String?

    @Option(help: ArgumentHelp("Ask the data of a stopped sidecar, in this directory.", valueName: "directory"))
    var dataDir: String?

    @OptionGroup var server: ServerOptions
    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let now = WallClock.system.nowMilliseconds()
        var form = [("query", expression)]
        let path: String
        var bounds: (start: Int64, end: Int64)?
        if let start {
            if at != nil { throw CommandFailure.unusable("--at and --start exclude each other") }
            let from = try parseTimeArgument(start, now: now)
            let through = try parseTimeArgument(end ?? "now", now: now)
            guard let width = step.map(parseStep) ?? max(1000, (through - from) / 120 / 1000 * 1000), width > 0 else {
                throw CommandFailure.unusable("--step must be a duration such as 15s")
            }
            form += [("start", seconds(from)), ("end", seconds(through)), ("step", seconds(width))]
            path = "/api/v1/query_range"
            bounds = (from, through)
        } else {
            if end != nil || step != nil { throw CommandFailure.unusable("--end and --step need --start") }
            if let at { form.append(("time", seconds(try parseTimeArgument(at, now: now)))) }
            path = "/api/v1/query"
        }
        let body: [UInt8]
        if let dataDir {
            body = try await ask(dataDir, path, form)
        } else {
            body = try await server.send("POST", path, form: form)
        }
        guard listing.output == .table else {
            try printJSON(body, listing)
            return
        }
        let answer: QueryAnswer
        do {
            answer = try JSONDecoder().decode(QueryAnswer.self, from: Data(body))
        } catch {
            throw CommandFailure.failed("the answer is not Prometheus' JSON: \(error)")
        }
        for note in (answer.warnings ?? []) + (answer.infos ?? []) { printError("note: \(note)") }
        print(answer.data.result, bounds)
    }

    /// What the service would answer from that directory.
    private func ask(_ directory: String, _ path: String, _ form: [(String, String)]) async throws -> [UInt8] {
        var group = StoreOptionGroup()
        group.dataDir = directory
        group.config = nil
        let store = try group.open(readOnly: true)
        defer { store.abandon() }
        let metrics = MetricRegistry()
        let backend = QueryBackend(
            engine: Engine(), source: store, clock: .system, metrics: metrics, pool: WorkerPool.shared)
        let segments = path.split(separator: "/").map(String.init)
        guard let route = QueryRoutes(backend).routes.first(where: { $0.segments == segments }) else {
            throw CommandFailure.failed("\(path) is not there")
        }
        let reply: APIReply
        do {
            reply = try await route.handler(
                APIRequest(method: "POST", path: path, parameters: form.map { (name: $0.0, value: $0.1) }))
        } catch let error as APIError {
            throw CommandFailure.failed(error.message)
        }
        switch reply.body {
        case .bytes(let bytes): return bytes
        case .pieces(let next):
            var out: [UInt8] = []
            while let piece = try next() { out += piece }
            return out
        }
    }

    private func print(_ result: QueryAnswer.Result, _ bounds: (start: Int64, end: Int64)?) {
        switch result {
        case .single(let point): Swift.print(point.value)
        case .series(let series):
            if let bounds, standardOutputIsTerminal {
                for line in TerminalPlot(series: series, start: bounds.start, end: bounds.end).lines() {
                    Swift.print(line)
                }
            }
            var table = TextTable(["SERIES", "TIME", "VALUE"])
            for one in series {
                let name = seriesText(one.metric)
                for point in one.points {
                    table.rows.append([name, formatRFC3339(Int64((point.time * 1000).rounded())), point.value])
                }
            }
            if table.rows.isEmpty { printError("no series") } else { table.printOut() }
        }
    }

    private func seconds(_ milliseconds: Int64) -> String {
        var writer = JSONWriter()
        writer.timestamp(milliseconds)
        return String(decoding: writer.bytes, as: UTF8.self)
    }
}

private func seriesText(_ metric: [String: String]) -> String {
    Labels(metric.map { ($0.key, $0.value) }).description
}

/// The parts of Prometheus' answer that are printed.
struct QueryAnswer: Decodable {
    struct Point: Decodable {
        var time: Double
        var value: String

        init(from decoder: any Decoder) throws {
            var list = try decoder.unkeyedContainer()
            time = try list.decode(Double.self)
            value = try list.decode(String.self)
        }
    }

    struct Series: Decodable {
        var metric: [String: String]
        var value: Point?
        var values: [Point]?

        var points: [Point] { values ?? value.map { [$0] } ?? [] }
    }

    enum Result {
        case single(Point)
        case series([Series])
    }

    struct Body: Decodable {
        var result: Result

        enum CodingKeys: String, CodingKey { case resultType, result }

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            switch try container.decode(String.self, forKey: .resultType) {
            case "scalar", "string": result = .single(try container.decode(Point.self, forKey: .result))
            default: result = .series(try container.decode([Series].self, forKey: .result))
            }
        }
    }

    var data: Body
    var warnings: [String]?
    var infos: [String]?
}
