import MetricModel
import PromQL
import Testing

private func store(series count: Int = 20, samples: Int = 400) -> MemorySeries {
    let store = MemorySeries()
    for i in 0..<count {
        let labels = Labels([("__name__", "m_total"), ("i", "\(i)"), ("half", "\(i % 2)")])
        for j in 0..<samples {
            let reset = (i * 37 + j) % 61 == 0
            store.append(labels, timestamp: Int64(j) * 15_000, value: reset ? 0 : Double(j * (i + 1)) * 0.7)
        }
    }
    return store
}

private func values(_ result: QueryResult) -> [String: [Double]] {
    guard case .matrix(let series) = result.value else { return [:] }
    return Dictionary(uniqueKeysWithValues: series.map { ("\($0.labels)", $0.values) })
}

@Suite struct EngineTests {
    /// More groups than the table of groups has room for at first, three series in each.
    @Test func manyGroupsAreKeptApart() throws {
        let source = MemorySeries()
        for i in 0..<3000 {
            let labels = Labels([("__name__", "m"), ("group", "\(i % 1000)"), ("i", "\(i)")])
            source.append(labels, timestamp: 1000, value: Double(i))
        }
        for query in ["sum by (group) (m)", "sum without (i) (m)"] {
            let engine = Engine()
            let result = try engine.instant(
                try engine.parse(query), at: 1000, source: source, control: QueryControl())
            guard case .vector(let samples) = result.value else {
                Issue.record("no vector")
                continue
            }
            #expect(samples.count == 1000)
            for sample in samples {
                let group = try #require(sample.labels["group"].flatMap { Double($0) })
                #expect(sample.labels.count == 1)
                #expect(sample.value == group * 3 + 3000)
            }
        }
    }

    /// Whether a call's result still has its metric's name is nobody's business where it is added up; where it is somebody's, it must
    /// be gone, and series that are alike without it are refused.
    @Test(arguments: [
        ("sum(rate(a_total[5m]))", "{} 3"), ("sum by (__name__) (rate(a_total[5m]))", "{} 3"),
        ("sum by (y) ((rate(a_total[5m])))", "{y=\"p\"} 3"), ("sum without (x) (rate(a_total[5m]))", "{y=\"p\"} 3"),
        ("topk(1, rate(a_total[5m]))", "{x=\"2\", y=\"p\"} 2"),
        ("count_values(\"v\", rate(a_total{x=\"2\"}[5m]))", "{v=\"2\"} 1"),
        ("sum(rate(a_total[5m])) + on () group_right () rate(a_total{x=\"1\"}[5m])", "{x=\"1\", y=\"p\"} 4"),
        ("quantile by (x) (0.5, rate(a_total{x=\"1\"}[5m])) - on (x) rate(a_total[5m])", "{x=\"1\"} 0"),
        ("rate(a_total{x=\"1\"}[5m]) - on (x) max by (x) (rate(a_total[5m]))", "{x=\"1\"} 0"),
        (
            "max by (x, y) (max_over_time(a_total{x=\"1\"}[5m])) / ignoring () max_over_time(a_total[5m])",
            "{x=\"1\", y=\"p\"} 1"
        ),
        ("sum by (__type__) (rate(typed_total{x=\"2\"}[5m]))", "{} 1"),
        ("sum(rate({__name__=~\"a_total|b_total\"}[5m]))", "same labelset"),
        ("sum by (__name__) (rate({__name__=~\"a_total|b_total\"}[5m]))", "same labelset"),
        ("sum(rate(typed_total[5m]))", "same labelset"),
    ]) func namesAreGoneWhereTheyAreSeen(query: String, expected: String) throws {
        let source = MemorySeries()
        let all: [([(String, String)], Double)] = [
            ([("__name__", "a_total"), ("x", "1"), ("y", "p")], 1),
            ([("__name__", "a_total"), ("x", "2"), ("y", "p")], 2),
            ([("__name__", "b_total"), ("x", "1"), ("y", "p")], 3),
            ([("__name__", "typed_total"), ("__type__", "counter"), ("x", "1")], 1),
            ([("__name__", "typed_total"), ("__type__", "gauge"), ("x", "1")], 1),
            ([("__name__", "typed_total"), ("__type__", "gauge"), ("x", "2")], 1),
        ]
        for (labels, speed) in all {
            for minute in 0...10 {
                source.append(Labels(labels), timestamp: Int64(minute) * 60_000, value: Double(minute) * 60 * speed)
            }
        }
        let engine = Engine()
        do {
            let result = try engine.instant(
                try engine.parse(query), at: 600_000, source: source, control: QueryControl())
            guard case .vector(let samples) = result.value else { throw QueryError(.execution, "no vector") }
            #expect(samples.map { "\($0.labels) \(formatFloat($0.value))" } == [expected])
        } catch let error as QueryError {
            #expect(error.message.contains(expected))
        }
    }

    /// Whatever a query computes for a range it must compute for each of its moments alone.
    @Test(arguments: [
        "m_total", "rate(m_total[2m])", "sum by (half) (rate(m_total[1m]))", "avg_over_time(m_total[90s])",
        "max_over_time(m_total[5m] offset 1m)", "quantile_over_time(0.3, m_total[2m])", "m_total > 100 < 2000",
        "m_total / on (i) group_left () (m_total offset 1m)", "topk(3, m_total)", "stddev_over_time(m_total[3m])",
        "stdvar_over_time(m_total[4m])",
        "sum_over_time(rate(m_total[1m])[5m:30s])", "deriv(m_total[2m])", "predict_linear(m_total[2m], 60)",
        "changes(m_total[2m]) + resets(m_total[2m])", "m_total @ 300", "timestamp(m_total)",
        "count_values(\"v\", m_total)",
        "absent(m_total > 1e9)", "min_over_time(m_total[1m])", "double_exponential_smoothing(m_total[2m], 0.3, 0.4)",
        "time() - m_total", "label_replace(m_total, \"x\", \"$1\", \"i\", \"(.)\") or m_total", "irate(m_total[1m])",
        "mad_over_time(m_total[2m])", "stdvar(m_total)", "quantile(0.9, m_total)",
    ])
    func rangeAgreesWithInstants(query: String) throws {
        var options = EngineOptions()
        options.features = .all
        let engine = Engine(options)
        let source = store()
        let expr = try engine.parse(query)
        let range = try engine.range(
            expr, from: 0, through: 6_300_000, step: 105_000, source: source, control: QueryControl())
        guard case .matrix(let series) = range.value else {
            Issue.record("no matrix")
            return
        }
        for time in stride(from: Int64(0), through: 6_300_000, by: 105_000) {
            let instant = try engine.instant(expr, at: time, source: source, control: QueryControl())
            guard case .vector(let samples) = instant.value else {
                Issue.record("no vector")
                return
            }
            let expected = series.filter { $0.timestamps.contains(time) }
            #expect(samples.count == expected.count)
            for one in expected {
                let sample = try #require(samples.first { $0.labels == one.labels })
                let place = try #require(one.timestamps.firstIndex(of: time))
                #expect(
                    sample.value.bitPattern == one.values[place].bitPattern
                        || (sample.value.isNaN && one.values[place].isNaN),
                    "\(query) at \(time): \(sample.value) and \(one.values[place])")
            }
        }
    }

    @Test func severalThreadsAnswerTheSame() throws {
        var options = EngineOptions()
        let alone = Engine(options)
        options.parallel = sharedWork(threads: 3) { job in
            Task.detached { job() }
            return true
        }
        let together = Engine(options)
        let source = store(series: 100, samples: 600)
        for query in ["sum(rate(m_total[5m]))", "max_over_time(m_total[10m])", "rate(nothing[5m])"] {
            let expr = try alone.parse(query)
            func ask(_ engine: Engine) throws -> QueryResult {
                try engine.range(
                    expr, from: 0, through: 9_000_000, step: 15_000, source: source, control: QueryControl())
            }
            let a = try ask(alone)
            let b = try ask(together)
            #expect(values(a) == values(b))
            #expect(a.infos == b.infos && a.warnings == b.warnings)
        }
    }

    @Test func limitsEndAQuery() throws {
        let engine = Engine()
        let source = store(series: 50, samples: 400)
        let heavy = try engine.parse("stddev_over_time(m_total[100m])")
        let cancelled = QueryControl()
        cancelled.cancel()
        #expect { try engine.instant(heavy, at: 6_000_000, source: source, control: cancelled) } throws: {
            ($0 as? QueryError)?.kind == .canceled
        }
        let start = ContinuousClock.now
        #expect {
            try engine.range(
                heavy, from: 0, through: 6_000_000_000, step: 1000, source: source,
                control: QueryControl(maxSamples: 2_000_000_000, timeout: .milliseconds(200)))
        } throws: {
            ($0 as? QueryError)?.message == "query timed out in expression evaluation"
        }
        #expect(ContinuousClock.now - start < .seconds(20))
        for query in [
            "m_total", "m_total[90m:1s]", "sum_over_time(m_total[90m:100ms])", "count_values(\"v\", m_total)",
        ] {
            let expr = try engine.parse(query)
            #expect {
                try engine.instant(
                    expr, at: 6_000_000, source: source, control: QueryControl(maxSamples: 40))
            } throws: {
                ($0 as? QueryError)?.message
                    == "query processing would load too many samples into memory in query execution"
            }
        }
        let endless = try engine.parse("sum_over_time(vector(1)[200y:1ms])")
        #expect(throws: QueryError.self) {
            try engine.instant(endless, at: 0, source: source, control: QueryControl())
        }
    }

    @Test func rangeQueriesRefuseWhatIsNone() throws {
        let engine = Engine()
        func message(_ query: String, from: Int64 = 0, through: Int64 = 10, step: Int64 = 1) throws -> String {
            do throws(QueryError) {
                let expr: Expr
                do { expr = try engine.parse(query) } catch { return "\(error)" }
                _ = try engine.range(
                    expr, from: from, through: through, step: step, source: MemorySeries(), control: QueryControl())
                return ""
            } catch {
                return "\(error.kind.rawValue): \(error.message)"
            }
        }
        #expect(
            try message("m[5m]")
                == "bad_data: invalid expression type \"range vector\" for range query, must be Scalar or instant Vector"
        )
        #expect(try message("m", step: 0).hasPrefix("bad_data: zero or negative query resolution"))
        #expect(try message("m", from: 10, through: 0) == "bad_data: end timestamp must not be before start time")
        #expect(try message("m", from: .min, through: .max).hasPrefix("bad_data: exceeded"))
        #expect(try message("m") == "")
    }

    @Test func notesTellTheirPlace() throws {
        let engine = Engine()
        let text = "1 +\n  rate(m[5m])"
        let source = MemorySeries()
        for i in 0..<10 { source.append(Labels([("__name__", "m")]), timestamp: Int64(i) * 60_000, value: Double(i)) }
        let result = try engine.instant(
            try engine.parse(text), at: 500_000, source: source, control: QueryControl(), text: text)
        #expect(
            result.infos == [
                "PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: \"m\" (2:8)"
            ])
    }

    @Test func extremeTimesDoNotTrap() throws {
        let engine = Engine()
        let source = store(series: 2, samples: 10)
        for time in [Int64.min / 2_000_000, -1, 0, Int64.max / 2_000_000] {
            for query in [
                "m_total offset 200y", "rate(m_total[250y] @ 9e9)", "m_total offset -250y", "year(vector(1e300))",
            ] {
                _ = try engine.instant(try engine.parse(query), at: time, source: source, control: QueryControl())
            }
        }
    }

    @Test func longChainsAndDeepBracketsAreEvaluated() throws {
        let engine = Engine()
        let source = store(series: 2, samples: 10)
        for text in [
            "m_total" + String(repeating: " + m_total", count: 450),
            String(repeating: "(", count: 180) + "m_total" + String(repeating: ")", count: 180),
            String(repeating: "abs(", count: 180) + "m_total" + String(repeating: ")", count: 180),
            "m_total" + String(repeating: " or m_total", count: 450),
        ] {
            let expr = try engine.parse(text)
            let result = try engine.range(
                expr, from: 0, through: 150_000, step: 15_000, source: source, control: QueryControl(), text: text)
            #expect(values(result).count == 2)
            #expect(!expr.pretty().isEmpty && !expr.treeJSON.isEmpty)
        }
    }

    @Test func treeAsJSON() throws {
        let expr = try parseExpression("sum by (a) (rate(m{b!=\"c\\\"\"}[5m] offset 1m)) > bool -2")
        #expect(
            String(decoding: expr.treeJSON, as: UTF8.self)
                == #"{"type":"binaryExpr","op":">","lhs":{"type":"aggregation","op":"sum","expr":{"type":"call","func":{"name":"rate","argTypes":["matrix"],"variadic":0,"returnType":"vector"},"args":[{"type":"matrixSelector","range":300000,"name":"m","matchers":[{"name":"b","value":"c\"","type":"!="},{"name":"__name__","value":"m","type":"="}],"anchored":false,"smoothed":false,"offset":60000,"timestamp":null,"startOrEnd":null}]},"param":null,"grouping":["a"],"without":false},"rhs":{"type":"numberLiteral","val":"-2"},"matching":null,"bool":true}"#
        )
    }
}
