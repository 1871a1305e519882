import Glibc
import Testing

/// Random changes to texts of a corpus, the same for the same seed.
package struct Fuzz {
    private var corpus: [[UInt8]]
    private var random: Generator
    private let seed: UInt64

    package struct Generator: RandomNumberGenerator {
        var state: UInt64
        package init(state: UInt64) { self.state = state }
        package mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
            return z ^ z >> 31
        }
    }

    package init(corpus: [[UInt8]]) {
        self.corpus = corpus
        let given = getenv("KOPS_FUZZ_SEED").flatMap { UInt64(String(cString: $0)) }
        seed = given ?? 1
        random = Generator(state: seed)
    }

    package mutating func run(rounds: Int, _ body: ([UInt8]) -> Void) {
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
