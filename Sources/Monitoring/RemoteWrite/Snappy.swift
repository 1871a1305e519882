import CSnappy

/// Snappy blocks, as remote write and remote read wrap their messages.
package enum Snappy {
    /// Input can be anything: what a block claims of its size is checked before memory is taken.
    static func unpacked(_ body: [UInt8], maxBytes: Int) throws(WriteRequestError) -> [UInt8] {
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

    package static func packed(_ plain: [UInt8]) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: snappy_max_compressed_length(plain.count)) { out, count in
            var length = out.count
            let status = plain.withUnsafeBytes { bytes in
                snappy_compress(
                    bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count,
                    out.baseAddress.map { UnsafeMutableRawPointer($0).assumingMemoryBound(to: CChar.self) }, &length)
            }
            count = status == SNAPPY_OK ? length : 0
        }
    }
}
