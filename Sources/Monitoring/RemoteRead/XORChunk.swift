/// Prometheus' XOR chunk, as its documentation of the chunk format has it: the number of samples in two bytes; the first
/// timestamp (zigzag varint) and value; the second timestamp as a varint distance; then the change of the distance in 1, 16, 20,
/// 24 or 68 bits; values as the XOR with the one before. Bits go most significant first. At most 65,535 samples.
struct XORChunk {
    private var bits = BitPacker()
    private var count = 0
    private var time: Int64 = 0
    private var distance: Int64 = 0
    private var value: UInt64 = 0
    private var leading = -1
    private var trailing = 0

    mutating func append(_ newTime: Int64, _ newValue: Double) {
        let pattern = newValue.bitPattern
        switch count {
        case 0:
            bits.varint(UInt64(bitPattern: newTime << 1) ^ UInt64(bitPattern: newTime >> 63))
            bits.write(pattern, 64)
        case 1:
            distance = newTime &- time
            bits.varint(UInt64(bitPattern: distance))
            write(pattern)
        default:
            let next = newTime &- time
            writeChange(next &- distance)
            distance = next
            write(pattern)
        }
        (time, value) = (newTime, pattern)
        count += 1
    }

    private mutating func writeChange(_ change: Int64) {
        func fits(_ width: Int64) -> Bool { -((1 << (width - 1)) - 1) <= change && change <= 1 << (width - 1) }
        if change == 0 {
            bits.write(0, 1)
        } else if fits(14) {
            bits.write(0b10, 2)
            bits.write(UInt64(bitPattern: change), 14)
        } else if fits(17) {
            bits.write(0b110, 3)
            bits.write(UInt64(bitPattern: change), 17)
        } else if fits(20) {
            bits.write(0b1110, 4)
            bits.write(UInt64(bitPattern: change), 20)
        } else {
            bits.write(0b1111, 4)
            bits.write(UInt64(bitPattern: change), 64)
        }
    }

    private mutating func write(_ pattern: UInt64) {
        let change = pattern ^ value
        if change == 0 { return bits.write(0, 1) }
        bits.write(1, 1)
        let newLeading = min(31, change.leadingZeroBitCount)
        let newTrailing = change.trailingZeroBitCount
        if leading >= 0, newLeading >= leading, newTrailing >= trailing {
            bits.write(0, 1)
            bits.write(change >> UInt64(trailing), 64 - leading - trailing)
            return
        }
        (leading, trailing) = (newLeading, newTrailing)
        let length = 64 - leading - trailing
        bits.write(1, 1)
        bits.write(UInt64(leading), 5)
        // 64 is written as 0.
        bits.write(UInt64(length & 63), 6)
        bits.write(change >> UInt64(trailing), length)
    }

    mutating func finish() -> [UInt8] {
        [UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)] + bits.finished()
    }
}

/// Bits, most significant first.
private struct BitPacker {
    private var bytes: [UInt8] = []
    private var free = 0

    /// The lowest `count` bits.
    mutating func write(_ value: UInt64, _ count: Int) {
        var left = count
        while left > 0 {
            if free == 0 {
                bytes.append(0)
                free = 8
            }
            let take = min(left, free)
            let part = (value >> UInt64(left - take)) & ((1 << UInt64(take)) - 1)
            bytes[bytes.count - 1] |= UInt8(truncatingIfNeeded: part << UInt64(free - take))
            free -= take
            left -= take
        }
    }

    mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            write(rest & 0x7f | 0x80, 8)
            rest >>= 7
        }
        write(rest, 8)
    }

    func finished() -> [UInt8] { bytes }
}
