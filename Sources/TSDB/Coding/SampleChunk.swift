import MetricModel

/// One series' float samples of some time, encoded by column.
///
/// Layout: the timestamps, then a `ValueColumn`. Timestamps begin with a byte of kind. 0: first timestamp (zigzag) and the
/// constant distance (varint). 1: an `IntegerColumn`. 2: the same timestamps as the chunk before in the row.
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
            out.append(1)
            IntegerColumn.encode(timestamps, into: &out)
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
        default: return false
        }
        return !reader.failed
    }

    /// Appends the samples; `shared` are the timestamps of the chunk before. False where the bytes are damaged.
    static func decode(
        _ body: UnsafeRawBufferPointer, count: Int, shared: [Int64], timestamps: inout [Int64], values: inout [Double]
    ) -> Bool {
        let scratch = DecodeScratch()
        guard decode(body, count: count, shared: shared, scratch: scratch) else { return false }
        timestamps.append(contentsOf: UnsafeBufferPointer(start: scratch.times, count: count))
        values.append(contentsOf: UnsafeBufferPointer(start: scratch.values, count: count))
        return true
    }

    /// Decodes into the scratch's columns. False where the bytes are damaged.
    static func decode(
        _ body: UnsafeRawBufferPointer, count: Int, shared: [Int64], scratch: DecodeScratch
    ) -> Bool {
        scratch.reserve(count)
        var reader = ByteReader(body)
        if sharesTimestamps(body) {
            guard shared.count == count else { return false }
            _ = reader.byte()
            shared.withUnsafeBufferPointer { shared in
                if let start = shared.baseAddress { scratch.times.update(from: start, count: count) }
            }
        } else {
            guard timestamps(&reader, count, scratch.times) else { return false }
        }
        ValueColumn.decode(&reader, count: count, scratch: scratch)
        return !reader.failed
    }
}
