/// Variable-length integers and fixed words at the end of a byte array. Varints are LEB128; signed ones are zigzagged.
extension [UInt8] {
    @inline(__always)
    mutating func appendVarint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(truncatingIfNeeded: rest))
    }

    @inline(__always)
    mutating func appendZigzag(_ value: Int64) { appendVarint(zigzag(value)) }

    /// Eight bytes, least significant first.
    @inline(__always)
    mutating func appendWord(_ value: UInt64) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }
}

@inline(__always)
func zigzag(_ value: Int64) -> UInt64 { UInt64(bitPattern: value << 1) ^ UInt64(bitPattern: value >> 63) }

@inline(__always)
func unzigzag(_ value: UInt64) -> Int64 { Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1) }

/// Reads what `appendVarint` and its like wrote. Past the end it yields zeros and sets `failed`, so that damaged bytes
/// cost an error and never a trap.
struct ByteReader {
    let bytes: UnsafeRawBufferPointer
    var at = 0
    var failed = false

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var atEnd: Bool { at >= bytes.count }

    @inline(__always)
    mutating func byte() -> UInt8 {
        guard at < bytes.count else {
            failed = true
            return 0
        }
        at += 1
        return bytes[at - 1]
    }

    @inline(__always)
    mutating func varint() -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let next = byte()
            value |= UInt64(next & 0x7f) << shift
            if next < 0x80 { return value }
            shift += 7
            if shift > 63 {
                failed = true
                return 0
            }
        }
    }

    @inline(__always)
    mutating func zigzag() -> Int64 { unzigzag(varint()) }

    @inline(__always)
    mutating func word() -> UInt64 {
        guard bytes.count - at >= 8 else {
            failed = true
            at = bytes.count
            return 0
        }
        at += 8
        return UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at - 8, as: UInt64.self))
    }

    /// A count of things that take at least a byte each: nothing larger than what is left is believed.
    mutating func count() -> Int {
        let value = varint()
        guard value <= UInt64(bytes.count - at) else {
            failed = true
            return 0
        }
        return Int(value)
    }

    mutating func slice(_ length: Int) -> UnsafeRawBufferPointer {
        guard length >= 0, length <= bytes.count - at else {
            failed = true
            at = bytes.count
            return UnsafeRawBufferPointer(start: nil, count: 0)
        }
        at += length
        return UnsafeRawBufferPointer(rebasing: bytes[at - length..<at])
    }
}

/// Bits, most significant first, at the end of a byte array.
struct BitWriter {
    var bytes: [UInt8] = []
    private var pending: UInt64 = 0
    private var filled = 0

    /// The lowest `count` bits of `value`; `count` is 0…64.
    mutating func write(_ value: UInt64, _ count: Int) {
        if count > 32 {
            write(value >> 32, count - 32)
            write(value & 0xffff_ffff, 32)
            return
        }
        guard count > 0 else { return }
        pending = pending << UInt64(count) | (value & (UInt64.max >> UInt64(64 - count)))
        filled += count
        while filled >= 8 {
            filled -= 8
            bytes.append(UInt8(truncatingIfNeeded: pending >> UInt64(filled)))
        }
    }

    mutating func finish() -> [UInt8] {
        if filled > 0 {
            bytes.append(UInt8(truncatingIfNeeded: pending << UInt64(8 - filled)))
            filled = 0
        }
        return bytes
    }
}

/// Numbers of one width in bits, most significant first, each of which can be read by itself: a processor reads several at
/// once, where a reader of bits waits for one to know the place of the next.
struct BitBlock {
    private let bytes: UnsafeRawBufferPointer
    private let width: Int

    /// Takes the bytes of `count` numbers, to the next whole byte. Where they are not there the reader has failed, and all
    /// numbers are 0.
    init(_ reader: inout ByteReader, count: Int, width: Int) {
        bytes = reader.slice((count * width + 7) / 8)
        self.width = reader.failed ? 0 : width
    }

    @inline(__always)
    subscript(index: Int) -> UInt64 {
        if width == 0 { return 0 }
        let bit = index * width
        if width > 56 { return number(at: bit, width - 32) << 32 | number(at: bit + width - 32, 32) }
        return number(at: bit, width)
    }

    /// `width` is 1…56.
    @inline(__always)
    private func number(at bit: Int, _ width: Int) -> UInt64 {
        let at = bit >> 3
        let word =
            at + 8 <= bytes.count
            ? UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self)) : lastWord(at)
        return (word &<< UInt64(bit & 7)) &>> UInt64(64 - width)
    }

    /// What is there of a word near the end, from its top.
    @inline(never)
    private func lastWord(_ at: Int) -> UInt64 {
        var word: UInt64 = 0
        for i in at..<bytes.count { word |= UInt64(bytes[i]) << UInt64(56 - (i - at) * 8) }
        return word
    }
}

/// Reads what `BitWriter` wrote; past the end it yields zeros and sets `failed`.
struct BitReader {
    private let bytes: UnsafeRawBufferPointer
    private var at = 0
    /// Bits that were read ahead, from the top. Below the `filled` ones may be more, which are then the same as in `bytes`.
    private var pending: UInt64 = 0
    private var filled = 0
    private(set) var failed = false

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    @inline(__always)
    mutating func read(_ count: Int) -> UInt64 {
        if count > 56 {
            let high = readShort(count - 32)
            return high << 32 | readShort(32)
        }
        return readShort(count)
    }

    /// `count` is 0…56.
    @inline(__always)
    private mutating func readShort(_ count: Int) -> UInt64 {
        if count == 0 { return 0 }
        if filled < count { refill(count) }
        let value = pending >> UInt64(64 - count)
        pending <<= UInt64(count)
        filled -= count
        return value
    }

    @inline(__always)
    private mutating func refill(_ count: Int) {
        if at + 8 <= bytes.count {
            let word = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
            pending |= word >> UInt64(filled)
            let taken = (63 - filled) >> 3
            at += taken
            filled += taken << 3
        } else {
            refillSlowly(count)
        }
    }

    @inline(never)
    private mutating func refillSlowly(_ count: Int) {
        while filled <= 56, at < bytes.count {
            pending |= UInt64(bytes[at]) << UInt64(56 - filled)
            at += 1
            filled += 8
        }
        if filled < count {
            failed = true
            pending = filled == 0 ? 0 : (pending >> UInt64(64 - filled)) << UInt64(64 - filled)
            filled = 64
        }
    }
}
