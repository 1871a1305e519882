import Glibc
import MetricModel

/// What a flush is writing: the chunks that were open when it began. It does not change any more, so the flush reads it
/// without the store's lock while queries read it under that lock; it frees its memory when the last of them lets go.
final class SealedHead: @unchecked Sendable {
    // Unchecked: nothing is written after `init`.
    let labels: HeadLabels
    /// By slot.
    private let chunks: [SealedChunk]
    let late: [UInt32: [(time: Int64, bits: UInt64)]]
    let histograms: [UInt32: [(time: Int64, histogram: NativeHistogram)]]
    let bytes: Int

    init(
        labels: HeadLabels, chunks: [SealedChunk], late: [UInt32: [(time: Int64, bits: UInt64)]],
        histograms: [UInt32: [(time: Int64, histogram: NativeHistogram)]], bytes: Int
    ) {
        self.labels = labels
        self.chunks = chunks
        self.late = late
        self.histograms = histograms
        self.bytes = bytes
    }

    deinit {
        for chunk in chunks { free(chunk.buffer) }
    }

    func chunk(_ slot: UInt32) -> SealedChunk? {
        Int(slot) < chunks.count && chunks[Int(slot)].count > 0 ? chunks[Int(slot)] : nil
    }

    func has(_ slot: UInt32) -> Bool { chunk(slot) != nil || late[slot] != nil || histograms[slot] != nil }

    /// The days that there are samples of, each with the slots that have some, ascending.
    func days() -> [Int64: [UInt32]] {
        var days: [Int64: [UInt32]] = [:]
        for slot in chunks.indices where chunks[slot].count > 0 {
            let chunk = chunks[slot]
            let (first, last) = (dayStart(chunk.firstTime), dayStart(chunk.lastTime))
            if first == last {
                days[first, default: []].append(UInt32(slot))
            } else {
                for day in Set(floats(UInt32(slot)).timestamps.map(dayStart)) {
                    days[day, default: []].append(UInt32(slot))
                }
            }
        }
        var more: [Int64: Set<UInt32>] = [:]
        for (slot, list) in late {
            for sample in list { more[dayStart(sample.time), default: []].insert(slot) }
        }
        for (slot, list) in histograms {
            for sample in list { more[dayStart(sample.time), default: []].insert(slot) }
        }
        for (day, slots) in more { days[day] = slots.union(days[day] ?? []).sorted() }
        return days
    }

    private func floats(_ slot: UInt32) -> (timestamps: [Int64], values: [Double]) {
        var timestamps: [Int64] = []
        var values: [Double] = []
        if let chunk = chunk(slot) {
            timestamps.reserveCapacity(Int(chunk.count))
            values.reserveCapacity(Int(chunk.count))
            let bytes = UnsafeRawBufferPointer(start: chunk.buffer, count: Int(chunk.used))
            HeadCode.decode(bytes, from: .min, through: .max, timestamps: &timestamps, values: &values)
        }
        return (timestamps, values)
    }

    /// A series' samples of one day, late ones among the others.
    func samples(_ slot: UInt32, day: Int64) -> SeriesSamples {
        var out = SeriesSamples(labels: labels.labels(Int(slot)))
        let all = floats(slot)
        let low = all.timestamps.partitioningIndex { $0 >= day }
        let high = all.timestamps.partitioningIndex { $0 >= day + Partition.day }
        if low == 0, high == all.timestamps.count {
            (out.timestamps, out.values) = all
        } else {
            out.timestamps = Array(all.timestamps[low..<high])
            out.values = Array(all.values[low..<high])
        }
        let late = (late[slot] ?? []).filter { dayStart($0.time) == day }
        if !late.isEmpty {
            out.merge(late.map(\.time)[...], late.map { Double(bitPattern: $0.bits) }[...])
        }
        out.histograms = (histograms[slot] ?? []).filter { dayStart($0.time) == day }
        return out
    }
}
