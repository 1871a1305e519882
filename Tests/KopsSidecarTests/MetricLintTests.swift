import KopsSidecar
import Testing

/// What promtool says of the same bodies.
@Suite struct MetricLintTests {
    @Test(arguments: [
        ("# HELP a x\n# TYPE a gauge\na 1\n", []),
        ("# TYPE a counter\na 1\n", ["a counter metrics should have \"_total\" suffix", "a no help text"]),
        ("# HELP a:b x\n# TYPE a:b gauge\na:b 1\n", ["a:b metric names should not contain ':'"]),
        (
            "# HELP a x\n# TYPE a gauge\na{fooBar=\"1\"} 1\n",
            ["a label names should be written in 'snake_case' not 'camelCase'"]
        ),
        ("# HELP a x\n# TYPE a gauge\na{le=\"1\"} 1\n", ["a non-histogram metrics should not have \"le\" label"]),
        (
            "# HELP a x\n# TYPE a gauge\na{quantile=\"1\"} 1\n",
            ["a non-summary metrics should not have \"quantile\" label"]
        ),
        (
            "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n", []
        ),
        (
            "# HELP r_count x\n# TYPE r_count gauge\nr_count 1\n",
            ["r_count non-histogram and non-summary metrics should not have \"_count\" suffix"]
        ),
        ("# HELP a_ms x\n# TYPE a_ms gauge\na_ms 1\n", ["a_ms metric names should not contain abbreviated units"]),
        (
            "# HELP a_gauge_x x\n# TYPE a_gauge_x gauge\na_gauge_x 1\n",
            ["a_gauge_x metric name should not include type 'gauge'"]
        ),
        ("# HELP a_total x\na_total 1\n", []), ("{\"a.b\"} 1\n", ["a.b no help text"]),
    ])
    func conventions(body: String, expected: [String]) {
        let findings = lintMetrics(Array(body.utf8))
        #expect(findings.problem == nil)
        #expect(findings.lint == expected)
    }

    @Test(arguments: [
        ("# TYPE a counter\n# TYPE a counter\na 1\n", "line 2: second TYPE line"),
        ("a 1\n# TYPE a counter\n", "line 2: second TYPE line"),
        ("# HELP a x\n# HELP a y\n", "line 2: second HELP line"),
        ("a 1", "line 1: unexpected end of input stream"), ("b 1\na 1 foo\n", "line 2: \"foo\" is not a timestamp"),
    ])
    func whatCannotBeRead(body: String, expected: String) {
        let problem = lintMetrics(Array(body.utf8)).problem
        #expect(problem?.contains(expected) == true, "\(problem ?? "")")
    }
}
