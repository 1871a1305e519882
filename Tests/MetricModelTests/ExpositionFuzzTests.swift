import Glibc
import MetricModel
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
            for format in [ExpositionFormat.text, .openMetrics] { walk(bytes, format) }
        }
    }

    private func walk(_ bytes: [UInt8], _ format: ExpositionFormat) {
        bytes.withUnsafeBytes { raw in
            var parser = ExpositionParser(raw, format)
            for _ in 0...bytes.count {
                guard let line = try? parser.next() else { return }
                switch line {
                case .end: return
                case .sample(let place, _, _):
                    _ = try? parseSeriesText(UnsafeRawBufferPointer(rebasing: raw[place]))
                case .type(let a, let b), .help(let a, let b), .unit(let a, let b):
                    _ = (raw[a].count, raw[b].count)
                }
            }
            Issue.record("the parser does not end")
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

/// Random changes to texts of a corpus, the same for the same seed.
struct Fuzz {
    private var corpus: [[UInt8]]
    private var random: Generator
    private let seed: UInt64

    struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
            return z ^ z >> 31
        }
    }

    init(corpus: [[UInt8]]) {
        self.corpus = corpus
        let given = getenv("KOPS_FUZZ_SEED").flatMap { UInt64(String(cString: $0)) }
        seed = given ?? 1
        random = Generator(state: seed)
    }

    mutating func run(rounds: Int, _ body: ([UInt8]) -> Void) {
        let seconds = getenv("KOPS_FUZZ_SECONDS").flatMap { Double(String(cString: $0)) }
        let clock = ContinuousClock()
        let end = seconds.map { clock.now + .seconds($0) }
        var round = 0
        while end.map({ clock.now < $0 }) ?? (round < rounds) {
            let start = clock.now
            let input = mutated()
            body(input)
            if clock.now - start > .seconds(5) {
                Issue.record("round \(round) of seed \(seed) took \(clock.now - start)")
            }
            round += 1
        }
    }

    private mutating func mutated() -> [UInt8] {
        var bytes = corpus.randomElement(using: &random) ?? []
        for _ in 0..<Int.random(in: 1...6, using: &random) {
            let at = Int.random(in: 0...bytes.count, using: &random)
            switch Int.random(in: 0...6, using: &random) {
            case 0 where at < bytes.count: bytes[at] = UInt8.random(in: 0...255, using: &random)
            case 1 where at < bytes.count: bytes[at] ^= 1 << UInt8.random(in: 0...7, using: &random)
            case 2: bytes.insert(Array("\"\\{}#\n ,=".utf8).randomElement(using: &random) ?? 0, at: at)
            case 3 where at < bytes.count:
                bytes.removeSubrange(at..<min(bytes.count, at + Int.random(in: 1...20, using: &random)))
            case 4: bytes.removeSubrange(at...)
            case 5 where at < bytes.count:
                let slice = bytes[at..<min(bytes.count, at + Int.random(in: 1...40, using: &random))]
                bytes.insert(contentsOf: slice, at: Int.random(in: 0...bytes.count, using: &random))
            default:
                let other = corpus.randomElement(using: &random) ?? []
                let from = Int.random(in: 0...other.count, using: &random)
                bytes.insert(contentsOf: other[from..<min(other.count, from + 60)], at: at)
            }
        }
        return bytes
    }
}
