import Logging
package import MetricModel
import Platform

/// Adds samples of any time to a store that nobody else has open, a bounded number of them in memory at a time: each time
/// there are so many they go to their days' files. At the end those days are written anew, so that they are as if the
/// samples had come in order. Used by one thread.
package final class StoreImport {
    private let store: Store
    /// Samples kept in memory, 16 bytes each.
    private let budget: Int
    private var pending: [Labels: SeriesSamples] = [:]
    private var pendingSamples = 0
    /// How often each day was written to; a day that had a file before counts once more.
    private var days: [Int64: Int] = [:]
    private var newDays: Set<Int64> = []
    package private(set) var samples = 0
    package private(set) var series = 0

    package init(_ store: Store, budget: Int = 8_000_000) {
        self.store = store
        self.budget = budget
    }

    package var dayCount: Int { days.count }

    package func add(_ labels: Labels, _ time: Int64, _ value: Double) throws {
        if pending[labels] == nil {
            pending[labels] = SeriesSamples(labels: labels)
            // A series takes room of its own.
            pendingSamples += 32
        }
        pending[labels]?.timestamps.append(time)
        pending[labels]?.values.append(value)
        samples += 1
        pendingSamples += 1
        if pendingSamples >= budget { try write() }
    }

    /// Writes what is left and puts the touched days in order.
    package func finish() throws {
        try write()
        for partition in store.partitions where days[partition.start, default: 0] > 1 { try store.rewrite(partition) }
        for partition in store.partitions where newDays.contains(partition.start) {
            try AtomicFile.sync(partition.path)
        }
        try AtomicFile.syncDirectory(store.options.path)
    }

    private func write() throws {
        if pending.isEmpty { return }
        var byDay: [Int64: [Labels]] = [:]
        for labels in pending.keys {
            pending[labels]?.sortByTime()
            guard let times = pending[labels]?.timestamps else { continue }
            var at = 0
            while at < times.count {
                let day = dayStart(times[at])
                byDay[day, default: []].append(labels)
                at = times.partitioningIndex { $0 >= day + Partition.day }
            }
        }
        for day in byDay.keys.sorted() {
            let order = (byDay[day] ?? []).sorted()
            var position = 0
            let isThere = store.partitions.contains { $0.start == day }
            if !isThere { newDays.insert(day) }
            days[day, default: isThere ? 1 : 0] += 1
            try store.addToDay(day, durable: !newDays.contains(day)) {
                guard position < order.count else { return nil }
                defer { position += 1 }
                var part = SeriesSamples(labels: order[position])
                guard let all = pending[order[position]] else { return part }
                let low = all.timestamps.partitioningIndex { $0 >= day }
                let high = all.timestamps.partitioningIndex { $0 >= day + Partition.day }
                part.timestamps = Array(all.timestamps[low..<high])
                part.values = Array(all.values[low..<high])
                return part
            }
        }
        series = max(series, pending.count)
        pending = [:]
        pendingSamples = 0
    }
}

extension Store {
    /// Writes series with samples of one day to its file.
    fileprivate func addToDay(_ day: Int64, durable: Bool, _ next: () throws -> SeriesSamples?) throws {
        try back.withLock { back in
            let writer = try writer(for: day, &back, durable: durable)
            defer {
                writer.close()
                back.writers[day] = nil
            }
            try writer.write(log: nil, next)
        }
    }
}

extension SeriesSamples {
    /// In order of time; of several samples of one time the first stays.
    fileprivate mutating func sortByTime() {
        var isSorted = true
        for index in timestamps.indices.dropFirst() where timestamps[index] <= timestamps[index - 1] {
            isSorted = false
            break
        }
        if isSorted { return }
        let order = timestamps.indices.sorted { a, b in
            timestamps[a] == timestamps[b] ? a < b : timestamps[a] < timestamps[b]
        }
        var times: [Int64] = []
        var floats: [Double] = []
        for index in order where times.last != timestamps[index] {
            times.append(timestamps[index])
            floats.append(values[index])
        }
        (timestamps, values) = (times, floats)
    }
}
