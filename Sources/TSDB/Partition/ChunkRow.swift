import MetricModel

/// Chunks of neighbouring series in one row.
///
/// Layout: the number of chunks; for each the distance of its series' number from the one before, a kind (0 floats, 1 a
/// histogram), the first timestamp relative to the row's start, the span to the last, the number of samples and the length
/// of its bytes, all varints; then the bytes of all. A float chunk may share the timestamps of the float chunk before it.
struct ChunkRow {
    private struct Entry {
        var number: UInt32
        var kind: UInt8
        var first: Int64
        var last: Int64
        var count: Int
        var body: [UInt8]
    }

    private var entries: [Entry] = []
    private var previousTimestamps: [Int64] = []
    private(set) var start: Int64 = .max
    private(set) var end: Int64 = .min

    var firstNumber: UInt32 { entries.first?.number ?? 0 }
    var lastNumber: UInt32 { entries.last?.number ?? 0 }

    mutating func add(_ number: UInt32, _ timestamps: [Int64], _ values: [Double]) {
        guard let first = timestamps.first, let last = timestamps.last else { return }
        var body: [UInt8] = []
        SampleChunk.encode(timestamps, values, shared: timestamps == previousTimestamps, into: &body)
        previousTimestamps = timestamps
        append(Entry(number: number, kind: 0, first: first, last: last, count: timestamps.count, body: body))
    }

    mutating func add(_ number: UInt32, _ time: Int64, _ histogram: NativeHistogram) {
        var body: [UInt8] = []
        HistogramCode.encode(histogram, into: &body)
        append(Entry(number: number, kind: 1, first: time, last: time, count: 1, body: body))
    }

    private mutating func append(_ entry: Entry) {
        start = min(start, entry.first)
        end = max(end, entry.last)
        entries.append(entry)
    }

    func encoded() -> [UInt8] {
        var out: [UInt8] = []
        out.appendVarint(UInt64(entries.count))
        var before: UInt32 = 0
        for entry in entries {
            out.appendVarint(UInt64(entry.number - before))
            out.append(entry.kind)
            out.appendVarint(UInt64(entry.first - start))
            out.appendVarint(UInt64(entry.last - entry.first))
            out.appendVarint(UInt64(entry.count))
            out.appendVarint(UInt64(entry.body.count))
            before = entry.number
        }
        for entry in entries { out += entry.body }
        return out
    }

    /// Which series and times a row holds.
    struct Extent: Equatable {
        var first: UInt32
        var last: UInt32
        var start: Int64
        var end: Int64
    }

    /// Read from the row's directory; nil where that is damaged.
    static func extent(_ bytes: UnsafeRawBufferPointer, rowStart: Int64) -> Extent? {
        var reader = ByteReader(bytes)
        var extent: Extent?
        var number: UInt64 = 0
        for _ in 0..<reader.count() {
            number &+= reader.varint()
            _ = reader.byte()
            let first = rowStart &+ Int64(truncatingIfNeeded: reader.varint())
            let last = first &+ Int64(truncatingIfNeeded: reader.varint())
            _ = reader.varint()
            _ = reader.varint()
            guard !reader.failed, number <= UInt64(UInt32.max) else { return nil }
            extent =
                extent.map {
                    Extent(
                        first: $0.first, last: UInt32(number), start: min($0.start, first), end: max($0.end, last))
                } ?? Extent(first: UInt32(number), last: UInt32(number), start: first, end: last)
        }
        return extent
    }

    /// Adds the samples within the bounds of the series that `wanted` knows (number → index into `out`) and counts them. False
    /// where the bytes are damaged. `entryStart` is the row's start.
    static func decode(
        _ bytes: UnsafeRawBufferPointer, rowStart: Int64, from: Int64, through: Int64, wanted: (UInt32) -> Int?,
        into out: inout [SeriesSamples], scratch: DecodeScratch, added: inout Int
    ) -> Bool {
        var reader = ByteReader(bytes)
        let count = reader.count()
        var directory: [(index: Int?, kind: UInt8, first: Int64, last: Int64, count: Int, length: Int)] = []
        directory.reserveCapacity(count)
        var number: UInt64 = 0
        for _ in 0..<count {
            number &+= reader.varint()
            let kind = reader.byte()
            let first = rowStart &+ Int64(truncatingIfNeeded: reader.varint())
            let last = first &+ Int64(truncatingIfNeeded: reader.varint())
            let samples = Int(clamping: reader.varint())
            let length = Int(clamping: reader.varint())
            guard !reader.failed, number <= UInt64(UInt32.max), samples > 0, samples <= 1 << 24 else { return false }
            directory.append((wanted(UInt32(number)), kind, first, last, samples, length))
        }
        // Timestamps that later chunks share are decoded when one of them is wanted.
        var owner: (body: UnsafeRawBufferPointer, count: Int)?
        var shared: [Int64] = []
        var sharedIsDecoded = false
        for entry in directory {
            let body = reader.slice(entry.length)
            if reader.failed { return false }
            let isFloat = entry.kind == 0
            if isFloat, !SampleChunk.sharesTimestamps(body) {
                owner = (body, entry.count)
                sharedIsDecoded = false
            }
            guard let index = entry.index, entry.last >= from, entry.first <= through else { continue }
            if !isFloat {
                var inner = ByteReader(body)
                let histogram = HistogramCode.decode(&inner)
                if inner.failed { return false }
                out[index].histograms.append((entry.first, histogram))
                continue
            }
            if SampleChunk.sharesTimestamps(body), !sharedIsDecoded {
                guard let owner else { return false }
                shared.removeAll(keepingCapacity: true)
                guard SampleChunk.decodeTimestamps(owner.body, count: owner.count, into: &shared) else { return false }
                sharedIsDecoded = true
            }
            guard
                let found = SampleChunk.decode(
                    body, count: entry.count, shared: shared, from: from, through: through, scratch: scratch)
            else { return false }
            out[index].add(scratch, found)
            added += found.count
        }
        return true
    }
}

extension SeriesSamples {
    /// Adds samples of a chunk that were decoded into the scratch.
    fileprivate mutating func add(_ scratch: DecodeScratch, _ found: Range<Int>) {
        if found.isEmpty { return }
        let newTimes = UnsafeBufferPointer(start: scratch.times + found.lowerBound, count: found.count)
        let newValues = UnsafeBufferPointer(start: scratch.values + found.lowerBound, count: found.count)
        if timestamps.last.map({ $0 < newTimes[0] }) ?? true {
            timestamps.append(contentsOf: newTimes)
            values.append(contentsOf: newValues)
        } else {
            merge(Array(newTimes)[...], Array(newValues)[...])
        }
    }

    /// Adds samples in ascending order that may lie among those already here; of two at one time the present one stays.
    mutating func merge(_ newTimestamps: ArraySlice<Int64>, _ newValues: ArraySlice<Double>) {
        guard let first = newTimestamps.first else { return }
        if timestamps.last.map({ $0 < first }) ?? true {
            timestamps += newTimestamps
            values += newValues
            return
        }
        var mergedTimes: [Int64] = []
        var mergedValues: [Double] = []
        mergedTimes.reserveCapacity(timestamps.count + newTimestamps.count)
        mergedValues.reserveCapacity(timestamps.count + newTimestamps.count)
        var (i, j, k) = (0, newTimestamps.startIndex, newValues.startIndex)
        while i < timestamps.count || j < newTimestamps.endIndex {
            if j == newTimestamps.endIndex || (i < timestamps.count && timestamps[i] <= newTimestamps[j]) {
                if j < newTimestamps.endIndex, timestamps[i] == newTimestamps[j] {
                    j += 1
                    k += 1
                }
                mergedTimes.append(timestamps[i])
                mergedValues.append(values[i])
                i += 1
            } else {
                mergedTimes.append(newTimestamps[j])
                mergedValues.append(newValues[k])
                j += 1
                k += 1
            }
        }
        timestamps = mergedTimes
        values = mergedValues
    }
}
