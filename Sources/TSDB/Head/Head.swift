import CPlatform
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
    private(set) var labels = HeadLabels()
    private var free: [UInt32] = []
    private var slots = SlotTable()
    private var nextGeneration: UInt32 = 1
    private(set) var index = HeadIndex()
    var selections = HeadSelections()
    /// Changes when series come or go.
    private(set) var version: UInt64 = 1
    /// Samples that came out of order, by slot, sorted by time.
    private(set) var late: [UInt32: [(time: Int64, bits: UInt64)]] = [:]
    private(set) var histograms: [UInt32: [(time: Int64, histogram: NativeHistogram)]] = [:]
    private(set) var sealed: SealedHead?
    private(set) var newest: Int64 = .min
    private(set) var samples = 0
    /// Bytes of all open and sealed chunks.
    private(set) var chunkBytes = 0
    /// Bumped when the log can no longer be leaned on: the next sample of every series is coded alone.
    var logEpoch: UInt32 = 1
    private var scratch: [UInt8] = []

    init() {
        capacity = 1024
        states = .allocate(capacity: capacity)
    }

    deinit {
        for slot in 0..<slotCount { states[slot].freeAll() }
        states.deallocate()
    }

    var seriesCount: Int { slots.count }

    func slot(of set: Labels) -> UInt32? {
        slots.find(set.bytes.withUnsafeBytes(ByteHash.hash)) { labels.equals(Int($0), set) }
    }

    /// The slot of a reference that is still valid.
    @inline(__always)
    func slot(_ ref: SeriesRef) -> Int? {
        let slot = Int(truncatingIfNeeded: ref & 0xffff_ffff)
        return slot < slotCount && states[slot].generation == UInt32(truncatingIfNeeded: ref >> 32) ? slot : nil
    }

    private func ref(_ slot: Int) -> SeriesRef { UInt64(states[slot].generation) << 32 | UInt64(slot) }

    /// The series' reference, made where it is new.
    func resolve(_ set: Labels) -> SeriesRef {
        let hash = set.bytes.withUnsafeBytes(ByteHash.hash)
        if let slot = slots.find(hash, { labels.equals(Int($0), set) }) { return ref(Int(slot)) }
        let slot: Int
        if let reused = free.popLast() {
            slot = Int(reused)
        } else {
            slot = slotCount
            if slotCount == capacity { grow() }
            slotCount += 1
        }
        labels.set(slot, set)
        var state = SeriesState()
        state.generation = nextGeneration
        nextGeneration = nextGeneration == .max ? 1 : nextGeneration + 1
        states[slot] = state
        slots.insert(hash, UInt32(slot))
        index.add(UInt32(slot), labels)
        version += 1
        return ref(slot)
    }

    private func grow() {
        // By half: the array of a large head is large.
        let larger = UnsafeMutablePointer<SeriesState>.allocate(capacity: capacity + capacity / 2)
        larger.moveInitialize(from: states, count: slotCount)
        states.deallocate()
        states = larger
        capacity += capacity / 2
    }

    /// Every slot in use, ascending.
    func allSlots() -> [UInt32] { (0..<UInt32(slotCount)).filter { states[Int($0)].generation != 0 } }

    func select(_ matchers: [LabelMatcher]) -> [UInt32] {
        index.select(matchers, labels.symbols, all: allSlots)
    }

    // MARK: appending

    enum Verdict { case appended, same, duplicate, outOfOrder }

    /// What a batch's samples must keep to. Milliseconds.
    struct Bounds {
        var oldest: Int64
        var latest: Int64
        /// How far behind the newest sample late ones may be; 0 takes none.
        var window: Int64
        /// The newest sample of all when the batch began.
        var newest: Int64 = .min

        /// What is older than half of Prometheus' two hours is not taken in order, even of a series without a sample.
        var firstInOrder: Int64 { newest == .min ? .min : newest &- 3_600_000 }
    }

    /// Takes a batch's floats and writes their codes to the log; histograms go one by one. Everything that is touched for
    /// each sample is held in locals meanwhile: a property of an object costs a check of exclusive access each time.
    func append(_ batch: SampleBatch, _ given: Bounds, log: inout LogBuffer) -> AppendOutcome {
        var bounds = given
        bounds.newest = newest == .min ? batch.timestamps.first ?? .min : newest
        let first = max(bounds.oldest, bounds.firstInOrder)
        var outcome = AppendOutcome()
        var nextHistogram = batch.histograms.startIndex
        var histogramAt = batch.histograms.first?.index ?? .max
        var (taken, grown, latestTaken) = (0, 0, newest)
        let (states, slotCount, epoch) = (states, slotCount, logEpoch)
        batch.refs.withUnsafeBufferPointer { refs in
            batch.timestamps.withUnsafeBufferPointer { times in
                batch.values.withUnsafeBufferPointer { values in
                    for index in refs.indices {
                        let time = times[index]
                        let slot = Int(truncatingIfNeeded: refs[index] & 0xffff_ffff)
                        let state = states + slot
                        let isKnown =
                            slot < slotCount
                            && state.pointee.generation == UInt32(truncatingIfNeeded: refs[index] >> 32)
                        if index == histogramAt || !isKnown || time > bounds.latest || time < first
                            || (state.pointee.hasLast && time <= state.pointee.lastTime)
                        {
                            (newest, histogramAt) = (latestTaken, .max)
                            var histogram: NativeHistogram?
                            if nextHistogram < batch.histograms.endIndex {
                                if batch.histograms[nextHistogram].index == index {
                                    histogram = batch.histograms[nextHistogram].histogram
                                    nextHistogram += 1
                                }
                                if nextHistogram < batch.histograms.endIndex {
                                    histogramAt = batch.histograms[nextHistogram].index
                                }
                            }
                            appendOther(
                                index, isKnown ? slot : nil, time, values[index].bitPattern, histogram, bounds, &log,
                                &outcome)
                            latestTaken = newest
                            continue
                        }
                        let fresh = state.pointee.logEpoch != epoch
                        if fresh {
                            state.pointee.logEpoch = epoch
                            define(slot, &log)
                        }
                        let room = state.pointee.capacity
                        let sample = HeadCode.encode(
                            &state.pointee, time, values[index].bitPattern, restart: fresh || state.pointee.count == 0)
                        HeadCode.append(sample, to: &state.pointee, time: time)
                        grown += Int(state.pointee.capacity) - Int(room)
                        state.pointee.hasLast = true
                        log.append(id: UInt64(slot), sample)
                        if time > latestTaken { latestTaken = time }
                        taken += 1
                    }
                }
            }
        }
        newest = latestTaken
        samples += taken
        chunkBytes += grown
        outcome.appended += taken
        return outcome
    }

    /// A sample that is no float in order of a series that is there.
    private func appendOther(
        _ index: Int, _ slot: Int?, _ time: Int64, _ bits: UInt64, _ histogram: NativeHistogram?, _ bounds: Bounds,
        _ log: inout LogBuffer, _ outcome: inout AppendOutcome
    ) {
        if time > bounds.latest {
            outcome.tooNew += 1
        } else if time < bounds.oldest {
            outcome.tooOld += 1
        } else if let slot {
            if let histogram {
                if time < bounds.firstInOrder {
                    outcome.tooOld += 1
                } else {
                    count(append(slot, time, histogram, log: &log), &outcome)
                }
                return
            }
            let state = states[slot]
            if state.hasLast, time == state.lastTime, time >= bounds.firstInOrder {
                count(bits == state.lastBits ? .same : .duplicate, &outcome)
            } else if bounds.window > 0, time >= bounds.newest &- bounds.window {
                count(appendLate(slot, time, bits, &log), &outcome)
            } else if bounds.window > 0 || time < bounds.firstInOrder {
                outcome.tooOld += 1
            } else {
                outcome.outOfOrder += 1
            }
        } else {
            outcome.unknownRefs.append(index)
        }
    }

    private func count(_ verdict: Verdict, _ outcome: inout AppendOutcome) {
        switch verdict {
        case .appended, .same: outcome.appended += 1
        case .duplicate: outcome.duplicate += 1
        case .outOfOrder: outcome.outOfOrder += 1
        }
    }

    /// Takes one sample that a log has, whenever it is of.
    @inline(__always)
    func replay(_ slot: Int, _ time: Int64, _ bits: UInt64) {
        let state = states + slot
        // A log's samples come series by series, each of which lies elsewhere: most of the time is waiting for memory.
        if slot + 16 < slotCount {
            kops_prefetch(state + 16)
            let soon = state + 8
            if let buffer = soon.pointee.buffer { kops_prefetch(buffer + Int(soon.pointee.used)) }
        }
        if state.pointee.hasLast, time <= state.pointee.lastTime {
            var nowhere = LogBuffer()
            if time < state.pointee.lastTime { _ = appendLate(slot, time, bits, &nowhere) }
            return
        }
        let room = state.pointee.capacity
        let sample = HeadCode.encode(&state.pointee, time, bits, restart: state.pointee.count == 0)
        HeadCode.append(sample, to: &state.pointee, time: time)
        if state.pointee.capacity != room { chunkBytes += Int(state.pointee.capacity) - Int(room) }
        state.pointee.hasLast = true
        if time > newest { newest = time }
        samples += 1
    }

    private func define(_ slot: Int, _ log: inout LogBuffer) {
        scratch.removeAll(keepingCapacity: true)
        labels.appendBytes(slot, to: &scratch)
        log.define(id: UInt64(slot), scratch)
    }

    /// A sample within the window that cannot go behind those of its series.
    private func appendLate(_ slot: Int, _ time: Int64, _ bits: UInt64, _ log: inout LogBuffer) -> Verdict {
        let key = UInt32(slot)
        var list = late.removeValue(forKey: key) ?? []
        defer { late[key] = list.isEmpty ? nil : list }
        let at = list.partitioningIndex { $0.time >= time }
        if at < list.count, list[at].time == time { return list[at].bits == bits ? .same : .duplicate }
        // The series stays unknown to the log's chain of codes: its next sample in order will lean on nothing.
        if states[slot].logEpoch != logEpoch { define(slot, &log) }
        log.appendLate(id: UInt64(slot), time, bits)
        list.insert((time, bits), at: at)
        samples += 1
        return .appended
    }

    func append(_ slot: Int, _ time: Int64, _ histogram: NativeHistogram, log: inout LogBuffer) -> Verdict {
        let key = UInt32(slot)
        if let last = histograms[key]?.last ?? sealed?.histograms[key]?.last {
            if time == last.time { return histogram == last.histogram ? .same : .duplicate }
            if time < last.time { return .outOfOrder }
        }
        define(slot, &log)
        log.append(id: UInt64(slot), time, histogram)
        histograms[key, default: []].append((time, histogram))
        if time > newest { newest = time }
        samples += 1
        return .appended
    }

    /// Of samples that are in files already: what is much older is refused from the start.
    func startFrom(newest time: Int64) { newest = max(newest, time) }

    // MARK: flushing

    /// Closes every open chunk. What is sealed stays readable until `dropSealed`.
    func seal() -> SealedHead {
        var chunks = [SealedChunk](repeating: SealedChunk(), count: slotCount)
        for slot in 0..<slotCount {
            let state = states + slot
            guard state.pointee.count > 0 else { continue }
            chunks[slot] = SealedChunk(
                buffer: state.pointee.buffer, used: state.pointee.used, count: state.pointee.count,
                firstTime: state.pointee.firstTime, lastTime: state.pointee.lastTime)
            state.pointee.buffer = nil
            (state.pointee.capacity, state.pointee.used, state.pointee.count, state.pointee.runAt) = (0, 0, 0, -1)
        }
        let sealed = SealedHead(labels: labels, chunks: chunks, late: late, histograms: histograms, bytes: chunkBytes)
        (late, histograms) = ([:], [:])
        self.sealed = sealed
        return sealed
    }

    /// Forgets what was sealed, and series that have had no sample since before it was. Returns how many, and what is to be
    /// let go of outside the lock.
    func dropSealed() -> (idle: Int, sealed: SealedHead?) {
        let old = sealed
        sealed = nil
        samples = 0
        chunkBytes -= old?.bytes ?? 0
        var idle: [UInt32] = []
        for slot in 0..<slotCount where states[slot].generation != 0 {
            samples += Int(states[slot].count)
            if states[slot].count > 0 { continue }
            let key = UInt32(slot)
            if late[key] != nil || histograms[key] != nil || old?.has(key) == true { continue }
            idle.append(key)
        }
        for list in late.values { samples += list.count }
        for list in histograms.values { samples += list.count }
        if !idle.isEmpty { forget(idle) }
        return (idle.count, old)
    }

    private func forget(_ idle: [UInt32]) {
        version += 1
        index.remove(idle, labels)
        for key in idle {
            let slot = Int(key)
            scratch.removeAll(keepingCapacity: true)
            labels.appendBytes(slot, to: &scratch)
            slots.remove(scratch.withUnsafeBytes(ByteHash.hash), key)
            labels.remove(slot)
            states[slot].freeAll()
            states[slot].generation = 0
            free.append(key)
        }
        guard labels.isMostlyGarbage else { return }
        labels = labels.compacted()
        index = HeadIndex()
        for slot in allSlots() { index.add(slot, labels) }
    }

    // MARK: reading

    /// First and last millisecond of all samples; nil where there are none.
    func timeBounds() -> (first: Int64, last: Int64)? {
        var bounds: (first: Int64, last: Int64)?
        func note(_ first: Int64, _ last: Int64) {
            bounds = bounds.map { (min($0.first, first), max($0.last, last)) } ?? (first, last)
        }
        for slot in 0..<slotCount {
            if states[slot].count > 0 { note(states[slot].firstTime, states[slot].lastTime) }
            if let chunk = sealed?.chunk(UInt32(slot)) { note(chunk.firstTime, chunk.lastTime) }
        }
        for list in Array(late.values) + Array((sealed?.late ?? [:]).values) {
            if let first = list.first, let last = list.last { note(first.time, last.time) }
        }
        for list in Array(histograms.values) + Array((sealed?.histograms ?? [:]).values) {
            if let first = list.first, let last = list.last { note(first.time, last.time) }
        }
        return bounds
    }

    /// Whether any series may have a sample within the bounds.
    func overlaps(from: Int64, through: Int64) -> Bool {
        from <= through
            && (0..<slotCount).contains {
                states[$0].generation != 0 && overlaps(UInt32($0), from: from, through: through)
            }
    }

    /// Whether the series may have a sample within the bounds; cheap, and at worst too generous.
    func overlaps(_ slot: UInt32, from: Int64, through: Int64) -> Bool {
        if let chunk = sealed?.chunk(slot), chunk.lastTime >= from, chunk.firstTime <= through { return true }
        let state = states[Int(slot)]
        if state.count > 0, state.lastTime >= from, state.firstTime <= through { return true }
        return late[slot] != nil || histograms[slot] != nil || sealed?.late[slot] != nil
            || sealed?.histograms[slot] != nil
    }
}
