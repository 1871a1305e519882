#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Series in memory: a store for tests, test scripts and rule unit tests. Thread-safe.
package final class MemorySeries: Queryable, SampleAppender, @unchecked Sendable {
    // Unchecked: everything below is touched only while `mutex` is held.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var series: [SeriesData] = []
    private var places: [Labels: Int] = [:]
    private var order: [Int] = []
    private var orderIsStale = false

    package init() {
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    private func locked<R>(_ body: () throws -> R) rethrows -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body()
    }

    /// Forgets everything.
    package func clear() {
        locked {
            series = []
            places = [:]
            order = []
        }
    }

    /// Adds a sample, at any place in time; one that has the timestamp already is replaced. Histograms of counters get the
    /// reset hints that a store gives them.
    package func append(_ labels: Labels, timestamp: Int64, value: Double, histogram: NativeHistogram? = nil) {
        locked { insert(place(labels), timestamp, value, histogram) }
    }

    private func place(_ labels: Labels) -> Int {
        if let found = places[labels] { return found }
        places[labels] = series.count
        series.append(SeriesData(labels: labels, timestamps: [], values: []))
        orderIsStale = true
        return series.count - 1
    }

    private func insert(_ place: Int, _ timestamp: Int64, _ value: Double, _ histogram: NativeHistogram?) {
        var histogram = histogram
        if histogram != nil, series[place].histograms == nil {
            series[place].histograms = [NativeHistogram?](repeating: nil, count: series[place].timestamps.count)
        }
        var at = series[place].timestamps.count
        while at > 0, series[place].timestamps[at - 1] >= timestamp { at -= 1 }
        if let given = histogram, given.counterResetHint != .gauge {
            let before = at > 0 ? series[place].histograms?[at - 1] : nil
            if let before, before.counterResetHint != .gauge, given.counterResetHint != .reset {
                var plain = given
                plain.counterResetHint = .unknown
                histogram?.counterResetHint = plain.isReset(after: before) ? .reset : .notReset
            } else if given.counterResetHint != .reset {
                histogram?.counterResetHint = .unknown
            }
        }
        if at < series[place].timestamps.count, series[place].timestamps[at] == timestamp {
            series[place].values[at] = value
            series[place].histograms?[at] = histogram
            return
        }
        series[place].timestamps.insert(timestamp, at: at)
        series[place].values.insert(value, at: at)
        series[place].histograms?.insert(histogram, at: at)
    }

    // MARK: - SampleAppender

    package func resolve(_ wanted: [Labels]) throws -> [SeriesRef] { locked { wanted.map { SeriesRef(place($0)) } } }

    package func append(_ batch: SampleBatch) throws -> AppendOutcome {
        locked {
            var outcome = AppendOutcome()
            var nextHistogram = 0
            for i in 0..<batch.count {
                var histogram: NativeHistogram?
                if nextHistogram < batch.histograms.count, batch.histograms[nextHistogram].index == i {
                    histogram = batch.histograms[nextHistogram].histogram
                    nextHistogram += 1
                }
                guard batch.refs[i] < SeriesRef(series.count) else {
                    outcome.unknownRefs.append(i)
                    continue
                }
                insert(Int(batch.refs[i]), batch.timestamps[i], batch.values[i], histogram)
                outcome.appended += 1
            }
            return outcome
        }
    }

    // MARK: - Queryable

    private func sortedPlaces() -> [Int] {
        if orderIsStale || order.count != series.count {
            order = series.indices.sorted { series[$0].labels < series[$1].labels }
            orderIsStale = false
        }
        return order
    }

    package func select(
        _ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl
    ) throws -> [SeriesData] {
        try locked {
            var out: [SeriesData] = []
            for i in sortedPlaces() {
                let one = series[i]
                guard matchers.allSatisfy({ $0.matches(one.labels) }) else { continue }
                var lo = 0
                var hi = one.timestamps.count
                while lo < hi, one.timestamps[lo] < from { lo += 1 }
                while hi > lo, one.timestamps[hi - 1] > through { hi -= 1 }
                if lo == hi { continue }
                try control.charge(hi - lo)
                out.append(
                    SeriesData(
                        labels: one.labels, timestamps: Array(one.timestamps[lo..<hi]),
                        values: Array(one.values[lo..<hi]), histograms: one.histograms.map { Array($0[lo..<hi]) }))
            }
            return out
        }
    }

    package func series(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels] {
        locked {
            var out: [Labels] = []
            for i in sortedPlaces() where hasSample(series[i], from, through) {
                let labels = series[i].labels
                if matcherSets.isEmpty || matcherSets.contains(where: { $0.allSatisfy { $0.matches(labels) } }) {
                    out.append(labels)
                }
                if limit > 0, out.count == limit { break }
            }
            return out
        }
    }

    private func hasSample(_ one: SeriesData, _ from: Int64, _ through: Int64) -> Bool {
        one.timestamps.contains { $0 >= from && $0 <= through }
    }

    package func labelNames(
        _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int
    ) throws -> [String] {
        let names = Set(try series([matchers], from: from, through: through, limit: 0).flatMap { $0.pairs.map(\.name) })
        return limited(names, limit)
    }

    package func labelValues(
        _ name: String, _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int
    ) throws -> [String] {
        let values = Set(try series([matchers], from: from, through: through, limit: 0).compactMap { $0[name] })
        return limited(values, limit)
    }

    private func limited(_ texts: Set<String>, _ limit: Int) -> [String] {
        let sorted = texts.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        return limit > 0 ? Array(sorted.prefix(limit)) : sorted
    }
}
