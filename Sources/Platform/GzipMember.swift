import CDeflate

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

    /// What a reader takes from a file it does not trust: larger ones are read as any other gzip file.
    package static let maxMemberBytes = 32 << 20

    /// Turns blocks into members, one after the other; for one thread at a time.
    package final class Compressor {
        private let handle: OpaquePointer
        private let output: UnsafeMutableRawBufferPointer

        /// Nil where there is no memory. `level` 1…12, `blockBytes` is the largest block to come.
        package init?(level: Int32, blockBytes: Int) {
            guard let handle = libdeflate_alloc_compressor(level) else { return nil }
            self.handle = handle
            let bound = libdeflate_deflate_compress_bound(handle, blockBytes)
            output = .allocate(byteCount: bound + headerBytes + trailerBytes, alignment: 64)
        }

        deinit {
            libdeflate_free_compressor(handle)
            output.deallocate()
        }

        /// The member, valid until the next call; nil where it fails.
        package func compress(_ block: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
            let room = UnsafeMutableRawBufferPointer(rebasing: output[headerBytes..<(output.count - trailerBytes)])
            var nothing: UInt8 = 0
            let deflated = withUnsafePointer(to: &nothing) { empty in
                libdeflate_deflate_compress(
                    handle, block.baseAddress ?? UnsafeRawPointer(empty), block.count, room.baseAddress, room.count)
            }
            guard deflated > 0 else { return nil }
            let count = headerBytes + deflated + trailerBytes
            let sum = libdeflate_crc32(0, block.baseAddress, block.count)
            output.copyBytes(from: GzipMember.head)
            output.storeBytes(of: UInt32(count).littleEndian, toByteOffset: 16, as: UInt32.self)
            output.storeBytes(of: UInt32(block.count).littleEndian, toByteOffset: 20, as: UInt32.self)
            output.storeBytes(of: sum.littleEndian, toByteOffset: headerBytes + deflated, as: UInt32.self)
            output.storeBytes(
                of: UInt32(block.count).littleEndian, toByteOffset: headerBytes + deflated + 4, as: UInt32.self)
            return UnsafeRawBufferPointer(rebasing: output[..<count])
        }
    }

    /// Turns members back into blocks; for one thread at a time.
    package final class Decompressor {
        private let handle: OpaquePointer

        package init?() {
            guard let handle = libdeflate_alloc_decompressor() else { return nil }
            self.handle = handle
        }

        deinit { libdeflate_free_decompressor(handle) }

        /// True where the member, all of it and nothing behind, inflated to just as many bytes as `output` has, and its
        /// checksum is right.
        package func decompress(_ member: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
            var used = 0
            var made = 0
            var nothing: UInt8 = 0
            let result = withUnsafeMutablePointer(to: &nothing) { empty in
                libdeflate_gzip_decompress_ex(
                    handle, member.baseAddress, member.count, output.baseAddress ?? UnsafeMutableRawPointer(empty),
                    output.count, &used, &made)
            }
            return result == LIBDEFLATE_SUCCESS && used == member.count && made == output.count
        }
    }
}
