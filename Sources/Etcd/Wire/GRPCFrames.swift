/// gRPC's length-prefixed messages: a zero byte, the length as four big-endian bytes, the message.
enum GRPCFrame {
    static func encode(_ message: [UInt8]) -> [UInt8] {
        let n = UInt32(truncatingIfNeeded: message.count)
        return [0, UInt8(n >> 24), UInt8(n >> 16 & 255), UInt8(n >> 8 & 255), UInt8(n & 255)] + message
    }
}

/// Cuts a stream of bytes into messages. Pieces may end anywhere.
struct GRPCFrameReader {
    private var header: [UInt8] = []
    private var message: [UInt8] = []
    private var wanted: Int?
    private let maxMessageBytes: Int

    init(maxMessageBytes: Int) { self.maxMessageBytes = maxMessageBytes }

    /// True between messages.
    var isWhole: Bool { header.isEmpty && wanted == nil }

    /// Hands each message that the bytes complete to `body`.
    mutating func feed(_ bytes: UnsafeRawBufferPointer, _ body: (inout [UInt8]) throws -> Void) throws {
        var at = 0
        while at < bytes.count || wanted == 0 {
            guard let length = wanted else {
                let n = min(5 - header.count, bytes.count - at)
                header.append(contentsOf: bytes[at..<at + n])
                at += n
                guard header.count == 5 else { return }
                guard header[0] == 0 else {
                    throw EtcdError(.damaged, "the answer is compressed, which was not asked for")
                }
                let length = Int(header[1]) << 24 | Int(header[2]) << 16 | Int(header[3]) << 8 | Int(header[4])
                guard length <= maxMessageBytes else {
                    throw EtcdError(.damaged, "a message of \(length) bytes, more than \(maxMessageBytes)")
                }
                wanted = length
                message.removeAll(keepingCapacity: true)
                message.reserveCapacity(length)
                continue
            }
            let n = min(length - message.count, bytes.count - at)
            message.append(contentsOf: bytes[at..<at + n])
            at += n
            guard message.count == length else { return }
            header.removeAll(keepingCapacity: true)
            wanted = nil
            try body(&message)
        }
    }
}
