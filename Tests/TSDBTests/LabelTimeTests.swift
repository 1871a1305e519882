import MetricModel
import Testing

@testable import TSDB

/// Names and values of labels are told of the time that is asked about, in the head and in a day's file.
@Suite struct LabelTimeTests {
    @Test func nothingIsToldOfTimesFromWhichThereIsNothing() throws {
        let scene = StoreTests()
        let store = try scene.open()
        let (now, day) = (scene.now, Int64(86_400_000))
        _ = try scene.append(store, Labels([("__name__", "m"), ("n", "1")]), now - 1000, 1)
        for flushed in [false, true] {
            if flushed { store.flush() }
            #expect(try store.labelNames([], from: now - 2000, through: now, limit: 0) == ["__name__", "n"])
            #expect(try store.labelValues("n", [], from: .min, through: .max, limit: 0) == ["1"])
            #expect(try store.labelNames([], from: 0, through: now - 3 * day, limit: 0).isEmpty)
            #expect(try store.labelValues("n", [], from: now + 3 * day, through: now + 4 * day, limit: 0).isEmpty)
            #expect(try store.labelNames([], from: now, through: now - 1, limit: 0).isEmpty)
        }
    }
}
