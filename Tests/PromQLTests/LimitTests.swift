import MetricModel
import PromQL
import Testing

/// Queries that would take everything end with an error, soon.
@Suite struct LimitTests {
    /// A series with so many samples a second apart, made when it is asked for.
    private struct Endless: Queryable {
        let seriesCount: Int
        let samples: Int

        func select(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws
            -> [SeriesData]
        {
            var out: [SeriesData] = []
            for n in 0..<seriesCount {
                try control.charge(samples)
                try control.check()
                let times = (0..<samples).map { through - Int64(samples - 1 - $0) * 1000 }
                out.append(
                    SeriesData(
                        labels: Labels([("__name__", "m"), ("n", "\(n)")]), timestamps: times,
                        values: times.map { Double($0) }))
            }
            return out
        }

        func series(_: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels] { [] }
        func labelNames(_: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String] { [] }
        func labelValues(_: String, _: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String] {
            []
        }
    }

    private func instant(_ text: String, _ source: any Queryable, timeout: Duration? = nil, maxSamples: Int = 1_000_000)
        throws -> QueryResult
    {
        let engine = Engine()
        return try engine.instant(
            try engine.parse(text), at: 1_700_000_000_000, source: source,
            control: QueryControl(maxSamples: maxSamples, timeout: timeout))
    }

    private func failure(_ body: () throws -> QueryResult) -> QueryError? {
        do {
            _ = try body()
            return nil
        } catch {
            return error as? QueryError
        }
    }

    @Test func manySamples() {
        let error = failure { try instant("sum(rate(m[30d]))", Endless(seriesCount: 1000, samples: 100_000)) }
        #expect(error?.kind == .execution)
        #expect(
            error?.message == "query processing would load too many samples into memory in query execution")
    }

    @Test func manySteps() {
        // A subquery of a million steps over ten series.
        let error = failure { try instant("max_over_time(m[1000000s:1s])", Endless(seriesCount: 10, samples: 1)) }
        #expect(error?.kind == .execution)
    }

    @Test func manyGroups() {
        let source = Endless(seriesCount: 100_000, samples: 1)
        // Each series a group of its own; the series alone are within the limit.
        #expect(failure { try instant("count(m)", source) } == nil)
        let error = failure { try instant("count by (n) (m)", source) }
        #expect(error?.message == "query processing would load too many samples into memory in query execution")
    }

    @Test func manyValues() {
        let engine = Engine()
        let error = failure {
            try engine.range(
                try engine.parse(#"count_values("v", timestamp(vector(1)))"#), from: 0, through: 10_000_000, step: 1000,
                source: Endless(seriesCount: 0, samples: 0), control: QueryControl(maxSamples: 1_000_000))
        }
        #expect(error?.kind == .execution)
    }

    @Test func deepNesting() {
        for (open, close) in [("(", ")"), ("sum(", ")"), ("-", ""), ("1+(", ")")] {
            let text =
                String(repeating: open, count: 10_000) + "m" + String(repeating: close, count: 10_000)
            #expect(throws: ParseError.self) { try parseExpression(text) }
        }
    }

    /// Every step sorts a day of seconds: stopped in the middle, long before the thousands of steps are done.
    @Test func time() {
        let began = ContinuousClock.now
        let engine = Engine()
        let error = failure {
            try engine.range(
                try engine.parse("quantile_over_time(0.5, m[1d:1s])"), from: 1_700_000_000_000,
                through: 1_700_000_000_000 + 5_000_000, step: 1000, source: Endless(seriesCount: 1, samples: 100_000),
                control: QueryControl(maxSamples: 1_000_000_000, timeout: .milliseconds(100)))
        }
        #expect(error?.kind == .timeout)
        #expect(ContinuousClock.now - began < .seconds(120))
    }

    /// Ten times the text takes about ten times the time, not a hundred.
    @Test func parsingIsLinear() throws {
        func seconds(_ n: Int) -> Double {
            let matchers = (0..<n).map { "l\($0)=\"v\"" }.joined(separator: ",")
            let labels = (0..<n).map { "l\($0)" }.joined(separator: ",")
            let text = "sum by (\(labels)) (rate(m{\(matchers)}[5m]))"
            let start = ContinuousClock.now
            _ = try? parseExpression(text)
            return Double((ContinuousClock.now - start).components.attoseconds) / 1e18
                + Double((ContinuousClock.now - start).components.seconds)
        }
        _ = seconds(100)
        let small = (0..<3).map { _ in seconds(1000) }.min() ?? 0
        let large = (0..<3).map { _ in seconds(10_000) }.min() ?? 0
        #expect(large < small * 40, "1,000: \(small) s, 10,000: \(large) s")
    }

    /// Random bytes and random pieces of queries: an error or a tree, never a crash.
    @Test func randomText() {
        var generator = Linear(state: 4711)
        let words = [
            "sum", "rate", "(", ")", "[", "]", "{", "}", "5m", ":", "offset", "@", "by", "without", "on", "ignoring",
            "group_left", "m", "\"a\"", "=~", "!=", "=", ",", "1e", "0x", "NaN", "+", "-", "*", "/", "%", "^", "==bool",
            "and", "unless", "start()", "'\\x", "`", "\u{0}", "é", "le", "#", "\n", "1", "inf", "-1d", "\\", "$__x",
        ]
        for _ in 0..<20_000 {
            var text = ""
            for _ in 0..<Int.random(in: 1...12, using: &generator) {
                text += words[Int.random(in: 0..<words.count, using: &generator)]
                if Bool.random(using: &generator) { text += " " }
            }
            if let expr = try? parseExpression(text, features: .all) {
                // What parses prints, and what is printed parses to the same.
                let printed = expr.description
                let again = try? parseExpression(printed, features: .all)
                #expect(again?.description == printed, "\(text)")
            }
        }
    }

    private struct Linear: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state ^ state >> 29
        }
    }
}
