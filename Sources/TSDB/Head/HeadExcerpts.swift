import CPlatform
import MetricModel

/// Copies of what the head's series have within some bounds, to be decoded outside the lock. All byte codes lie in one
/// buffer: a series costs no memory of its own here.
struct HeadExcerpts: Sendable {
    struct Series: Sendable {
        var slot: UInt32
        var generation: UInt32
        var labels: Labels
        /// Its chunks' codes, in order.
        var codes: Range<Int>
        /// Where it has more than codes: its place in `extras`.
        var extra: Int?
        /// Where only the newest sample was asked for and it is known without decoding: that, and no codes.
        var newest: (time: Int64, bits: UInt64)?
    }

    /// A chunk's byte code, from a mark on where there is one.
    struct Code: Sendable {
        var bytes: Range<Int>
        var firstTime: Int64
        var start: HeadMark?
    }

    struct Extra: Sendable {
        var late: [(time: Int64, bits: UInt64)] = []
        var histograms: [(time: Int64, histogram: NativeHistogram)] = []

        var isEmpty: Bool { late.isEmpty && histograms.isEmpty }
    }

    var series: [Series] = []
    var codes: [Code] = []
    /// With `HeadCode.longest` bytes of padding.
    var bytes: [UInt8] = []
    var extras: [Extra] = []
    /// Whether the series are in the order of their labels.
    var isSorted = false
    /// The head's when they were found; the selection is not known to it yet where `isWhole`.
    var version: UInt64 = 0
    var hasNewest = false
    /// Whether every series of the selection is here, with or without samples.
    var isWhole = false

    var hasSamples: Bool { hasNewest || !codes.isEmpty || !extras.isEmpty }

    /// What `HeadSelections` keeps.
    var found: HeadSelections.Found { .init(slots: series.map(\.slot), labels: series.map(\.labels)) }
}

extension Head {
    /// What the series that all matchers match have within the bounds; `newest`: at least the newest sample of that.
    func excerpts(_ matchers: [LabelMatcher], from: Int64, through: Int64, newest: Bool, marks: HeadMarks)
        -> HeadExcerpts
    {
        var out = HeadExcerpts()
        out.version = version
        var sources: [UnsafeMutablePointer<UInt8>] = []
        var total = 0
        let sealed = sealed
        marks.lookUp { marks in
            func add(_ slot: UInt32, _ known: Labels?, always: Bool) {
                let state = states + Int(slot)
                let firstCode = out.codes.count
                func take(_ buffer: UnsafeMutablePointer<UInt8>, _ used: UInt32, _ firstTime: Int64) {
                    let mark = HeadMarks.mark(
                        marks, slot, generation: state.pointee.generation, firstTime: firstTime, before: from)
                    let start = mark.flatMap { $0.at <= Int(used) ? $0 : nil }
                    let skipped = start?.at ?? 0
                    let count = Int(used) - skipped
                    sources.append(buffer + skipped)
                    out.codes.append(.init(bytes: total..<total + count, firstTime: firstTime, start: start))
                    total += count
                }
                let extra = extra(slot, from: from, through: through)
                if newest, extra == nil, state.pointee.count > 0, state.pointee.lastTime >= from,
                    state.pointee.lastTime <= through
                {
                    out.hasNewest = true
                    out.series.append(
                        .init(
                            slot: slot, generation: state.pointee.generation,
                            labels: known ?? labels.labels(Int(slot)), codes: firstCode..<firstCode,
                            newest: (state.pointee.lastTime, state.pointee.lastBits)))
                    return
                }
                if let chunk = sealed?.chunk(slot), let buffer = chunk.buffer, chunk.lastTime >= from,
                    chunk.firstTime <= through
                {
                    take(buffer, chunk.used, chunk.firstTime)
                }
                if let buffer = state.pointee.buffer, state.pointee.count > 0, state.pointee.lastTime >= from,
                    state.pointee.firstTime <= through
                {
                    take(buffer, state.pointee.used, state.pointee.firstTime)
                }
                if !always, out.codes.count == firstCode, extra == nil { return }
                if let extra { out.extras.append(extra) }
                out.series.append(
                    .init(
                        slot: slot, generation: state.pointee.generation,
                        labels: known ?? labels.labels(Int(slot)), codes: firstCode..<out.codes.count,
                        extra: extra == nil ? nil : out.extras.count - 1))
            }
            func reserve(_ count: Int) {
                out.series.reserveCapacity(count)
                if newest { return }
                out.codes.reserveCapacity(count)
                sources.reserveCapacity(count)
            }
            // A series' state lies somewhere in the head's memory: it comes near while others are looked at.
            func prefetch(_ slots: [UInt32], _ index: Int) {
                if index + 8 < slots.count { kops_prefetch(states + Int(slots[index + 8])) }
            }
            if let known = selections.find(matchers, version: version) {
                out.isSorted = true
                reserve(known.slots.count)
                for index in known.slots.indices {
                    prefetch(known.slots, index)
                    add(known.slots[index], known.labels[index], always: false)
                }
            } else {
                let slots = select(matchers)
                out.isWhole = slots.count <= HeadSelections.largest
                reserve(out.isWhole ? slots.count : 0)
                for index in slots.indices {
                    prefetch(slots, index)
                    add(slots[index], nil, always: out.isWhole)
                }
            }
        }
        // An array of no capacity is one that all threads share, and would be written to.
        if total == 0 { return out }
        // Behind the last code as many bytes as a decoder may read too far.
        out.bytes = [UInt8](unsafeUninitializedCapacity: total + HeadCode.longest) { buffer, count in
            guard let base = buffer.baseAddress else { return }
            for index in sources.indices {
                if index + 4 < sources.count {
                    kops_prefetch(sources[index + 4])
                    kops_prefetch(sources[index + 4] + 64)
                }
                let bytes = out.codes[index].bytes
                (base + bytes.lowerBound).update(from: sources[index], count: bytes.count)
            }
            (base + total).initialize(repeating: 0, count: HeadCode.longest)
            count = total + HeadCode.longest
        }
        return out
    }

    private func extra(_ slot: UInt32, from: Int64, through: Int64) -> HeadExcerpts.Extra? {
        if late.isEmpty, histograms.isEmpty, sealed?.late.isEmpty ?? true, sealed?.histograms.isEmpty ?? true {
            return nil
        }
        var extra = HeadExcerpts.Extra()
        for list in [sealed?.late[slot], late[slot]] {
            extra.late += list?.filter { $0.time >= from && $0.time <= through } ?? []
        }
        for list in [sealed?.histograms[slot], histograms[slot]] {
            extra.histograms += list?.filter { $0.time >= from && $0.time <= through } ?? []
        }
        return extra.isEmpty ? nil : extra
    }

    /// Keeps what a selection found, in the order of labels, unless series came or went since.
    func keep(_ found: HeadSelections.Found, _ matchers: [LabelMatcher], version: UInt64) {
        if version == self.version { selections.keep(found, matchers, version: version) }
    }
}
