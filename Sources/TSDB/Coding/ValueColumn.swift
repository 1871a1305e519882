import Glibc

/// Powers of ten that a float holds exactly.
let powersOfTen: [Double] = (0...15).map { pow(10, Double($0)) }

/// The integer that divided by 10^scale gives exactly these bits; nil where there is none below 2^53.
@inline(__always)
func scaledInteger(_ value: Double, _ scale: Int) -> Int64? {
    let scaled = (value * powersOfTen[scale]).rounded(.toNearestOrEven)
    guard scaled.magnitude < 9_007_199_254_740_992 else { return nil }
    let integer = Int64(scaled)
    return (Double(integer) / powersOfTen[scale]).bitPattern == value.bitPattern ? integer : nil
}

/// A column of floats in the form that takes least room.
///
/// Layout: one byte of kind. 0: one word, the value of all. 1: scale, exceptions (count, then for each the distance to the
/// index before and the word), and the values times 10^scale as an `IntegerColumn`; an exception (a stale marker, say)
/// stands there as the value before it. 3: the same with a factor of all integers (varint; pages of memory are multiples of
/// 4096) before the column, whose values it is taken out of. 2: XOR with the value before, in bits: `0` same; `10` within the last window of
/// meaningful bits; `11`, 5 bits of leading zeros, 6 bits of length minus one, the bits (Gorilla, VLDB 2015).
enum ValueColumn {
    static func encode(_ values: [Double], into out: inout [UInt8]) {
        guard let first = values.first else { return }
        if values.allSatisfy({ $0.bitPattern == first.bitPattern }) {
            out.append(0)
            out.appendWord(first.bitPattern)
            return
        }
        let xor = xorBits(values)
        if let scaled = scaledColumn(values), scaled.count <= xor.count {
            out += scaled
        } else {
            out.append(2)
            out += xor
        }
    }

    private static func scaledColumn(_ values: [Double]) -> [UInt8]? {
        var scale = 0
        var exceptions: [Int] = []
        let allowed = values.count / 8 + 1
        for (index, value) in values.enumerated() {
            if scaledInteger(value, scale) != nil { continue }
            if let needed = ((scale + 1)..<powersOfTen.count).first(where: { scaledInteger(value, $0) != nil }) {
                scale = needed
            } else {
                exceptions.append(index)
                if exceptions.count > allowed { return nil }
            }
        }
        var integers: [Int64] = []
        integers.reserveCapacity(values.count)
        exceptions.removeAll()
        for (index, value) in values.enumerated() {
            if let integer = scaledInteger(value, scale) {
                integers.append(integer)
            } else {
                // Also what fitted a smaller scale but overflows at this one.
                exceptions.append(index)
                if exceptions.count > allowed { return nil }
                integers.append(integers.last ?? 0)
            }
        }
        let factor = commonFactor(integers)
        var out: [UInt8] = [factor > 1 ? 3 : 1, UInt8(scale)]
        out.appendVarint(UInt64(exceptions.count))
        var before = 0
        for index in exceptions {
            out.appendVarint(UInt64(index - before))
            out.appendWord(values[index].bitPattern)
            before = index
        }
        if factor > 1 {
            out.appendVarint(factor)
            for i in integers.indices { integers[i] /= Int64(factor) }
        }
        IntegerColumn.encode(integers, into: &out)
        return out
    }

    /// The greatest number that divides all; 1 where there is none, or only zeros. All are below 2^53.
    private static func commonFactor(_ integers: [Int64]) -> UInt64 {
        var factor: UInt64 = 0
        for integer in integers {
            var other = integer.magnitude
            while other != 0 { (factor, other) = (other, factor % other) }
            if factor == 1 { break }
        }
        return max(1, factor)
    }

    private static func xorBits(_ values: [Double]) -> [UInt8] {
        var bits = BitWriter()
        var previous = values[0].bitPattern
        bits.write(previous, 64)
        var leading = -1
        var trailing = 0
        for value in values.dropFirst() {
            let change = value.bitPattern ^ previous
            previous = value.bitPattern
            if change == 0 {
                bits.write(0, 1)
                continue
            }
            let newLeading = min(31, change.leadingZeroBitCount)
            let newTrailing = change.trailingZeroBitCount
            if leading >= 0, newLeading >= leading, newTrailing >= trailing {
                bits.write(0b10, 2)
                bits.write(change >> UInt64(trailing), 64 - leading - trailing)
            } else {
                (leading, trailing) = (newLeading, newTrailing)
                let length = 64 - leading - trailing
                bits.write(0b11, 2)
                bits.write(UInt64(leading), 5)
                bits.write(UInt64(length - 1), 6)
                bits.write(change >> UInt64(trailing), length)
            }
        }
        return bits.finish()
    }

    /// Writes the values with indices in `wanted` of `count`, from all that is left in the reader, into the scratch.
    static func decode(_ reader: inout ByteReader, count: Int, wanted: Range<Int>, scratch: DecodeScratch) {
        guard count > 0, !wanted.isEmpty else { return }
        scratch.reserve(count)
        switch reader.byte() {
        case 0:
            let value = Double(bitPattern: reader.word())
            (scratch.values + wanted.lowerBound).update(repeating: value, count: wanted.count)
        case 1: decodeScaled(&reader, count, wanted, scratch, hasFactor: false)
        case 3: decodeScaled(&reader, count, wanted, scratch, hasFactor: true)
        case 2:
            var bits = BitReader(reader.slice(reader.bytes.count - reader.at))
            decodeXor(&bits, wanted.upperBound, scratch.values)
            if bits.failed { reader.failed = true }
        default: reader.failed = true
        }
    }

    private static func decodeScaled(
        _ reader: inout ByteReader, _ count: Int, _ wanted: Range<Int>, _ scratch: DecodeScratch, hasFactor: Bool
    ) {
        let scale = Int(reader.byte())
        guard scale < powersOfTen.count else {
            reader.failed = true
            return
        }
        var exceptions: [(Int, UInt64)] = []
        var index = 0
        for _ in 0..<reader.count() {
            // Wraps where it is damaged.
            index &+= Int(truncatingIfNeeded: reader.varint())
            guard (0..<count).contains(index) else {
                reader.failed = true
                return
            }
            exceptions.append((index, reader.word()))
        }
        let factor = hasFactor ? Int64(truncatingIfNeeded: reader.varint()) : 1
        IntegerColumn.decode(&reader, count: count, wanted: wanted.upperBound, to: scratch.integers)
        if reader.failed { return }
        let (integers, out) = (scratch.integers, scratch.values)
        if scale == 0 {
            for i in wanted { out[i] = Double(integers[i] &* factor) }
        } else {
            let divisor = powersOfTen[scale]
            for i in wanted { out[i] = Double(integers[i] &* factor) / divisor }
        }
        for (index, word) in exceptions { out[index] = Double(bitPattern: word) }
    }

    private static func decodeXor(_ bits: inout BitReader, _ count: Int, _ out: UnsafeMutablePointer<Double>) {
        var previous = bits.read(64)
        out[0] = Double(bitPattern: previous)
        var leading = 0
        var trailing = 0
        for i in 1..<max(1, count) {
            if bits.failed { return }
            if bits.read(1) == 1 {
                if bits.read(1) == 1 {
                    leading = Int(bits.read(5))
                    trailing = 64 - leading - Int(bits.read(6)) - 1
                    if trailing < 0 { trailing = 0 }
                }
                previous ^= bits.read(64 - leading - trailing) << UInt64(trailing)
            }
            out[i] = Double(bitPattern: previous)
        }
    }
}
