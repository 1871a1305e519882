extension HeadCode {
    /// The samples of a chunk's byte code that lie within the bounds, appended to the columns.
    static func decode(
        _ bytes: UnsafeRawBufferPointer, from: Int64, through: Int64, timestamps: inout [Int64],
        values: inout [Double]
    ) {
        decode(
            bytes, from: from, through: through, scratch: DecodeScratch(), timestamps: &timestamps, values: &values)
    }

    /// The same with memory lent for it, from a mark on where there is one. `padding`: so many bytes behind the code may be
    /// read, whatever they hold. Leaves in `scratch.marks` those it passed, the
    /// one where the bounds begin among them; returns how many bytes were read before that.
    @discardableResult
    static func decode(
        _ bytes: UnsafeRawBufferPointer, padding: Int = 0, start: HeadMark? = nil, from: Int64, through: Int64,
        scratch: DecodeScratch, timestamps: inout [Int64], values: inout [Double]
    ) -> Int {
        scratch.marks.removeAll(keepingCapacity: true)
        let (count, before) = decode(bytes, padding, start, from: from, through: through, scratch)
        timestamps.append(contentsOf: UnsafeBufferPointer(start: scratch.times, count: count))
        values.append(contentsOf: UnsafeBufferPointer(start: scratch.values, count: count))
        return before
    }

    /// No code is longer, in bytes.
    static let longest = 40

    /// Decodes into the scratch's columns; how many samples, and how many bytes lay before the first one's code.
    ///
    /// Codes far enough from the end are read without asking for each byte whether it is there: none is longer than
    /// `longest`. The last ones go through `Decoder`, which asks.
    private static func decode(
        _ bytes: UnsafeRawBufferPointer, _ padding: Int, _ start: HeadMark?, from: Int64, through: Int64,
        _ scratch: DecodeScratch
    ) -> (count: Int, before: Int) {
        guard let base = bytes.baseAddress else { return (0, 0) }
        let safeEnd = bytes.count - max(0, longest - padding)
        let skipped = start?.at ?? 0
        var reading = FastReading(base, start?.decoder ?? Decoder())
        // Where the first sample within the bounds begins, as far as it is known.
        var (entry, before) = (reading.state, 0)
        var nextMark = nextMarkPlace(bytes.count, behind: 0)
        let goesOn = powersOfTen.withUnsafeBufferPointer { powers in
            reading.divisor = powers[reading.state.scale]
            while reading.at < safeEnd, reading.count == 0 {
                if reading.at >= nextMark {
                    nextMark = reading.leaveMark(skipped, bytes.count, behind: nextMark, scratch)
                }
                (entry, before) = (reading.state, reading.at)
                if !reading.next(from, through, powers, scratch) { return false }
            }
            while reading.at < safeEnd {
                if reading.at >= nextMark {
                    nextMark = reading.leaveMark(skipped, bytes.count, behind: nextMark, scratch)
                }
                if !reading.next(from, through, powers, scratch) { return false }
            }
            return true
        }
        if before > 0 {
            let place = scratch.marks.firstIndex { $0.at >= skipped + before } ?? scratch.marks.count
            scratch.marks.insert(HeadMark(at: skipped + before, decoder: entry), at: place)
        }
        var (decoder, at, count) = (reading.state, reading.at, reading.count)
        if !goesOn || at >= bytes.count { return (count, before) }
        var reader = ByteReader(bytes)
        reader.at = at
        while !reader.atEnd {
            let code = reader.byte()
            if code >= 0x80 {
                count = run(code, &decoder, from, through, scratch, count)
                continue
            }
            decoder.step(code, &reader)
            if reader.failed { break }
            if decoder.time >= from && decoder.time <= through {
                scratch.reserve(count + 1, keep: count)
                scratch.times[count] = decoder.time
                scratch.values[count] = Double(bitPattern: decoder.bits)
                count += 1
            }
        }
        return (count, before)
    }

    /// Where the next mark is to be left behind a place in so many bytes; out of reach where there is none.
    private static func nextMarkPlace(_ count: Int, behind place: Int) -> Int {
        var distance = HeadMarks.farthest
        while distance >= HeadMarks.nearest {
            if count - distance > place { return count - distance }
            distance /= 2
        }
        return .max
    }

    /// Reading where at least `longest` bytes follow.
    private struct FastReading {
        let base: UnsafeRawPointer
        var at = 0
        var state: Decoder
        /// The power of ten of the state's scale.
        var divisor = 1.0
        /// Samples within the bounds so far.
        var count = 0

        init(_ base: UnsafeRawPointer, _ state: Decoder) { (self.base, self.state) = (base, state) }

        /// Leaves a mark here; where the next one is to be left.
        @inline(never)
        func leaveMark(_ skipped: Int, _ bytes: Int, behind place: Int, _ scratch: DecodeScratch) -> Int {
            scratch.marks.append(HeadMark(at: skipped + at, decoder: state))
            return nextMarkPlace(bytes, behind: place)
        }

        /// Reads one code; false where nothing that follows is of use: it is younger, or the code is damaged.
        @inline(__always)
        mutating func next(
            _ from: Int64, _ through: Int64, _ powers: UnsafeBufferPointer<Double>, _ scratch: DecodeScratch
        ) -> Bool {
            let code = base.load(fromByteOffset: at, as: UInt8.self)
            at += 1
            if code >= 0x80 {
                count = run(code, &state, from, through, scratch, count)
                return state.time <= through
            }
            if code & absolute != 0 {
                state.time = fastZigzag(base, &at)
                state.bits = fastWord(base, &at)
                state.distance = 0
                state.scale = 0
                divisor = 1
                state.scaled = scaledInteger(Double(bitPattern: state.bits), 0) ?? 0
            } else {
                switch code & 3 {
                case 1:
                    state.distance &+= Int64(base.load(fromByteOffset: at, as: Int8.self))
                    at += 1
                case 2:
                    let word = base.loadUnaligned(fromByteOffset: at, as: Int16.self)
                    state.distance &+= Int64(Int16(littleEndian: word))
                    at += 2
                case 3: state.distance &+= fastZigzag(base, &at)
                default: break
                }
                state.time &+= state.distance
                switch code >> 2 & 3 {
                case 1:
                    state.scaled &+= fastZigzag(base, &at)
                    state.bits =
                        state.scale == 0
                        ? Double(state.scaled).bitPattern : (Double(state.scaled) / divisor).bitPattern
                case 2:
                    let form = base.load(fromByteOffset: at, as: UInt8.self)
                    at += 1
                    let before = Int(form >> 4)
                    let length = Int(form & 15)
                    guard before + length <= 8 else { return false }
                    if length > 0 {
                        let word = fastWord(base, at) & (UInt64.max >> UInt64(64 - length * 8))
                        state.bits ^= word << UInt64((8 - before - length) * 8)
                        at += length
                    }
                case 3:
                    state.scale = min(Int(base.load(fromByteOffset: at, as: UInt8.self)), powers.count - 1)
                    at += 1
                    divisor = powers[state.scale]
                    state.scaled = fastZigzag(base, &at)
                    state.bits = (Double(state.scaled) / divisor).bitPattern
                default: break
                }
            }
            if state.time < from { return true }
            if state.time > through { return false }
            scratch.reserve(count + 1, keep: count)
            scratch.times[count] = state.time
            scratch.values[count] = Double(bitPattern: state.bits)
            count += 1
            return true
        }
    }

    /// Samples at the last distance with the last value.
    @inline(__always)
    private static func run(
        _ code: UInt8, _ state: inout Decoder, _ from: Int64, _ through: Int64, _ scratch: DecodeScratch, _ count: Int
    ) -> Int {
        let length = Int(code & 0x7f)
        let value = Double(bitPattern: state.bits)
        scratch.reserve(count + length, keep: count)
        var count = count
        for _ in 0..<length {
            state.time &+= state.distance
            if state.time >= from && state.time <= through {
                scratch.times[count] = state.time
                scratch.values[count] = value
                count += 1
            }
        }
        return count
    }

    @inline(__always)
    private static func fastZigzag(_ base: UnsafeRawPointer, _ at: inout Int) -> Int64 {
        var byte = base.load(fromByteOffset: at, as: UInt8.self)
        at += 1
        var value = UInt64(byte & 0x7f)
        var shift: UInt64 = 7
        while byte >= 0x80, shift <= 63 {
            byte = base.load(fromByteOffset: at, as: UInt8.self)
            at += 1
            value |= UInt64(byte & 0x7f) << shift
            shift += 7
        }
        return unzigzag(value)
    }

    @inline(__always)
    private static func fastWord(_ base: UnsafeRawPointer, _ at: Int) -> UInt64 {
        UInt64(littleEndian: base.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    }

    @inline(__always)
    private static func fastWord(_ base: UnsafeRawPointer, _ at: inout Int) -> UInt64 {
        defer { at += 8 }
        return fastWord(base, at)
    }
}
