import MetricModel

/// One series' float samples of some time, encoded by column.
///
/// Layout: the timestamps, then a `ValueColumn`. Timestamps begin with a byte of kind. 0: first timestamp (zigzag) and the
/// constant distance (varint). 1: an `IntegerColumn`. 2: the same timestamps as the chunk before in the row. 3: as 0, but some
/// scrapes are missing: their places (count, then for each the distance to the index before and how many times the
/// distance is there once more, varints).
enum SampleChunk {
    /// Where `shared` the timestamps are those of the chunk before.
    static func encode(_ timestamps: [Int64], _ values: [Double], shared: Bool, into out: inout [UInt8]) {
        if shared {
            out.append(2)
        } else if let distance = constantDistance(timestamps) {
            out.append(0)
            out.appendZigzag(timestamps[0])
            out.appendVarint(UInt64(distance))
        } else {
            var column: [UInt8] = [1]
            IntegerColumn.encode(timestamps, into: &column)
            let gaps = gapped(timestamps, shorterThan: column.count)
            out += gaps ?? column
        }
        ValueColumn.encode(values, into: &out)
    }

    private static func constantDistance(_ timestamps: [Int64]) -> Int64? {
        guard timestamps.count > 1 else { return timestamps.isEmpty ? nil : 0 }
        let distance = timestamps[1] - timestamps[0]
        for index in 2..<max(2, timestamps.count) where timestamps[index] - timestamps[index - 1] != distance {
            return nil
        }
        return distance
    }

    /// The timestamps as a distance and the places where it is there several times; nil where they are not so or it takes more
    /// room than `limit`.
    private static func gapped(_ timestamps: [Int64], shorterThan limit: Int) -> [UInt8]? {
        guard timestamps.count > 2 else { return nil }
        var distance = Int64.max
        for i in 1..<timestamps.count { distance = min(distance, timestamps[i] &- timestamps[i - 1]) }
        guard distance > 0 else { return nil }
        var places: [UInt8] = []
        var (count, before): (UInt64, Int) = (0, 0)
        for i in 1..<timestamps.count {
            let step = timestamps[i] &- timestamps[i - 1]
            if step == distance { continue }
            guard step % distance == 0 else { return nil }
            places.appendVarint(UInt64(i - before))
            places.appendVarint(UInt64(step / distance - 1))
            if places.count > limit { return nil }
            (count, before) = (count + 1, i)
        }
        var out: [UInt8] = [3]
        out.appendZigzag(timestamps[0])
        out.appendVarint(UInt64(distance))
        out.appendVarint(count)
        out += places
        return out.count < limit ? out : nil
    }

    /// Whether a chunk leans on the timestamps of the one before it.
    static func sharesTimestamps(_ body: UnsafeRawBufferPointer) -> Bool { body.first == 2 }

    /// The timestamps of a chunk that has its own. False where the bytes are not such a chunk.
    static func decodeTimestamps(_ body: UnsafeRawBufferPointer, count: Int, into out: inout [Int64]) -> Bool {
        var reader = ByteReader(body)
        let memory = UnsafeMutablePointer<Int64>.allocate(capacity: max(1, count))
        defer { memory.deallocate() }
        guard timestamps(&reader, count, memory) else { return false }
        out.append(contentsOf: UnsafeBufferPointer(start: memory, count: count))
        return true
    }

    private static func timestamps(_ reader: inout ByteReader, _ count: Int, _ out: UnsafeMutablePointer<Int64>) -> Bool
    {
        switch reader.byte() {
        case 0:
            var time = reader.zigzag()
            let distance = Int64(truncatingIfNeeded: reader.varint())
            for i in 0..<count {
                out[i] = time
                time &+= distance
            }
        case 1: IntegerColumn.decode(&reader, count: count, to: out)
        case 3:
            let first = reader.zigzag()
            let distance = Int64(truncatingIfNeeded: reader.varint())
            var left = reader.varint()
            guard left < UInt64(count) else { return false }
            var (time, index, gapAt, more): (Int64, Int, Int, Int64) = (first, 0, 0, 0)
            while true {
                // Up to the next gap, or to the end.
                if left > 0 {
                    // Wraps where it is damaged, and is refused below.
                    gapAt &+= Int(truncatingIfNeeded: reader.varint())
                    more = Int64(truncatingIfNeeded: reader.varint())
                    guard gapAt > index, gapAt < count, !reader.failed else { return false }
                } else {
                    gapAt = count
                }
                while index < gapAt {
                    out[index] = time
                    time &+= distance
                    index += 1
                }
                if left == 0 { break }
                time &+= distance &* more
                left -= 1
            }
        default: return false
        }
        return !reader.failed
    }

    /// Appends the samples; `shared` are the timestamps of the chunk before. False where the bytes are damaged.
    static func decode(
        _ body: UnsafeRawBufferPointer, count: Int, shared: [Int64], timestamps: inout [Int64], values: inout [Double]
    ) -> Bool {
        let scratch = DecodeScratch()
        guard let wanted = decode(body, count: count, shared: shared, from: .min, through: .max, scratch: scratch),
            wanted.count == count
        else { return false }
        timestamps.append(contentsOf: UnsafeBufferPointer(start: scratch.times, count: count))
        values.append(contentsOf: UnsafeBufferPointer(start: scratch.values, count: count))
        return true
    }

    /// Decodes into the scratch's columns what lies within the bounds; at which indices it does. Nil where the bytes are
    /// damaged.
    static func decode(
        _ body: UnsafeRawBufferPointer, count: Int, shared: [Int64], from: Int64, through: Int64,
        scratch: DecodeScratch
    ) -> Range<Int>? {
        scratch.reserve(count)
        var reader = ByteReader(body)
        if sharesTimestamps(body) {
            guard shared.count == count else { return nil }
            _ = reader.byte()
            let wanted = shared.withUnsafeBufferPointer { shared in
                let wanted = indices(shared, from, through)
                if let start = shared.baseAddress {
                    (scratch.times + wanted.lowerBound).update(from: start + wanted.lowerBound, count: wanted.count)
                }
                return wanted
            }
            ValueColumn.decode(&reader, count: count, wanted: wanted, scratch: scratch)
            return reader.failed ? nil : wanted
        }
        guard timestamps(&reader, count, scratch.times) else { return nil }
        let wanted = indices(UnsafeBufferPointer(start: scratch.times, count: count), from, through)
        ValueColumn.decode(&reader, count: count, wanted: wanted, scratch: scratch)
        return reader.failed ? nil : wanted
    }

    /// Where ascending times lie within the bounds.
    private static func indices(_ times: UnsafeBufferPointer<Int64>, _ from: Int64, _ through: Int64) -> Range<Int> {
        guard let first = times.first, let last = times.last else { return 0..<0 }
        let low = first < from ? times.partitioningIndex { $0 >= from } : 0
        let high = last > through ? times.partitioningIndex { $0 > through } : times.count
        return low..<max(low, high)
    }
}
