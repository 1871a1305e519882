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
        return timestamps(&reader, count, &out)
    }

    private static func timestamps(_ reader: inout ByteReader, _ count: Int, _ out: inout [Int64]) -> Bool {
        switch reader.byte() {
        case 0:
            var time = reader.zigzag()
            let distance = Int64(truncatingIfNeeded: reader.varint())
            for _ in 0..<count {
                out.append(time)
                time &+= distance
            }
        case 1: IntegerColumn.decode(&reader, count: count, into: &out)
        default: return false
        }
        return !reader.failed && out.count >= count
    }

    /// Appends the samples; `shared` are the timestamps of the chunk before. False where the bytes are damaged.
    static func decode(
        _ body: UnsafeRawBufferPointer, count: Int, shared: [Int64], timestamps out: inout [Int64],
        values: inout [Double]
    ) -> Bool {
        var reader = ByteReader(body)
        let base = values.count
        if sharesTimestamps(body) {
            guard shared.count == count else { return false }
            _ = reader.byte()
            out += shared
        } else {
            var own: [Int64] = []
            own.reserveCapacity(count)
            guard timestamps(&reader, count, &own), own.count == count else { return false }
            out += own
        }
        ValueColumn.decode(&reader, count: count, into: &values)
        return !reader.failed && values.count - base == count
    }
}
