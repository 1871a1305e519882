import FuzzWalks
import Glibc
import MetricModel
import TestSupport
import Testing

/// Mutates texts of a small corpus and feeds them to the parsers: they must neither trap nor hang, whatever comes. How long is
/// KOPS_FUZZ_SECONDS (`scripts/fuzz` sets it); some thousand rounds without it. A failure prints the seed.
@Suite struct ExpositionFuzzTests {
    static let corpus: [String] = [
        """
        # HELP http_requests_total The total number of \\"HTTP\\" requests.\\n
        # TYPE http_requests_total counter
        http_requests_total{method="post",code="200"} 1027 1395066363000
        http_requests_total{method="post",code="400"}    3 1395066363000
        msdos_file_access_time_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot find file:\\n\\"FILE.TXT\\""} 1.458255915e9

        metric_without_timestamp_and_labels 12.47
        something_weird{problem="division by zero"} +Inf -3982045
        http_request_duration_seconds_bucket{le="0.05",} 24054
        rpc_duration_seconds{quantile="0.01"} 3.102e-17

        """,
        """
        # TYPE foo_seconds histogram
        # UNIT foo_seconds seconds
        foo_seconds_bucket{le="+Inf"} 17 1.5 # {trace_id="KOO5S4vxi0o",span="a\\"b"} 0.67 1520879607.789
        foo_seconds_count 17
        {"utf8.name","lä.bel"="v",x="y"} NaN
        # HELP "utf8.name" text
        foo_seconds_created 1520430000.123
        # EOF

        """,
        "a 0x1p-3\na_b:c{} -0\nb{a=\"\u{0}\"} 1e999 9223372036854775807\n",
    ]

    @Test func parsersTakeAnything() {
        var fuzz = Fuzz(corpus: Self.corpus.map { Array($0.utf8) })
        fuzz.run(rounds: 4000) { bytes in
            for format in [ExpositionFormat.text, .openMetrics] {
                if let problem = bytes.withUnsafeBytes({ walkExposition($0, format) }) { Issue.record("\(problem)") }
            }
        }
    }

    @Test func numbersAreReadAsTheCLibraryReadsThem() {
        var fuzz = Fuzz(
            corpus: ["1027", "1.458255915e9", "-0.000000000000000000001", "123456789012345678", "9007199254740993"].map
            { Array($0.utf8) })
        fuzz.run(rounds: 20_000) { bytes in
            guard !bytes.contains(0), bytes.count < 60, let text = String(validating: bytes, as: UTF8.self) else {
                return
            }
            let ours = bytes.withUnsafeBytes { expositionValue($0) }
            guard let ours, text.utf8.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }) else { return }
            var end: UnsafeMutablePointer<CChar>?
            let theirs = text.withCString { start in
                let value = strtod(start, &end)
                return end.map { $0 - UnsafeMutablePointer(mutating: start) } == bytes.count ? value : nil
            }
            if let theirs { #expect(ours.bitPattern == theirs.bitPattern, "\(text)") }
        }
    }
}
