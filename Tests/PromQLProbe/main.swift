// A tool for tests and measurements of the query engine, without a server around it.
//
//   promql-probe script FILE…             runs test scripts
//   promql-probe parse EXPR…              prints expressions as format_query would
//   promql-probe format                   the same for lines of standard input, answers as JSON
//   promql-probe serve DATA [--closed]    answers queries from standard input over the series in DATA
//   promql-probe bench DATA FROM TO STEP QUERIES REPEAT
//
// DATA has a line for each series: its labels in series notation, a tab, then `milliseconds value` pairs. A query is a line
// `instant<TAB>milliseconds<TAB>expression` or `range<TAB>from<TAB>to<TAB>step<TAB>expression`; the answer is a line of JSON
// as the HTTP API gives it. With --closed, ranges hold the sample on their left border too, as up to Prometheus 2.
import Glibc
import MetricModel
import PromQL

func readFile(_ path: String) -> String {
    guard let file = fopen(path, "r") else {
        print("cannot read \(path)")
        exit(2)
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while true {
        let n = fread(&buffer, 1, buffer.count, file)
        if n <= 0 { break }
        bytes += buffer[..<n]
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// A fixed set of series, sorted; answers without locks or copies of samples where the whole series is wanted.
final class FixedSeries: Queryable {
    let series: [SeriesData]

    init(_ path: String) {
        var out: [SeriesData] = []
        for line in readFile(path).split(separator: "\n") {
            let parts = line.split(separator: "\t")
            guard parts.count == 2, let parsed = try? parseSeriesDescription(String(parts[0])) else { continue }
            var data = SeriesData(labels: parsed.labels, timestamps: [], values: [])
            var time: Int64?
            for word in parts[1].split(separator: " ") {
                if let t = time {
                    data.timestamps.append(t)
                    data.values.append(word == "stale" ? .staleMarker : parseFloat(String(word)) ?? .nan)
                    time = nil
                } else {
                    time = Int64(word)
                }
            }
            out.append(data)
        }
        series = out.sorted { $0.labels < $1.labels }
    }

    func select(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws -> [SeriesData] {
        var out: [SeriesData] = []
        for one in series where matchers.allSatisfy({ $0.matches(one.labels) }) {
            var lo = 0
            var hi = one.timestamps.count
            while lo < hi {
                let middle = (lo + hi) / 2
                if one.timestamps[middle] < from { lo = middle + 1 } else { hi = middle }
            }
            let first = lo
            hi = one.timestamps.count
            while lo < hi {
                let middle = (lo + hi) / 2
                if one.timestamps[middle] <= through { lo = middle + 1 } else { hi = middle }
            }
            if first == lo { continue }
            try control.charge(lo - first)
            out.append(
                SeriesData(
                    labels: one.labels, timestamps: Array(one.timestamps[first..<lo]),
                    values: Array(one.values[first..<lo])))
        }
        return out
    }

    func series(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels] { [] }
    func labelNames(_ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String] { [] }
    func labelValues(
        _ name: String, _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int
    ) throws -> [String] { [] }
}

/// Writes a line at once: whoever asked waits for it.
func emit(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    var done = 0
    while done < bytes.count {
        let n = bytes[done...].withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
        if n <= 0 { exit(1) }
        done += n
    }
}

func json(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
        switch scalar {
        case "\"": out += "\\\""
        case "\\": out += "\\\\"
        default:
            if scalar.value < 32 {
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.utf8.count) + hex
            } else {
                out.unicodeScalars.append(scalar)
            }
        }
    }
    return out + "\""
}

func metric(_ labels: Labels) -> String {
    "{" + labels.pairs.map { "\(json($0.name)):\(json($0.value))" }.joined(separator: ",") + "}"
}

func point(_ time: Int64, _ value: Double) -> String {
    "[\(formatFloat(Double(time) / 1000)),\"\(formatFloat(value, .api))\"]"
}

func render(_ value: QueryValue) -> String {
    switch value {
    case .scalar(let time, let value): return #"{"resultType":"scalar","result":\#(point(time, value))}"#
    case .string(_, let text): return #"{"resultType":"string","result":[0,\#(json(text))]}"#
    case .vector(let samples):
        let shown = samples.map { #"{"metric":\#(metric($0.labels)),"value":\#(point($0.timestamp, $0.value))}"# }
        return #"{"resultType":"vector","result":[\#(shown.joined(separator: ","))]}"#
    case .matrix(let series):
        let shown = series.map { one in
            let points = zip(one.timestamps, one.values).map { point($0, $1) }.joined(separator: ",")
            return #"{"metric":\#(metric(one.labels)),"values":[\#(points)]}"#
        }
        return #"{"resultType":"matrix","result":[\#(shown.joined(separator: ","))]}"#
    }
}

func makeEngine(closed: Bool) -> Engine {
    var options = EngineOptions()
    options.closedRanges = closed
    options.features = [.experimentalFunctions]
    return Engine(options)
}

func answer(_ line: String, _ engine: Engine, _ source: FixedSeries) -> String {
    let parts = line.split(separator: "\t", omittingEmptySubsequences: false).map(String.init)
    do {
        let result: QueryResult
        let control = QueryControl(timeout: .seconds(60))
        if parts.count == 3, let time = Int64(parts[1]) {
            result = try engine.instant(try engine.parse(parts[2]), at: time, source: source, control: control)
        } else if parts.count == 5, let from = Int64(parts[1]), let to = Int64(parts[2]), let step = Int64(parts[3]) {
            result = try engine.range(
                try engine.parse(parts[4]), from: from, through: to, step: step, source: source, control: control)
        } else {
            return #"{"status":"error","errorType":"bad_data","error":"not a query line"}"#
        }
        return #"{"status":"success","data":\#(render(result.value))}"#
    } catch let error as ParseError {
        return #"{"status":"error","errorType":"bad_data","error":\#(json("\(error)"))}"#
    } catch let error as QueryError {
        return #"{"status":"error","errorType":"\#(error.kind.rawValue)","error":\#(json(error.message))}"#
    } catch {
        return #"{"status":"error","errorType":"internal","error":\#(json("\(error)"))}"#
    }
}

func bench(_ arguments: [String]) throws {
    let source = FixedSeries(arguments[0])
    guard let from = Int64(arguments[1]), let to = Int64(arguments[2]), let step = Int64(arguments[3]),
        let repeats = Int(arguments[5])
    else { return }
    let engine = makeEngine(closed: false)
    for line in readFile(arguments[4]).split(separator: "\n") {
        let instant = line.hasPrefix("instant ")
        let text = String(line.drop { $0 != " " }.dropFirst())
        let expr = try engine.parse(text)
        var times: [Double] = []
        for _ in 0..<repeats {
            let start = ContinuousClock.now
            let result =
                instant
                ? try engine.instant(expr, at: to, source: source, control: QueryControl())
                : try engine.range(
                    expr, from: from, through: to, step: step, source: source, control: QueryControl())
            let evaluated = ContinuousClock.now
            _ = result
            times.append(Double((evaluated - start).components.attoseconds) / 1e15)
        }
        times.sort()
        print("\(fixedWidth(times[times.count / 2])) ms  \(line)")
    }
}

func fixedWidth(_ value: Double) -> String {
    let text = formatFloat((value * 100).rounded() / 100)
    return String(repeating: " ", count: max(0, 9 - text.utf8.count)) + text
}

var arguments = CommandLine.arguments.dropFirst()
switch arguments.popFirst() {
case "script":
    for path in arguments {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let outcome = PromQLScript.run(file: name, text: readFile(path))
        for failure in outcome.failures { print(failure) }
        print("\(path): \(outcome.passed) passed, \(outcome.failures.count) failed")
    }
case "parse":
    for text in arguments {
        do { print(try parseExpression(text, features: .all).pretty()) } catch { print(error) }
    }
case "serve":
    guard let path = arguments.popFirst() else { exit(2) }
    let source = FixedSeries(path)
    let engine = makeEngine(closed: arguments.contains("--closed"))
    while let line = readLine() { emit(answer(line, engine, source)) }
case "format":
    while let line = readLine() {
        do {
            emit(json(try parseExpression(line, features: .experimentalFunctions).pretty()))
        } catch {
            emit(json("E \(error)"))
        }
    }
case "bench": try bench(Array(arguments))
default: print("usage: promql-probe script FILE… | parse EXPR… | serve DATA [--closed] | bench …")
}
