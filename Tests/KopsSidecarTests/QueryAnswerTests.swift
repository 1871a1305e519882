import Foundation
import MetricModel
import Platform
import PromQL
import Testing

@testable import KopsSidecar

/// Answers that are too large to be written at once.
@Suite struct QueryAnswerTests {
    private struct Answer: Decodable {
        struct Series: Decodable {
            let metric: [String: String]
            let values: [[Value]]
        }
        struct Body: Decodable {
            let resultType: String
            let result: [Series]
        }
        enum Value: Decodable, Equatable {
            case time(Double)
            case text(String)

            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let time = try? container.decode(Double.self) {
                    self = .time(time)
                } else {
                    self = .text(try container.decode(String.self))
                }
            }
        }
        let status: String
        let data: Body
        let warnings: [String]?
    }

    private func answer(_ series: [SeriesData], _ parallel: QueryControl.Parallel?) throws -> (pieces: Int, [UInt8]) {
        let encoder = QueryResultEncoder(
            value: .matrix(series), warnings: ["w"], infos: [], stats: nil, parallel: parallel)
        guard case .pieces(let next) = encoder.reply().body else { return (0, []) }
        var pieces = 0
        var bytes: [UInt8] = []
        while let piece = try next() {
            pieces += 1
            bytes += piece
        }
        return (pieces, bytes)
    }

    /// Series of very different lengths, written side by side and one after the other: to the same bytes, and nothing is missing.
    @Test(arguments: [
        [60_000, 1], [1, 60_000], [30_000, 0, 30_000, 5], [Int](repeating: 11, count: 6000),
        [11_000, 11_000, 11_000, 11_000, 11_000],
        [Int](repeating: 10_080, count: 40),
    ]) func largeAnswersAreWrittenSideBySide(lengths: [Int]) throws {
        let series = lengths.enumerated().map { number, length in
            SeriesData(
                labels: Labels([("__name__", "m"), ("n", "\(number)\"")]),
                timestamps: (0..<length).map { Int64($0) * 15_500 },
                values: (0..<length).map { Double($0 * number) / 7 })
        }
        let threads = sharedWork(threads: 4) { WorkerPool.shared.submit($0) }
        let alone = try answer(series, nil)
        let together = try answer(series, threads)
        #expect(alone.1 == together.1 && alone.pieces == together.pieces && alone.pieces >= 1)
        // Reading it takes seconds in a debug build.
        guard lengths.count == 4 else { return }
        let read = try JSONDecoder().decode(Answer.self, from: Data(together.1))
        #expect(read.status == "success" && read.data.resultType == "matrix" && read.warnings == ["w"])
        #expect(read.data.result.map(\.values.count) == lengths)
        #expect(read.data.result.map { $0.metric["n"] } == lengths.indices.map { "\($0)\"" })
        #expect(
            read.data.result.last?.values.last?.first == series.last?.timestamps.last.map { .time(Double($0) / 1000) })
    }
}
