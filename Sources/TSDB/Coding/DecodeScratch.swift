/// Memory that decoders write into before its exact part is copied out: grown when needed, used again for chunk after chunk.
/// Used by one thread.
final class DecodeScratch {
    private(set) var integers: UnsafeMutablePointer<Int64>
    private(set) var times: UnsafeMutablePointer<Int64>
    private(set) var values: UnsafeMutablePointer<Double>
    private(set) var capacity = 512
    /// The head's: marks that the last read passed.
    var marks: [HeadMark] = []

    init() {
        integers = .allocate(capacity: capacity)
        times = .allocate(capacity: capacity)
        values = .allocate(capacity: capacity)
    }

    deinit {
        integers.deallocate()
        times.deallocate()
        values.deallocate()
    }

    /// Room for `count` elements in each column; the first `keep` of times and values stay.
    @inline(__always)
    func reserve(_ count: Int, keep: Int = 0) {
        if count > capacity { grow(count, keep) }
    }

    @inline(never)
    private func grow(_ count: Int, _ keep: Int) {
        let wanted = max(count, capacity * 2)
        let newTimes = UnsafeMutablePointer<Int64>.allocate(capacity: wanted)
        let newValues = UnsafeMutablePointer<Double>.allocate(capacity: wanted)
        newTimes.update(from: times, count: keep)
        newValues.update(from: values, count: keep)
        integers.deallocate()
        times.deallocate()
        values.deallocate()
        integers = .allocate(capacity: wanted)
        (times, values, capacity) = (newTimes, newValues, wanted)
    }
}
