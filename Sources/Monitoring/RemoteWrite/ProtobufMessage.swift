import MetricModel

/// The fields of a protobuf message, in their order (encoding of the Protocol Buffers documentation).
struct MessageReader {
    enum Value {
        case varint(UInt64)
        case word(UInt64)
        case bytes(UnsafeRawBufferPointer)
    }

    private let bytes: UnsafeRawBufferPointer
    private var at = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    mutating func next() throws(WriteRequestError) -> (number: UInt64, value: Value)? {
        if at == bytes.count { return nil }
        let key = try varint()
        switch key & 7 {
        case 0: return (key >> 3, .varint(try varint()))
        case 1:
            guard bytes.count - at >= 8 else { throw damaged }
            defer { at += 8 }
            return (key >> 3, .word(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))))
        case 2:
            let length = try varint()
            guard length <= UInt64(bytes.count - at) else { throw damaged }
            defer { at += Int(length) }
            return (key >> 3, .bytes(UnsafeRawBufferPointer(rebasing: bytes[at..<at + Int(length)])))
        case 5:
            guard bytes.count - at >= 4 else { throw damaged }
            defer { at += 4 }
            return (key >> 3, .varint(UInt64(bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))))
        default: throw damaged
        }
    }

    private var damaged: WriteRequestError { WriteRequestError("the protobuf message is damaged") }

    private mutating func varint() throws(WriteRequestError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while at < bytes.count, shift < 64 {
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7f) << shift
            if byte & 0x80 == 0 { return value }
            shift += 7
        }
        throw damaged
    }
}

/// Writes the fields of a protobuf message.
struct MessageWriter {
    var bytes: [UInt8] = []

    @inline(__always)
    mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(truncatingIfNeeded: rest))
    }

    @inline(__always)
    mutating func varint(_ number: UInt64, _ value: UInt64) {
        varint(number << 3)
        varint(value)
    }

    @inline(__always)
    mutating func double(_ number: UInt64, _ value: Double) {
        varint(number << 3 | 1)
        Swift.withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func field(_ number: UInt64, _ value: some Collection<UInt8>) {
        varint(number << 3 | 2)
        varint(UInt64(value.count))
        bytes.append(contentsOf: value)
    }

    /// `prometheus.Label` messages, sorted by name, as a field of that number each.
    mutating func labels(_ number: UInt64, _ labels: Labels) {
        labels.forEachPair { name, value in
            varint(number << 3 | 2)
            varint(UInt64(Self.size(name.count) + Self.size(value.count)))
            field(1, name)
            field(2, value)
        }
    }

    /// `prometheus.Sample` as a field of that number.
    @inline(__always)
    mutating func sample(_ number: UInt64, _ time: Int64, _ value: Double) {
        let stamp = UInt64(bitPattern: time)
        varint(number << 3 | 2)
        varint(UInt64(9 + 1 + Self.varintSize(stamp)))
        double(1, value)
        varint(2, stamp)
    }

    /// Bytes of a field with a number below 16 and so many bytes of content.
    private static func size(_ count: Int) -> Int { 1 + varintSize(UInt64(count)) + count }

    static func varintSize(_ value: UInt64) -> Int { max(1, (64 - value.leadingZeroBitCount + 6) / 7) }
}
