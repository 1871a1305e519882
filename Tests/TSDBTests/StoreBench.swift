import Glibc
import Logging
import MetricModel
import Platform
import Testing

@testable import TSDB

/// A directory that goes with the test.
final class ScratchDirectory {
    let path: String

    init() {
        var template = Array("/tmp/kops-store-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template))
    }

    deinit { try? FileSystem.removeTree(path) }
}

/// A store in a directory of its own with a clock that stands still.
struct StoreBench {
    let scratch = ScratchDirectory()
    let now: Int64 = 1_764_000_000_000

    func open(_ change: (inout StoreOptions) -> Void = { _ in }) throws -> Store {
        var options = StoreOptions(path: scratch.path)
        options.retentionTime = 0
        options.minimumFree = 0
        // Tests write days back and forth.
        options.outOfOrderWindow = 4000 * 86_400_000
        change(&options)
        var log = Logger(label: "test")
        log.logLevel = .critical
        let now = now
        return try Store(options: options, clock: WallClock { now }, metrics: MetricRegistry(), log: log)
    }

    func everything(_ store: Store, _ name: String = ".+") throws -> [Labels: [Int64: Double]] {
        var out: [Labels: [Int64: Double]] = [:]
        let matcher = try LabelMatcher("__name__", .regex, name)
        for series in try store.select([matcher], from: .min, through: .max, control: QueryControl()) {
            out[series.labels] = Dictionary(uniqueKeysWithValues: zip(series.timestamps, series.values))
        }
        return out
    }

    @discardableResult
    func append(_ store: Store, _ labels: Labels, _ time: Int64, _ value: Double) throws -> AppendOutcome {
        var batch = SampleBatch()
        batch.append(ref: try store.resolve([labels])[0], timestamp: time, value: value)
        return try store.append(batch)
    }

    func labels(_ name: String, _ n: Int = 0) -> Labels { Labels([("__name__", name), ("n", "\(n)")]) }
}
