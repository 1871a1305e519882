import CSnappy
package import MetricModel

/// Why a remote-write request is not taken: one line for the sender.
package struct WriteRequestError: Error, Sendable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// The body of Prometheus' remote write 1.0: a snappy block with the protobuf message `prometheus.WriteRequest`.
package struct WriteRequest: Sendable {
    package struct Series: Sendable {
        package var labels: Labels
        package var timestamps: [Int64] = []
        package var values: [Double] = []
    }

    package var series: [Series] = []
    /// Samples that were native histograms, which are not taken.
    package var histograms = 0

    /// Larger messages are refused, bytes once unpacked.
    package static let maxBytes = 256 << 20

    /// Input can be anything: bounds are checked, and what the body claims of its size is.
    package init(compressed body: [UInt8]) throws(WriteRequestError) {
        let plain = try Self.unpacked(body)
        let problem: WriteRequestError? = plain.withUnsafeBytes { bytes in
            do {
                var reader = MessageReader(bytes)
                while let field = try reader.next() {
                    if field.number == 1, case .bytes(let message) = field.value { try takeSeries(message) }
                }
                return nil
            } catch {
                return error as? WriteRequestError ?? WriteRequestError("\(error)")
            }
        }
        if let problem { throw problem }
    }

    private static func unpacked(_ body: [UInt8]) throws(WriteRequestError) -> [UInt8] {
        var length = 0
        guard
            body.withUnsafeBytes({ bytes in
                snappy_uncompressed_length(bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count, &length)
            }) == SNAPPY_OK
        else { throw WriteRequestError("the body is not compressed with snappy") }
        guard length <= maxBytes else { throw WriteRequestError("the message is larger than \(maxBytes) bytes") }
        // Snappy can repeat 64 bytes by 3 of input at best: a claim far beyond that is a lie that would cost memory.
        guard length / 64 <= body.count + 1 else { throw WriteRequestError("the body is not compressed with snappy") }
        var status = SNAPPY_OK
        let plain = [UInt8](unsafeUninitializedCapacity: max(1, length)) { out, count in
            var written = length
            status = body.withUnsafeBytes { bytes in
                snappy_uncompress(
                    bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count,
                    out.baseAddress.map { UnsafeMutableRawPointer($0).assumingMemoryBound(to: CChar.self) }, &written)
            }
            count = status == SNAPPY_OK ? written : 0
        }
        guard status == SNAPPY_OK else { throw WriteRequestError("the snappy block is damaged") }
        return plain
    }

    private mutating func takeSeries(_ message: UnsafeRawBufferPointer) throws(WriteRequestError) {
        var pairs: [(String, String)] = []
        var series = Series(labels: .empty)
        var reader = MessageReader(message)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .bytes(let label)):
                var name = ""
                var value = ""
                var fields = MessageReader(label)
                while let part = try fields.next() {
                    guard case .bytes(let text) = part.value else { continue }
                    if part.number == 1 { name = String(decoding: text, as: UTF8.self) }
                    if part.number == 2 { value = String(decoding: text, as: UTF8.self) }
                }
                if !value.isEmpty { pairs.append((name, value)) }
            case (2, .bytes(let sample)):
                var value = 0.0
                var time: Int64 = 0
                var fields = MessageReader(sample)
                while let part = try fields.next() {
                    switch (part.number, part.value) {
                    case (1, .word(let bits)): value = Double(bitPattern: bits)
                    case (2, .varint(let number)): time = Int64(bitPattern: number)
                    default: break
                    }
                }
                series.timestamps.append(time)
                series.values.append(value)
            case (4, .bytes): histograms += 1
            default: break
            }
        }
        guard pairs.contains(where: { $0.0 == Labels.metricNameLabel }), !pairs.contains(where: { $0.0.isEmpty }),
            Set(pairs.map(\.0)).count == pairs.count
        else { throw WriteRequestError("a series has no name, a label without a name or one label twice") }
        series.labels = Labels(pairs)
        if !series.timestamps.isEmpty { self.series.append(series) }
    }

    /// Appends all samples. Returns what the store said of them.
    package func append(to store: any SampleAppender) throws -> AppendOutcome {
        var outcome = AppendOutcome()
        for attempt in 0..<2 {
            let refs = try store.resolve(series.map(\.labels))
            var batch = SampleBatch()
            for (one, ref) in zip(series, refs) {
                for (time, value) in zip(one.timestamps, one.values) {
                    batch.append(ref: ref, timestamp: time, value: value)
                }
            }
            outcome = try store.append(batch)
            if outcome.unknownRefs.isEmpty || attempt == 1 { break }
        }
        return outcome
    }
}

/// The fields of a protobuf message, in their order (encoding of the Protocol Buffers documentation).
private struct MessageReader {
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
