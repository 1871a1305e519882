import Glibc
import MetricModel

/// What one target's series looked like in its last scrapes: the bytes that name a series in the exposition, and the
/// store's reference for it. A scrape in the order of the one before finds each series with one comparison of memory;
/// another order costs one hash look-up. Used by one scrape at a time.
struct ScrapeCache {
    struct Entry {
        var offset: UInt32
        var length: UInt32
        /// 0 where relabelling drops the series.
        var ref: SeriesRef
        /// The last scrape that had it.
        var seen: UInt32
        /// Whether it had a timestamp of its own then.
        var hasTimestamp = false
        /// Where the labels are, to resolve the series again.
        var labels: Int32
    }

    private(set) var entries: [Entry] = []
    private var texts: [UInt8] = []
    private(set) var labels: [Labels] = []
    private var byHash: [UInt64: [UInt32]] = [:]
    private var expected = 0
    private(set) var scrape: UInt32 = 0
    /// Entries the current scrape has seen.
    private(set) var live = 0

    mutating func begin() {
        scrape += 1
        expected = 0
        live = 0
    }

    /// The entry whose text stands at `at` and ends there with a blank, guessed from the order of the scrape before.
    @inline(__always)
    mutating func expectedEntry(_ body: UnsafeRawBufferPointer, at: Int) -> Int? {
        guard expected < entries.count else { return nil }
        let (offset, length) = (Int(entries[expected].offset), Int(entries[expected].length))
        guard at + length < body.count, body[at + length] == 0x20, let base = body.baseAddress else { return nil }
        let same = texts.withUnsafeBytes { memcmp($0.baseAddress.map { $0 + offset } ?? base, base + at, length) == 0 }
        guard same else { return nil }
        expected += 1
        return expected - 1
    }

    mutating func entry(_ series: UnsafeRawBufferPointer) -> Int? {
        for index in byHash[textHash(series)] ?? [] {
            let entry = entries[Int(index)]
            guard Int(entry.length) == series.count else { continue }
            let same = texts.withUnsafeBytes { all in
                all[Int(entry.offset)..<Int(entry.offset) + series.count].elementsEqual(series)
            }
            if same {
                expected = Int(index) + 1
                return Int(index)
            }
        }
        return nil
    }

    /// Adds a series; `labels` nil where relabelling drops it.
    mutating func add(_ series: UnsafeRawBufferPointer, ref: SeriesRef, labels set: Labels?) -> Int {
        let index = entries.count
        var place: Int32 = -1
        if let set {
            place = Int32(labels.count)
            labels.append(set)
        }
        entries.append(
            Entry(
                offset: UInt32(texts.count), length: UInt32(series.count), ref: ref, seen: 0, labels: place))
        texts.append(contentsOf: series)
        byHash[textHash(series), default: []].append(UInt32(index))
        expected = index + 1
        return index
    }

    /// Notes that the current scrape has this series; false where it had it already.
    @inline(__always)
    mutating func see(_ index: Int, hasTimestamp: Bool) -> Bool {
        if entries[index].seen == scrape { return false }
        entries[index].seen = scrape
        entries[index].hasTimestamp = hasTimestamp
        live += 1
        return true
    }

    mutating func setRef(_ index: Int, _ ref: SeriesRef) { entries[index].ref = ref }

    /// Series that the scrape before had and the current one has not: their end is to be marked.
    func vanished(trackTimestamps: Bool) -> [Int] {
        guard scrape > 1 else { return [] }
        return entries.indices.filter { index in
            let entry = entries[index]
            return entry.seen == scrape - 1 && entry.ref != 0 && (trackTimestamps || !entry.hasTimestamp)
        }
    }

    /// Forgets series gone for some scrapes once they are most of what is kept.
    mutating func sweep() {
        guard entries.count > 256, live * 2 < entries.count else { return }
        var fresh = ScrapeCache()
        fresh.scrape = scrape
        for entry in entries where entry.seen + 10 > scrape {
            let text = Array(texts[Int(entry.offset)..<Int(entry.offset) + Int(entry.length)])
            let index = text.withUnsafeBytes {
                fresh.add($0, ref: entry.ref, labels: entry.labels < 0 ? nil : labels[Int(entry.labels)])
            }
            fresh.entries[index].seen = entry.seen
            fresh.entries[index].hasTimestamp = entry.hasTimestamp
        }
        fresh.live = live
        self = fresh
    }

    /// FNV-1a over words of eight bytes; the table is per target and its texts come from one server.
    private func textHash(_ text: UnsafeRawBufferPointer) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325 ^ UInt64(text.count)
        var index = 0
        while index + 8 <= text.count {
            hash = (hash ^ text.loadUnaligned(fromByteOffset: index, as: UInt64.self)) &* 0x9e37_79b9_7f4a_7c15
            hash ^= hash >> 29
            index += 8
        }
        while index < text.count {
            hash = (hash ^ UInt64(text[index])) &* 0x0100_0000_01b3
            index += 1
        }
        return hash ^ hash >> 32
    }
}
