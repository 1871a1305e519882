/// Reads what `XORChunk` writes. Input can be anything: what ends too early gives nil. At most 65,535 samples.
struct XORChunkReader {
    /// Samples not yet read.
    private(set) var left: Int
    private var bits: BitReader
    private var count = 0
    private var time: Int64 = 0
    private var distance: Int64 = 0
    private var value: UInt64 = 0
    private var leading = 0
    private var trailing = 0

    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= 2 else { return nil }
        left = Int(bytes[0]) << 8 | Int(bytes[1])
        bits = BitReader(UnsafeRawBufferPointer(rebasing: bytes[2...]))
    }

    /// Nil where the bytes end before the sample does.
    mutating func next() -> (time: Int64, value: Double)? {
        switch count {
        case 0:
            guard let zigzag = bits.varint(), let pattern = bits.read(64) else { return nil }
            time = Int64(bitPattern: zigzag >> 1) ^ -Int64(bitPattern: zigzag & 1)
            value = pattern
        case 1:
            guard let first = bits.varint() else { return nil }
            distance = Int64(bitPattern: first)
            time &+= distance
            guard readValue() else { return nil }
        default:
            guard let change = readChange() else { return nil }
            distance &+= change
            time &+= distance
            guard readValue() else { return nil }
        }
        count += 1
        left -= 1
        return (time, Double(bitPattern: value))
    }

    private mutating func readChange() -> Int64? {
        var ones = 0
        while ones < 4 {
            guard let bit = bits.read(1) else { return nil }
            if bit == 0 { break }
            ones += 1
        }
        let width = [0, 14, 17, 20, 64][ones]
        if width == 0 { return 0 }
        guard let raw = bits.read(width) else { return nil }
        if width == 64 { return Int64(bitPattern: raw) }
        // As it is written: the highest value is positive, all above half of the range are negative.
        return raw > 1 << UInt64(width - 1) ? Int64(raw) - (1 << Int64(width)) : Int64(raw)
    }

    private mutating func readValue() -> Bool {
        guard let changed = bits.read(1) else { return false }
        if changed == 0 { return true }
        guard let isNew = bits.read(1) else { return false }
        if isNew == 1 {
            guard let newLeading = bits.read(5), let length = bits.read(6) else { return false }
            leading = Int(newLeading)
            let width = length == 0 ? 64 : Int(length)
            guard leading + width <= 64 else { return false }
            trailing = 64 - leading - width
        }
        guard let change = bits.read(64 - leading - trailing) else { return false }
        value ^= change << UInt64(trailing)
        return true
    }
}

/// Bits of bytes, most significant first.
private struct BitReader {
    private let bytes: UnsafeRawBufferPointer
    private var at = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// The next `count` (1 to 64) bits; nil where there are not so many.
    mutating func read(_ count: Int) -> UInt64? {
        guard bytes.count * 8 - at >= count else { return nil }
        var value: UInt64 = 0
        var left = count
        while left > 0 {
            let free = 8 - at & 7
            let take = min(left, free)
            let part = UInt64(bytes[at >> 3]) >> UInt64(free - take) & ((1 << UInt64(take)) - 1)
            value = value << UInt64(take) | part
            at += take
            left -= take
        }
        return value
    }

    mutating func varint() -> UInt64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while shift < 64, let byte = read(8) {
            value |= (byte & 0x7f) << shift
            if byte & 0x80 == 0 { return value }
            shift += 7
        }
        return nil
    }
}
