import Logging
package import MetricModel
import Platform

extension Store: Queryable {
    package func select(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws
        -> [SeriesData]
    {
        try select(matchers, from: from, through: through, newest: false, control: control)
    }

    package func selectNewest(_ matchers: [LabelMatcher], from: Int64, through: Int64, control: QueryControl) throws
        -> [SeriesData]
    {
        try select(matchers, from: from, through: through, newest: true, control: control)
    }

    private func select(
        _ matchers: [LabelMatcher], from: Int64, through: Int64, newest: Bool, control: QueryControl
    ) throws -> [SeriesData] {
        if from > through { return [] }
        defer { if control.samplesHeld > 100_000 { ProcessMemory.noteLargeQuery() } }
        // The head first: what a flush moves meanwhile is then seen twice, never missed.
        var excerpts = front.withLock { front in
            front.head.excerpts(matchers, from: from, through: through, newest: newest, marks: marks)
        }
        if !excerpts.isSorted { excerpts.series = excerpts.series.sortedByLabels(\.labels) }
        if excerpts.isWhole {
            let (found, version) = (excerpts.found, excerpts.version)
            front.withLock { $0.head.keep(found, matchers, version: version) }
        }
        let overlapping = try partitions.filter { partition in
            guard partition.start <= through, partition.end > from else { return false }
            if partition.surelyEnds(before: from) { return false }
            try control.checkMayWait()
            return try reading(partition) { try partition.mayReach(from) } ?? false
        }
        if overlapping.isEmpty {
            return try decode(excerpts, from: from, through: through, control: control, \.data)
        }
        var places: [Labels: Int] = [:]
        var out: [SeriesSamples] = []
        // Series of one source have labels of their own: only what comes from several needs joining.
        let joins = overlapping.count > 1 || excerpts.hasSamples
        for partition in overlapping {
            try control.check()
            let found = try reading(partition) {
                try partition.select(
                    matchers, from: from, through: through, control: control, known: partitionSelections
                ) { row in
                    self.metrics.damagedRows.add()
                    self.logger.error(
                        "a damaged row is left out", metadata: ["file": "\(partition.path)", "row": "\(row)"])
                }
            }
            if joins { for series in found ?? [] { add(series, &places, &out) } } else { out = found ?? [] }
        }
        if joins {
            for series in try decode(excerpts, from: from, through: through, control: control, \.self) {
                add(series, &places, &out)
            }
        }
        return out.map(\.data).sortedByLabels(\.labels)
    }

    /// The samples of what was copied from the head, as `wrap` makes them, side by side where there is much. Charges
    /// `control` with them.
    private func decode<R: Sendable>(
        _ excerpts: HeadExcerpts, from: Int64, through: Int64, control: QueryControl,
        _ wrap: @escaping @Sendable (SeriesSamples) -> R
    ) throws -> [R] {
        let count = excerpts.series.count
        // Waking another thread pays for some milliseconds' work only.
        let pieces = control.parallel == nil ? 1 : max(1, min(8, count / 16, excerpts.bytes.count >> 20))
        let marks = marks
        let results = try side(by: control.parallel, pieces) { piece in
            let scratch = DecodeScratch()
            var passed: [(slot: UInt32, entry: HeadMarks.Entry)] = []
            var out: [R] = []
            let range = count * piece / pieces..<count * (piece + 1) / pieces
            out.reserveCapacity(range.count)
            try excerpts.bytes.withUnsafeBytes { bytes in
                for index in range {
                    if index & 15 == 0 { try control.check() }
                    let excerpt = excerpts.series[index]
                    var series = SeriesSamples(labels: excerpt.labels)
                    if let newest = excerpt.newest {
                        series.timestamps = [newest.time]
                        series.values = [Double(bitPattern: newest.bits)]
                    }
                    for place in excerpt.codes {
                        let code = excerpts.codes[place]
                        let before = HeadCode.decode(
                            UnsafeRawBufferPointer(rebasing: bytes[code.bytes]), padding: HeadCode.longest,
                            start: code.start, from: from, through: through, scratch: scratch,
                            timestamps: &series.timestamps, values: &series.values)
                        // The marks there are will do while little is read that was not asked for.
                        let pays =
                            code.start == nil || before > HeadMarks.nearest && before > code.bytes.count / 4
                        if !pays || scratch.marks.isEmpty { continue }
                        let entry = HeadMarks.Entry(
                            generation: excerpt.generation, firstTime: code.firstTime, marks: scratch.marks)
                        passed.append((excerpt.slot, entry))
                    }
                    if let extra = excerpt.extra.map({ excerpts.extras[$0] }) {
                        let late = extra.late.sorted { $0.time < $1.time }
                        if !late.isEmpty {
                            series.merge(late.map(\.time)[...], late.map { Double(bitPattern: $0.bits) }[...])
                        }
                        series.histograms = extra.histograms
                    }
                    if series.timestamps.isEmpty && series.histograms.isEmpty { continue }
                    try control.charge(series.timestamps.count)
                    out.append(wrap(series))
                }
            }
            marks.keep(passed)
            return out
        }
        return results.count == 1 ? results[0] : results.flatMap { $0 }
    }

    private func add(_ series: SeriesSamples, _ places: inout [Labels: Int], _ out: inout [SeriesSamples]) {
        if let place = places[series.labels] {
            out[place].merge(series.timestamps[...], series.values[...])
            out[place].histograms += series.histograms
        } else {
            places[series.labels] = out.count
            out.append(series)
        }
    }

    package func series(_ matcherSets: [[LabelMatcher]], from: Int64, through: Int64, limit: Int) throws -> [Labels] {
        var found: Set<Labels> = []
        for matchers in matcherSets {
            found.formUnion(
                front.withLock { front in
                    front.head.select(matchers)
                        .filter { front.head.overlaps($0, from: from, through: through) }
                        .map { front.head.labels.labels(Int($0)) }
                })
            for partition in partitions where partition.start <= through && partition.end > from {
                found.formUnion(try reading(partition) { try partition.series(matchers) } ?? [])
            }
        }
        let sorted = found.sorted()
        return limit > 0 ? Array(sorted.prefix(limit)) : sorted
    }

    package func labelNames(_ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws -> [String] {
        if from > through { return [] }
        var names: Set<String> = []
        if matchers.isEmpty {
            names.formUnion(
                front.withLock { front -> [String] in
                    guard front.head.overlaps(from: from, through: through) else { return [] }
                    return front.head.index.names(front.head.labels.symbols)
                })
            for partition in partitions where partition.start <= through && partition.end > from {
                _ = try reading(partition) { try partition.read { try Postings.names($0) { names.insert($0) } } }
            }
        } else {
            for labels in try series([matchers], from: from, through: through, limit: 0) {
                for (name, _) in labels.pairs { names.insert(name) }
            }
        }
        return limited(names, limit)
    }

    package func labelValues(_ name: String, _ matchers: [LabelMatcher], from: Int64, through: Int64, limit: Int) throws
        -> [String]
    {
        if from > through { return [] }
        var values: Set<String> = []
        if matchers.isEmpty {
            values.formUnion(
                front.withLock { front -> [String] in
                    guard front.head.overlaps(from: from, through: through) else { return [] }
                    return front.head.index.values(name, front.head.labels.symbols)
                })
            for partition in partitions where partition.start <= through && partition.end > from {
                _ = try reading(partition) {
                    try partition.read { try Postings.values($0, name) { values.insert($0) } }
                }
            }
        } else {
            for labels in try series([matchers], from: from, through: through, limit: 0) {
                if let value = labels[name] { values.insert(value) }
            }
        }
        return limited(values, limit)
    }

    private func limited(_ texts: Set<String>, _ limit: Int) -> [String] {
        let sorted = texts.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        return limit > 0 ? Array(sorted.prefix(limit)) : sorted
    }

    /// Runs a read of a partition; where the file proves damaged it is set aside and the query goes on without it.
    private func reading<R>(_ partition: Partition, _ body: () throws -> R) throws -> R? {
        do {
            return try body()
        } catch let error as SQLiteError where error.isDamage {
            setAside(partition, error.description)
            return nil
        } catch let error as SQLiteError where !partitions.contains(where: { $0 === partition }) {
            // Retention deleted the day while it was read.
            logger.debug("a day went while it was read", metadata: ["error": "\(error)"])
            return nil
        }
    }
}

extension SeriesSamples {
    /// The same as the engine takes it: floats and histograms in one column of time.
    var data: SeriesData {
        if histograms.isEmpty { return SeriesData(labels: labels, timestamps: timestamps, values: values) }
        var sorted = histograms.sorted { $0.time < $1.time }
        var out = SeriesData(labels: labels, timestamps: [], values: [], histograms: [])
        var column: [NativeHistogram?] = []
        var index = 0
        sorted.append((.max, NativeHistogram()))
        for (time, histogram) in sorted {
            while index < timestamps.count, timestamps[index] < time {
                out.timestamps.append(timestamps[index])
                out.values.append(values[index])
                column.append(nil)
                index += 1
            }
            if time == .max || out.timestamps.last == time { continue }
            out.timestamps.append(time)
            out.values.append(0)
            column.append(histogram)
        }
        out.histograms = column
        return out
    }
}
