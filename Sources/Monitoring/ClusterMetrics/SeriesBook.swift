import MetricModel

/// One value of one series.
struct StateSample {
    var labels: Labels
    var value: Double
}

/// Series that are written anew at every beat, in pages of those that belong together (one object's). Of a page only the
/// store's handles and values are kept, 16 bytes a series; labels are made again when the page changes. Used by one
/// thread at a time.
struct SeriesBook<Key: Hashable> {
    private struct Page {
        var version: String
        var refs: [SeriesRef]
        var values: [Double]
    }

    private var pages: [Key: Page] = [:]
    private(set) var seriesCount = 0
    /// Series that found no room since the book was begun.
    private(set) var refused = 0
    private let limit: Int
    private var batch = SampleBatch()
    private var places: [(key: Key, index: Int)] = []

    init(limit: Int) { self.limit = limit }

    var keys: [Key] { Array(pages.keys) }

    func version(_ key: Key) -> String? { pages[key]?.version }

    /// Takes a page's new contents; series that it no longer has end at `time`.
    mutating func set(
        _ key: Key, version: String, _ samples: [StateSample], at time: Int64, appender: any SampleAppender
    ) throws {
        let before = pages[key]
        let room = limit - seriesCount + (before?.refs.count ?? 0)
        if samples.count > room {
            refused += samples.count
            remove(key, at: time)
            return
        }
        let refs = samples.isEmpty ? [] : try appender.resolve(samples.map(\.labels))
        pages[key] = Page(version: version, refs: refs, values: samples.map(\.value))
        seriesCount += refs.count - (before?.refs.count ?? 0)
        guard let before, before.refs != refs else { return }
        let kept = Set(refs)
        for ref in before.refs where !kept.contains(ref) { end(ref, key, time) }
    }

    /// The page's series end.
    mutating func remove(_ key: Key, at time: Int64) {
        guard let page = pages.removeValue(forKey: key) else { return }
        seriesCount -= page.refs.count
        for ref in page.refs { end(ref, key, time) }
    }

    mutating func removeAll(at time: Int64) {
        for key in keys { remove(key, at: time) }
    }

    private mutating func end(_ ref: SeriesRef, _ key: Key, _ time: Int64) {
        batch.append(ref: ref, timestamp: time, value: .staleMarker)
        places.append((key, -1))
    }

    /// Writes every page's values. Pages whose series the store has dropped meanwhile are returned (their versions
    /// forgotten): set them again.
    mutating func write(at time: Int64, appender: any SampleAppender) throws -> [Key] {
        for (key, page) in pages {
            for (index, ref) in page.refs.enumerated() {
                batch.append(ref: ref, timestamp: time, value: page.values[index])
                places.append((key, index))
            }
        }
        defer {
            batch.removeAll()
            places.removeAll(keepingCapacity: true)
        }
        if batch.count == 0 { return [] }
        let outcome = try appender.append(batch)
        var lost: Set<Key> = []
        for position in outcome.unknownRefs where places[position].index >= 0 { lost.insert(places[position].key) }
        for key in lost {
            seriesCount -= pages[key]?.refs.count ?? 0
            pages[key] = nil
        }
        return Array(lost)
    }

    /// Writes only what ended.
    mutating func writeEnds(appender: any SampleAppender) throws {
        defer {
            batch.removeAll()
            places.removeAll(keepingCapacity: true)
        }
        if batch.count > 0 { _ = try appender.append(batch) }
    }
}

/// Makes the samples of one object under labels that they have in common.
struct SampleMaker {
    private let common: [(String, String)]
    private var samples: [StateSample] = []

    init(_ common: [(String, String)]) { self.common = common }

    mutating func add(_ name: String, _ labels: [(String, String)] = [], _ value: Double) {
        var builder = LabelsBuilder()
        builder.set(Labels.metricNameLabel, name)
        for (label, text) in common { builder.set(label, text) }
        for (label, text) in labels { builder.set(label, text) }
        samples.append(StateSample(labels: builder.labels(), value: value))
    }

    mutating func add(_ name: String, _ labels: [(String, String)] = [], _ value: Int?) {
        if let value { add(name, labels, Double(value)) }
    }

    mutating func add(_ name: String, _ labels: [(String, String)] = [], flag: Bool) {
        add(name, labels, flag ? 1 : 0)
    }

    /// Seconds since 1970.
    mutating func add(_ name: String, _ labels: [(String, String)] = [], milliseconds: Int64?) {
        if let milliseconds { add(name, labels, Double(milliseconds) / 1000) }
    }

    /// One series for each state, 1 for the one that is.
    mutating func addState(
        _ name: String, _ label: String, _ states: [String], is state: String?, _ labels: [(String, String)] = []
    ) {
        for candidate in states { add(name, labels + [(label, candidate)], flag: candidate == state) }
    }

    mutating func take() -> [StateSample] {
        // The same series twice in one object (a resource named in two spellings): the first counts.
        var seen: Set<Labels> = []
        return samples.filter { seen.insert($0.labels).inserted }
    }
}
