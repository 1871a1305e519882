import Glibc
import MetricModel

/// What one target's series looked like in its last scrapes: the bytes that name a series in the exposition, and the
/// store's reference for it. A scrape in the order of the one before finds each series with two comparisons of memory;
/// another order costs one hash look-up. Used by one scrape at a time.
///
/// Neighbouring lines begin alike, so a text is kept as the length it shares with the one before it and the rest; every
/// sixteenth is kept whole, so that any of them is soon put together.
struct ScrapeCache {
    struct Entry {
        /// 0 where relabelling drops the series.
        var ref: SeriesRef
        /// Where the rest of the text begins.
        var rest: UInt32
        var length: UInt32
        /// The last scrape that had it.
        var seen: UInt32
        var shared: UInt8
        /// Whether it had a timestamp of its own then.
        var hasTimestamp = false
    }

    private(set) var entries: [Entry] = []
    private var rests: [UInt8] = []
    /// By hash: half of it and the index plus one; 0 is free.
    private var table: [UInt64] = []
    private var expected = 0
    /// Where the text of entry `expected - 1` lies in the current body.
    private var previousAt = 0
    private var last: [UInt8] = []
    private(set) var scrape: UInt32 = 0
    /// Entries the current scrape has seen.
    private(set) var live = 0
    private var grown = false

    mutating func begin() {
        scrape += 1
        expected = 0
        live = 0
    }

    /// The entry whose text stands at `at` and ends there with a blank, guessed from the order of the scrape before.
    @inline(__always)
    mutating func expectedEntry(_ body: UnsafeRawBufferPointer, at: Int) -> Int? {
        guard expected < entries.count, let base = body.baseAddress else { return nil }
        let entry = entries[expected]
        let length = Int(entry.length)
        guard at + length < body.count, body[at + length] == 0x20 else { return nil }
        let shared = Int(entry.shared)
        // The entry before was the line before, where it shares anything with it.
        guard shared == 0 || memcmp(base + previousAt, base + at, shared) == 0 else { return nil }
        let same = rests.withUnsafeBytes { rests in
            guard let start = rests.baseAddress else { return length == shared }
            return memcmp(start + Int(entry.rest), base + at + shared, length - shared) == 0
        }
        guard same else { return nil }
        previousAt = at
        expected += 1
        return expected - 1
    }

    private func text(_ index: Int) -> [UInt8] {
        var start = index
        while entries[start].shared > 0 { start -= 1 }
        var text: [UInt8] = []
        for entry in entries[start...index] {
            text.removeLast(text.count - Int(entry.shared))
            text += rests[Int(entry.rest)..<Int(entry.rest) + Int(entry.length) - Int(entry.shared)]
        }
        return text
    }

    /// The entry of a series that stands at `at` in the body.
    mutating func entry(_ series: UnsafeRawBufferPointer, at: Int) -> Int? {
        guard !table.isEmpty else { return nil }
        let hash = textHash(series)
        var place = Int(truncatingIfNeeded: hash >> 32) & (table.count - 1)
        while table[place] != 0 {
            if table[place] >> 32 == hash >> 32 {
                let index = Int(table[place] & 0xffff_ffff) - 1
                if Int(entries[index].length) == series.count, text(index).elementsEqual(series) {
                    expected = index + 1
                    previousAt = at
                    return index
                }
            }
            place = (place + 1) & (table.count - 1)
        }
        return nil
    }

    /// Adds a series that stands at `at` in the body.
    mutating func add(_ series: UnsafeRawBufferPointer, at: Int, ref: SeriesRef) -> Int {
        let index = entries.count
        var shared = 0
        if index & 15 != 0 {
            let most = min(255, last.count, series.count)
            while shared < most, last[shared] == series[shared] { shared += 1 }
        }
        entries.append(
            Entry(
                ref: ref, rest: UInt32(rests.count), length: UInt32(series.count), seen: 0, shared: UInt8(shared)))
        rests.append(contentsOf: series[shared...])
        last.removeAll(keepingCapacity: true)
        last.append(contentsOf: series)
        if entries.count * 4 > table.count * 3 { widen() }
        put(textHash(series), index)
        expected = index + 1
        previousAt = at
        grown = true
        return index
    }

    private mutating func widen() {
        let old = table
        table = [UInt64](repeating: 0, count: max(64, old.count * 2))
        for entry in old where entry != 0 { put(entry & ~0xffff_ffff, Int(entry & 0xffff_ffff) - 1) }
    }

    private mutating func put(_ hash: UInt64, _ index: Int) {
        var place = Int(truncatingIfNeeded: hash >> 32) & (table.count - 1)
        while table[place] != 0 { place = (place + 1) & (table.count - 1) }
        table[place] = hash & ~0xffff_ffff | UInt64(index + 1)
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

    /// The text that names the series in the exposition.
    func seriesText(_ index: Int) -> [UInt8] { text(index) }

    /// Series that the scrape before had and the current one has not: their end is to be marked.
    func vanished(trackTimestamps: Bool) -> [Int] {
        guard scrape > 1, live < entries.count else { return [] }
        return entries.indices.filter { index in
            let entry = entries[index]
            return entry.seen == scrape - 1 && entry.ref != 0 && (trackTimestamps || !entry.hasTimestamp)
        }
    }

    /// Whether the texts leave no room for a further one.
    var isFull: Bool { rests.count > 3 << 30 }

    /// Forgets series gone for some scrapes once they are most of what is kept, and gives back room that growing left.
    mutating func sweep() {
        if entries.count > 256, live * 2 < entries.count {
            var fresh = ScrapeCache()
            fresh.scrape = scrape
            // Targets with that many series that come and go are rare, and kept on a short leash.
            let keep: UInt32 = rests.count > 64 << 20 ? 2 : 10
            for index in entries.indices where entries[index].seen + keep > scrape {
                let entry = entries[index]
                let copy = text(index).withUnsafeBytes { fresh.add($0, at: 0, ref: entry.ref) }
                fresh.entries[copy].seen = entry.seen
                fresh.entries[copy].hasTimestamp = entry.hasTimestamp
            }
            fresh.live = live
            self = fresh
        }
        if grown, scrape & 1 == 0 {
            grown = false
            if rests.capacity > rests.count + rests.count / 8 { rests = rests.map { $0 } }
            if entries.capacity > entries.count + entries.count / 8 { entries = entries.map { $0 } }
        }
    }

    /// FNV-1a over words of eight bytes; the table is per target and its texts come from one server.
    private func textHash(_ text: UnsafeRawBufferPointer) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        var index = 0
        while text.count - index >= 8 {
            let word = text.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            hash = (hash ^ word) &* 0x0100_0000_01b3
            hash ^= hash >> 29
            index += 8
        }
        while index < text.count {
            hash = (hash ^ UInt64(text[index])) &* 0x0100_0000_01b3
            index += 1
        }
        hash &*= 0x9e37_79b9_7f4a_7c15
        return hash ^ hash >> 32
    }
}
