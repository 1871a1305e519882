import Glibc
import MetricModel

/// What the head keeps of one series: its open chunk as byte code, and what the next sample is coded against. A plain value in
/// unmanaged memory, so that appending touches no reference count; 80 bytes, since there are as many as series.
struct SeriesState {
    var buffer: UnsafeMutablePointer<UInt8>?
    var firstTime: Int64 = 0
    var lastTime: Int64 = 0
    var lastDistance: Int64 = 0
    var lastBits: UInt64 = 0
    var lastScaled: Int64 = 0
    /// The upper half of the series' reference, the slot being the lower; 0 where the slot is free.
    var generation: UInt32 = 0
    /// The log that knows this series and its last sample.
    var logEpoch: UInt32 = 0
    var capacity: UInt32 = 0
    var used: UInt32 = 0
    var count: UInt32 = 0
    /// Where the last code is a run that may grow; else −1.
    var runAt: Int32 = -1
    var scale: UInt8 = 0
    var misses: UInt8 = 0
    var scaledValid = false
    var hasLast = false

    /// Makes room for more bytes. A sixth is grown at a time: most chunks are open for hours, and doubling would leave a third
    /// of the head's memory empty.
    @inline(__always)
    mutating func reserve(_ bytes: Int) {
        if Int(used) + bytes > Int(capacity) { grow(bytes) }
    }

    @inline(never)
    private mutating func grow(_ bytes: Int) {
        let wanted = max(Int(used) + bytes, Int(capacity) + max(40, Int(capacity) / 6))
        // As much as the allocator (glibc's) rounds up to anyway.
        let rounded = (wanted + 7) & ~15 + 8
        guard let grown = realloc(buffer, rounded) else { abort() }
        buffer = grown.assumingMemoryBound(to: UInt8.self)
        capacity = UInt32(clamping: rounded)
    }

    mutating func freeAll() {
        free(buffer)
        (buffer, capacity, used) = (nil, 0, 0)
    }
}

/// A chunk that a flush has closed and is writing; it stays readable meanwhile. Without samples where there was none.
struct SealedChunk {
    var buffer: UnsafeMutablePointer<UInt8>?
    var used: UInt32 = 0
    var count: UInt32 = 0
    var firstTime: Int64 = 0
    var lastTime: Int64 = 0
}

/// The byte code of open chunks and of the log.
///
/// A code byte with the top bit is a run: that many more samples at the last distance with the last value. Else bits 0–1
/// say how the timestamp differs: 0 the same distance as before, 1 and 2 the distance's change in one or two bytes, 3 in
/// a varint; bits 2–3 the value: 0 the same, 1 the difference of scaled integers as a varint, 2 XOR (a byte with the
/// count of zero bytes before and of bytes that follow), 3 a new scale and the whole scaled integer. Bit 6 alone is a
/// sample that leans on nothing: timestamp as a varint and eight bytes.
enum HeadCode {
    static let absolute: UInt8 = 0x40

    /// One sample's code: the code byte and what follows it, at most 24 bytes.
    struct Sample {
        var code: UInt8 = 0
        var length = 0
        var payload: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

        @inline(__always)
        mutating func put(_ byte: UInt8) {
            withUnsafeMutableBytes(of: &payload) { $0[length] = byte }
            length += 1
        }

        @inline(__always)
        mutating func putVarint(_ value: UInt64) {
            var rest = value
            while rest >= 0x80 {
                put(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            put(UInt8(truncatingIfNeeded: rest))
        }

        @inline(__always)
        mutating func putWord(_ value: UInt64) {
            var rest = value
            for _ in 0..<8 {
                put(UInt8(truncatingIfNeeded: rest))
                rest >>= 8
            }
        }
    }

    /// Codes a sample against the state and moves the state on. `restart`: lean on nothing.
    @inline(__always)
    static func encode(_ state: inout SeriesState, _ time: Int64, _ bits: UInt64, restart: Bool) -> Sample {
        var sample = Sample()
        if restart {
            sample.code = absolute
            sample.putVarint(zigzag(time))
            sample.putWord(bits)
            state.lastDistance = 0
            state.scale = 0
            state.misses = 0
            if let integer = scaledInteger(Double(bitPattern: bits), 0) {
                (state.scaledValid, state.lastScaled) = (true, integer)
            } else {
                state.scaledValid = false
            }
        } else {
            let distance = time &- state.lastTime
            let change = distance &- state.lastDistance
            if change == 0 {
            } else if change >= -128 && change < 128 {
                sample.code = 1
                sample.put(UInt8(bitPattern: Int8(change)))
            } else if change >= -32768 && change < 32768 {
                sample.code = 2
                let word = UInt16(bitPattern: Int16(change))
                sample.put(UInt8(truncatingIfNeeded: word))
                sample.put(UInt8(truncatingIfNeeded: word >> 8))
            } else {
                sample.code = 3
                sample.putVarint(zigzag(change))
            }
            state.lastDistance = distance
            if bits != state.lastBits { encodeValue(&state, bits, &sample) }
        }
        state.lastTime = time
        state.lastBits = bits
        return sample
    }

    private static func encodeValue(_ state: inout SeriesState, _ bits: UInt64, _ sample: inout Sample) {
        let value = Double(bitPattern: bits)
        if let integer = scaledInteger(value, Int(state.scale)) {
            if state.scaledValid {
                sample.code |= 1 << 2
                sample.putVarint(zigzag(integer - state.lastScaled))
            } else {
                sample.code |= 3 << 2
                sample.put(state.scale)
                sample.putVarint(zigzag(integer))
                state.scaledValid = true
            }
            state.lastScaled = integer
            return
        }
        // The search for a scale costs; series of measured floats that never have one are asked rarely.
        if state.misses < 8 || state.misses & 31 == 0 {
            for scale in 0...9 where scale != Int(state.scale) {
                if let integer = scaledInteger(value, scale) {
                    sample.code |= 3 << 2
                    sample.put(UInt8(scale))
                    sample.putVarint(zigzag(integer))
                    state.scale = UInt8(scale)
                    state.scaledValid = true
                    state.lastScaled = integer
                    state.misses = 0
                    return
                }
            }
        }
        state.misses = state.misses == 255 ? 32 : state.misses + 1
        state.scaledValid = false
        let change = bits ^ state.lastBits
        let before = change.leadingZeroBitCount / 8
        let count = 8 - before - change.trailingZeroBitCount / 8
        sample.code |= 2 << 2
        sample.put(UInt8(before << 4 | count))
        var rest = change >> UInt64((8 - before - count) * 8)
        for _ in 0..<count {
            sample.put(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }

    /// Adds a coded sample to the open chunk, as a run where it can be.
    @inline(__always)
    static func append(_ sample: Sample, to state: inout SeriesState, time: Int64) {
        if state.count == 0 { state.firstTime = time }
        state.count += 1
        if sample.code == 0, let buffer = state.buffer {
            if state.runAt >= 0, buffer[Int(state.runAt)] < 0xff {
                buffer[Int(state.runAt)] += 1
                return
            }
            state.reserve(1)
            state.runAt = Int32(state.used)
            state.buffer?[Int(state.used)] = 0x81
            state.used += 1
            return
        }
        state.reserve(sample.length + 1)
        guard let buffer = state.buffer else { return }
        let at = Int(state.used)
        buffer[at] = sample.code
        withUnsafeBytes(of: sample.payload) { payload in
            for index in 0..<sample.length { buffer[at + 1 + index] = payload[index] }
        }
        state.used += UInt32(sample.length + 1)
        state.runAt = -1
    }

    /// What decoding knows of a series between two codes.
    struct Decoder {
        var time: Int64 = 0
        var distance: Int64 = 0
        var bits: UInt64 = 0
        var scaled: Int64 = 0
        var scale = 0

        /// Reads what follows a code byte that is not a run.
        @inline(__always)
        mutating func step(_ code: UInt8, _ reader: inout ByteReader) {
            if code & HeadCode.absolute != 0 {
                time = reader.zigzag()
                bits = reader.word()
                distance = 0
                scale = 0
                scaled = scaledInteger(Double(bitPattern: bits), 0) ?? 0
                return
            }
            switch code & 3 {
            case 1: distance &+= Int64(Int8(bitPattern: reader.byte()))
            case 2:
                let low = UInt16(reader.byte())
                distance &+= Int64(Int16(bitPattern: low | UInt16(reader.byte()) << 8))
            case 3: distance &+= reader.zigzag()
            default: break
            }
            time &+= distance
            switch code >> 2 & 3 {
            case 1:
                scaled &+= reader.zigzag()
                bits = (Double(scaled) / powersOfTen[scale]).bitPattern
            case 2:
                let form = reader.byte()
                let before = Int(form >> 4)
                let count = Int(form & 15)
                guard before + count <= 8 else {
                    reader.failed = true
                    return
                }
                var change: UInt64 = 0
                for index in 0..<count { change |= UInt64(reader.byte()) << UInt64(index * 8) }
                bits ^= before + count == 0 ? 0 : change << UInt64((8 - before - count) * 8)
            case 3:
                scale = min(Int(reader.byte()), powersOfTen.count - 1)
                scaled = reader.zigzag()
                bits = (Double(scaled) / powersOfTen[scale]).bitPattern
            default: break
            }
        }
    }
}
