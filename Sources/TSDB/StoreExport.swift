package import MetricModel
import Platform

extension Store {
    /// Hands out every series that all matchers of one of the sets match with its samples within the bounds, day after day,
    /// some hundred series of a day at a time: memory does not grow with the store. A series comes once for each day it has
    /// samples in, its times ascending over all of them. Stale markers are among the samples.
    package func forEachSeries(
        _ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, _ body: (SeriesData) throws -> Void
    ) throws {
        let control = QueryControl(maxSamples: .max)
        var days = Set(partitions.map(\.start))
        let bounds = front.withLock { $0.head.timeBounds() }
        if let (first, last) = bounds {
            var day = dayStart(first)
            while day <= last {
                days.insert(day)
                day += Partition.day
            }
        }
        for day in days.sorted() where day <= through && day + Partition.day > from {
            let (low, high) = (max(from, day), min(through, day + Partition.day - 1))
            // One name at a time, so that a day's series are never all in memory.
            for name in try labelValues(Labels.metricNameLabel, [], from: low, through: high, limit: 0) {
                var seen: Set<Labels> = []
                for matchers in matcherSets {
                    let named = try LabelMatcher(Labels.metricNameLabel, .equal, name)
                    for series in try select([named] + matchers, from: low, through: high, control: control)
                    where matcherSets.count == 1 || seen.insert(series.labels).inserted {
                        try body(series)
                    }
                }
            }
        }
    }
}
