import Monitoring
package import Platform
import PromQL

/// One query that was answered or failed, as the log tells of it.
struct LoggedQuery: Sendable {
    enum Origin: Sendable {
        case request(client: String, method: String, path: String)
        case rules(group: String, file: String)
    }

    var query: String
    /// Milliseconds since 1970 UTC, milliseconds.
    var from: Int64
    var through: Int64
    var step: Int64
    var origin: Origin
    var timings: QueryTimings
    var stats: QueryStats
    var error: String?
}

/// `global.query_log_file`: each query with how long it took, one JSON object a line with the keys that Prometheus' log has.
/// Thread-safe.
package final class QueryLog: Sendable {
    private let files: LineFiles
    private let path = Lock<String?>(nil)
    private let clock: WallClock

    package init(_ files: LineFiles, clock: WallClock) {
        self.files = files
        self.clock = clock
    }

    /// Nil: queries are not logged. The file is opened by who owns the files.
    package func apply(_ path: String?) { self.path.withLock { $0 = path } }

    var isOn: Bool { path.withLock { $0 != nil } }

    func add(_ query: LoggedQuery) {
        guard let path = path.withLock({ $0 }) else { return }
        var writer = JSONWriter()
        writer.object { writer in
            writer.key("time")
            writer.string(formatRFC3339(clock.nowMilliseconds()))
            writer.key("level")
            writer.string("INFO")
            writer.key("msg")
            writer.string("promql query logged")
            writer.key("params")
            writer.object { writer in
                writer.key("end")
                writer.string(Self.moment(query.through))
                writer.key("query")
                writer.string(query.query)
                writer.key("start")
                writer.string(Self.moment(query.from))
                writer.key("step")
                writer.int(Int(query.step / 1000))
            }
            if let error = query.error {
                writer.key("error")
                writer.string(error)
            }
            writer.key("stats")
            writer.object { QueryResultEncoder.write(&$0, query.stats, query.timings, all: false) }
            Self.write(query.origin, &writer)
        }
        files.add(writer.bytes, to: path)
    }

    /// An expression of a rule.
    func add(_ query: RuleQuery) {
        guard isOn else { return }
        add(
            LoggedQuery(
                query: query.expr.description, from: query.time, through: query.time, step: 0,
                origin: .rules(group: query.group, file: query.file),
                timings: QueryTimings(
                    started: query.began, parsed: query.began, began: query.began, ended: query.ended),
                stats: query.stats, error: query.error))
    }

    /// With three digits of a second always, as Prometheus writes them.
    private static func moment(_ milliseconds: Int64) -> String {
        let digits = String(1000 + ((milliseconds % 1000) + 1000) % 1000).dropFirst()
        return "\(formatRFC3339(milliseconds, fraction: false).dropLast()).\(digits)Z"
    }

    private static func write(_ origin: LoggedQuery.Origin, _ writer: inout JSONWriter) {
        let fields: [(String, String)]
        switch origin {
        case .request(let client, let method, let path):
            writer.key("httpRequest")
            fields = [("clientIP", client), ("method", method), ("path", path)]
        case .rules(let group, let file):
            writer.key("ruleGroup")
            fields = [("file", file), ("name", group)]
        }
        writer.object { writer in
            for (key, value) in fields {
                writer.key(key)
                writer.string(value)
            }
        }
    }
}
