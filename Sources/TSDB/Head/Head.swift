import Glibc
import MetricModel

/// The newest samples, in memory. Used under the store's lock by one thread at a time.
///
/// It owns the memory of every series' chunks: `SeriesState` lives in an unmanaged array that only grows; freed slots are
/// used again under a new reference.
final class Head {
    private(set) var states: UnsafeMutablePointer<SeriesState>
    private var capacity: Int
    private(set) var slotCount = 0
    private(set) var labels: [Labels] = []
    private var free: [UInt32] = []
    private var slots: [Labels: UInt32] = [:]
    private var nextGeneration: UInt64 = 1
    var nextID: UInt64 = 1
    private(set) var index = HeadIndex()
    /// Samples that came out of order, by slot, sorted by time.
    private(set) var late: [UInt32: [(time: Int64, bits: UInt64)]] = [:]
    private(set) var sealedLate: [UInt32: [(time: Int64, bits: UInt64)]] = [:]
    private(set) var histograms: [UInt32: [(time: Int64, histogram: NativeHistogram)]] = [:]
    private(set) var sealedHistograms: [UInt32: [(time: Int64, histogram: NativeHistogram)]] = [:]
    private(set) var newest: Int64 = .min
    private(set) var samples = 0
    /// Bumped when the log can no longer be leaned on: the next sample of every series is coded alone.
    var logEpoch: UInt32 = 1

    init() {
        capacity = 1024
        states = .allocate(capacity: capacity)
    }

    deinit {
        for slot in 0..<slotCount { states[slot].freeAll() }
        states.deallocate()
    }

    var seriesCount: Int { slots.count }

    /// Bytes of all open and sealed chunks.
    var chunkBytes: Int {
        var sum = 0
        for slot in 0..<slotCount { sum += Int(states[slot].capacity) + Int(states[slot].sealedUsed) }
        return sum
    }

    func slot(of labels: Labels) -> UInt32? { slots[labels] }

    /// The slot of a reference that is still valid.
    @inline(__always)
    func slot(_ ref: SeriesRef) -> Int? {
        let slot = Int(truncatingIfNeeded: ref & 0xffff_ffff)
        return slot < slotCount && states[slot].ref == ref ? slot : nil
    }

    /// The series' reference, made where it is new; `id` is given where it is known from a log.
    func resolve(_ labels: Labels, id: UInt64? = nil) -> SeriesRef {
        if let slot = slots[labels] { return states[Int(slot)].ref }
        let slot: Int
        if let reused = free.popLast() {
            slot = Int(reused)
            self.labels[slot] = labels
        } else {
            slot = slotCount
            if slotCount == capacity { grow() }
            slotCount += 1
            self.labels.append(labels)
        }
        var state = SeriesState()
        state.ref = nextGeneration << 32 | UInt64(slot)
        nextGeneration += 1
        if nextGeneration > 0xffff_fffe { nextGeneration = 1 }
        state.id = id ?? nextID
        nextID = max(nextID, state.id + 1)
        states[slot] = state
        slots[labels] = UInt32(slot)
        index.add(labels, slot: UInt32(slot))
        return state.ref
    }

    private func grow() {
        let larger = UnsafeMutablePointer<SeriesState>.allocate(capacity: capacity * 2)
        larger.moveInitialize(from: states, count: slotCount)
        states.deallocate()
        states = larger
        capacity *= 2
    }

    // MARK: appending

    enum Verdict { case appended, same, duplicate, outOfOrder }

    /// Takes one sample and writes its code to the log. `window` is how far behind the newest sample late ones may be.
    @inline(__always)
    func append(_ slot: Int, _ time: Int64, _ bits: UInt64, window: Int64, log: inout LogBuffer) -> Verdict {
        if states[slot].hasLast, time <= states[slot].lastTime {
            return appendLate(slot, time, bits, window, &log)
        }
        let fresh = states[slot].logEpoch != logEpoch
        if fresh {
            states[slot].logEpoch = logEpoch
            log.define(id: states[slot].id, labels[slot])
        }
        let restart = fresh || states[slot].count == 0
        let sample = HeadCode.encode(&states[slot], time, bits, restart: restart)
        HeadCode.append(sample, to: &states[slot], time: time)
        states[slot].hasLast = true
        log.append(id: states[slot].id, sample)
        if time > newest { newest = time }
        samples += 1
        return .appended
    }

    private func appendLate(
        _ slot: Int, _ time: Int64, _ bits: UInt64, _ window: Int64, _ log: inout LogBuffer
    ) -> Verdict {
        if time == states[slot].lastTime { return bits == states[slot].lastBits ? .same : .duplicate }
        guard window > 0, time >= newest &- window else { return .outOfOrder }
        let key = UInt32(slot)
        var list = late[key] ?? []
        let at = list.partitioningIndex { $0.time >= time }
        if at < list.count, list[at].time == time { return list[at].bits == bits ? .same : .duplicate }
        // The series stays unknown to the log's chain of codes: its next sample in order will lean on nothing.
        if states[slot].logEpoch != logEpoch { log.define(id: states[slot].id, labels[slot]) }
        log.appendLate(id: states[slot].id, time, bits)
        list.insert((time, bits), at: at)
        late[key] = list
        samples += 1
        return .appended
    }

    func append(_ slot: Int, _ time: Int64, _ histogram: NativeHistogram, log: inout LogBuffer) -> Verdict {
        let key = UInt32(slot)
        if let last = histograms[key]?.last ?? sealedHistograms[key]?.last {
            if time == last.time { return histogram == last.histogram ? .same : .duplicate }
            if time < last.time { return .outOfOrder }
        }
        log.define(id: states[slot].id, labels[slot])
        log.append(id: states[slot].id, time, histogram)
        histograms[key, default: []].append((time, histogram))
        if time > newest { newest = time }
        samples += 1
        return .appended
    }

    // MARK: flushing

    /// Closes every open chunk. What is sealed stays readable until `dropSealed`.
    func seal() {
        for slot in 0..<slotCount where states[slot].count > 0 {
            // Without room to spare: a sealed chunk does not grow.
            let used = Int(states[slot].used)
            let exact = realloc(states[slot].buffer, used) ?? UnsafeMutableRawPointer(states[slot].buffer)
            states[slot].sealed = exact?.assumingMemoryBound(to: UInt8.self)
            states[slot].sealedUsed = states[slot].used
            states[slot].sealedCount = states[slot].count
            states[slot].sealedFirst = states[slot].firstTime
            states[slot].sealedLast = states[slot].lastTime
            states[slot].buffer = nil
            (states[slot].capacity, states[slot].used, states[slot].count, states[slot].runAt) = (0, 0, 0, -1)
        }
        (sealedLate, late) = (late, [:])
        (sealedHistograms, histograms) = (histograms, [:])
    }

    /// Forgets what was sealed, and series that have had no sample since before it was.
    func dropSealed() -> Int {
        samples = 0
        var removed = 0
        for slot in 0..<slotCount {
            let hadSealed =
                states[slot].sealed != nil || sealedLate[UInt32(slot)] != nil
                || sealedHistograms[UInt32(slot)] != nil
            Glibc.free(states[slot].sealed)
            states[slot].sealed = nil
            states[slot].sealedUsed = 0
            states[slot].sealedCount = 0
            samples += Int(states[slot].count)
            let idle =
                states[slot].count == 0 && !hadSealed && late[UInt32(slot)] == nil
                && histograms[UInt32(slot)] == nil
            if states[slot].ref != 0, idle {
                states[slot].freeAll()
                states[slot].ref = 0
                slots[labels[slot]] = nil
                labels[slot] = .empty
                free.append(UInt32(slot))
                removed += 1
            }
        }
        sealedLate = [:]
        sealedHistograms = [:]
        if removed > 0 {
            index.removeAll()
            for slot in 0..<slotCount where states[slot].ref != 0 { index.add(labels[slot], slot: UInt32(slot)) }
        }
        return removed
    }

    // MARK: reading

    /// A copy of what a series has within the bounds, to be decoded outside the lock.
    struct Excerpt: Sendable {
        var labels: Labels
        var codes: [[UInt8]] = []
        var late: [(time: Int64, bits: UInt64)] = []
        var histograms: [(time: Int64, histogram: NativeHistogram)] = []
    }

    func excerpt(_ slot: UInt32, from: Int64, through: Int64) -> Excerpt? {
        let state = states[Int(slot)]
        var excerpt = Excerpt(labels: labels[Int(slot)])
        if let sealed = state.sealed, state.sealedLast >= from, state.sealedFirst <= through {
            excerpt.codes.append(Array(UnsafeBufferPointer(start: sealed, count: Int(state.sealedUsed))))
        }
        if let buffer = state.buffer, state.count > 0, state.lastTime >= from, state.firstTime <= through {
            excerpt.codes.append(Array(UnsafeBufferPointer(start: buffer, count: Int(state.used))))
        }
        for list in [sealedLate[slot], late[slot]] {
            excerpt.late += list?.filter { $0.time >= from && $0.time <= through } ?? []
        }
        for list in [sealedHistograms[slot], histograms[slot]] {
            excerpt.histograms += list?.filter { $0.time >= from && $0.time <= through } ?? []
        }
        if excerpt.codes.isEmpty && excerpt.late.isEmpty && excerpt.histograms.isEmpty { return nil }
        return excerpt
    }

    /// Whether the series may have a sample within the bounds; cheap, and at worst too generous.
    func overlaps(_ slot: UInt32, from: Int64, through: Int64) -> Bool {
        let state = states[Int(slot)]
        if state.sealed != nil, state.sealedLast >= from, state.sealedFirst <= through { return true }
        if state.count > 0, state.lastTime >= from, state.firstTime <= through { return true }
        return sealedLate[slot] != nil || late[slot] != nil || histograms[slot] != nil || sealedHistograms[slot] != nil
    }

    /// What was sealed of a series, decoded.
    func sealedSamples(_ slot: Int) -> (timestamps: [Int64], values: [Double]) {
        var timestamps: [Int64] = []
        var values: [Double] = []
        if let sealed = states[slot].sealed {
            timestamps.reserveCapacity(Int(states[slot].sealedCount))
            values.reserveCapacity(Int(states[slot].sealedCount))
            let bytes = UnsafeRawBufferPointer(start: sealed, count: Int(states[slot].sealedUsed))
            HeadCode.decode(bytes, from: .min, through: .max, timestamps: &timestamps, values: &values)
        }
        return (timestamps, values)
    }
}
