import CZlib

/// One gzip member that knows its own lengths: its header holds an extra field (RFC 1952, section 2.3.1.1) with the
/// identifier `KS` and two little-endian 32-bit numbers, the length of the whole member and that of what it inflates to.
package enum GzipMember {
    /// Fixed header: 10 bytes, 2 for the extra field's length, 4 + 8 for the field.
    package static let headerBytes = 24
    package static let trailerBytes = 8
    private static let head: [UInt8] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0, 0x4b, 0x53, 8, 0]

    /// Both lengths, where the bytes begin with a member of ours; nil for anything else.
    package static func lengths(_ bytes: UnsafeRawBufferPointer) -> (member: Int, inflated: Int)? {
        guard bytes.count >= headerBytes, bytes[..<16].elementsEqual(head) else { return nil }
        let member = Int(bytes.loadUnaligned(fromByteOffset: 16, as: UInt32.self).littleEndian)
        let inflated = Int(bytes.loadUnaligned(fromByteOffset: 20, as: UInt32.self).littleEndian)
        guard member > headerBytes + trailerBytes else { return nil }
        return (member, inflated)
    }

    /// Turns blocks into members, one after the other; for one thread at a time.
    package final class Compressor {
        private var stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        private let output: UnsafeMutableRawBufferPointer

        /// Nil where zlib has no memory. `blockBytes` is the largest block to come.
        package init?(level: Int32, blockBytes: Int) {
            stream.initialize(to: z_stream())
            guard kops_deflate_init(stream, level, -15) == Z_OK else {
                stream.deallocate()
                return nil
            }
            let bound = Int(deflateBound(stream, UInt(blockBytes)))
            output = .allocate(byteCount: bound + headerBytes + trailerBytes, alignment: 64)
        }

        deinit {
            deflateEnd(stream)
            stream.deallocate()
            output.deallocate()
        }

        /// The member, valid until the next call; nil where zlib fails.
        package func compress(_ block: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
            deflateReset(stream)
            stream.pointee.next_in = UnsafeMutablePointer(
                mutating: block.baseAddress?.assumingMemoryBound(to: UInt8.self))
            stream.pointee.avail_in = UInt32(block.count)
            stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self).advanced(by: headerBytes)
            stream.pointee.avail_out = UInt32(output.count - headerBytes - trailerBytes)
            guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return nil }
            let deflated = Int(stream.pointee.total_out)
            let count = headerBytes + deflated + trailerBytes
            let sum = crc32(0, block.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt32(block.count))
            output.copyBytes(from: GzipMember.head)
            output.storeBytes(of: UInt32(count).littleEndian, toByteOffset: 16, as: UInt32.self)
            output.storeBytes(of: UInt32(block.count).littleEndian, toByteOffset: 20, as: UInt32.self)
            output.storeBytes(
                of: UInt32(truncatingIfNeeded: sum).littleEndian, toByteOffset: headerBytes + deflated, as: UInt32.self)
            output.storeBytes(
                of: UInt32(block.count).littleEndian, toByteOffset: headerBytes + deflated + 4, as: UInt32.self)
            return UnsafeRawBufferPointer(rebasing: output[..<count])
        }
    }
}
