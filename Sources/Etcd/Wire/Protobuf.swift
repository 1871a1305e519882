/// What is wrong with a protobuf message.
package struct ProtobufError: Error, Equatable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// Writes protobuf messages. Plain `add` leaves out zero and empty values, as proto3 does; `put` writes them too, as
/// etcd's generated proto2 code does for its required fields.
package struct ProtobufWriter {
    package private(set) var bytes: [UInt8] = []

    package init() {}

    package mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }

    package mutating func put(_ field: Int, _ value: UInt64) {
        varint(UInt64(field) << 3)
        varint(value)
    }

    package mutating func put(_ field: Int, bytes value: some Collection<UInt8>) {
        varint(UInt64(field) << 3 | 2)
        varint(UInt64(value.count))
        bytes.append(contentsOf: value)
    }

    package mutating func add(_ field: Int, _ value: UInt64) { if value != 0 { put(field, value) } }
    package mutating func add(_ field: Int, signed value: Int64) { add(field, UInt64(bitPattern: value)) }
    package mutating func add(_ field: Int, bool value: Bool) { if value { put(field, 1) } }
    package mutating func add(_ field: Int, bytes value: [UInt8]) { if !value.isEmpty { put(field, bytes: value) } }
    package mutating func add(_ field: Int, text value: String) { if !value.isEmpty { put(field, bytes: value.utf8) } }
    /// A message is written even when empty: its presence says something.
    package mutating func add(_ field: Int, message: ProtobufWriter) { put(field, bytes: message.bytes) }
}

/// Reads protobuf messages field by field. Values are ranges of the bytes it was made with.
package struct ProtobufReader {
    package enum Value {
        case number(UInt64)
        case bytes(Range<Int>)
    }

    package let bytes: [UInt8]
    private var position: Int
    private let end: Int

    package init(_ bytes: [UInt8]) { self.init(bytes, 0..<bytes.count) }

    package init(_ bytes: [UInt8], _ range: Range<Int>) {
        self.bytes = bytes
        position = range.lowerBound
        end = range.upperBound
    }

    /// The next field, nil at the end. Fixed 32- and 64-bit fields come as numbers; groups are refused.
    package mutating func next() throws(ProtobufError) -> (field: Int, value: Value)? {
        guard position < end else { return nil }
        let tag = try varint()
        let field = Int(truncatingIfNeeded: tag >> 3)
        guard field > 0, tag >> 3 <= 536_870_911 else { throw ProtobufError("field number out of range") }
        switch tag & 7 {
        case 0: return (field, .number(try varint()))
        case 1: return (field, .number(try fixed(8)))
        case 2:
            let length = try varint()
            guard length <= UInt64(end - position) else { throw ProtobufError("field \(field) is cut off") }
            let start = position
            position += Int(length)
            return (field, .bytes(start..<position))
        case 5: return (field, .number(try fixed(4)))
        default: throw ProtobufError("unknown wire type \(tag & 7)")
        }
    }

    package func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }

    private mutating func varint() throws(ProtobufError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < end {
            let byte = bytes[position]
            position += 1
            if shift == 63 && byte > 1 { throw ProtobufError("number out of range") }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
            if shift > 63 { throw ProtobufError("number out of range") }
        }
        throw ProtobufError("number is cut off")
    }

    private mutating func fixed(_ count: Int) throws(ProtobufError) -> UInt64 {
        guard end - position >= count else { throw ProtobufError("number is cut off") }
        var value: UInt64 = 0
        for i in 0..<count { value |= UInt64(bytes[position + i]) << (8 * UInt64(i)) }
        position += count
        return value
    }
}
