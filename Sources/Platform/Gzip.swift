import CDeflate
import CZlib

package struct CompressionError: Error, CustomStringConvertible {
    package let description: String
    /// Not damaged, but more than was allowed.
    package let isTooLarge: Bool

    package init(_ description: String, isTooLarge: Bool = false) {
        self.description = description
        self.isTooLarge = isTooLarge
    }
}

/// gzip in one call, for bodies that are in memory anyway.
package enum Gzip {
    /// `level` 1…9.
    package static func compress(_ bytes: [UInt8], level: Int32 = 6) throws(CompressionError) -> [UInt8] {
        guard let compressor = libdeflate_alloc_compressor(level) else {
            throw CompressionError("libdeflate has no memory")
        }
        defer { libdeflate_free_compressor(compressor) }
        let bound = libdeflate_gzip_compress_bound(compressor, bytes.count)
        let out = [UInt8](unsafeUninitializedCapacity: bound) { target, count in
            count = bytes.withUnsafeBytes {
                libdeflate_gzip_compress(compressor, $0.baseAddress, $0.count, target.baseAddress, bound)
            }
        }
        guard !out.isEmpty else { throw CompressionError("libdeflate could not compress") }
        return out
    }

    /// Inflates gzip or zlib data; an error where it is damaged, cut off, or larger than `limit` once inflated.
    package static func decompress(_ bytes: [UInt8], limit: Int) throws(CompressionError) -> [UInt8] {
        var stream = z_stream()
        guard kops_inflate_init(&stream, 47) == Z_OK else { throw CompressionError("zlib has no memory") }
        defer { inflateEnd(&stream) }
        var out: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        var input = bytes
        let failure: String? = input.withUnsafeMutableBufferPointer { source in
            stream.next_in = source.baseAddress
            stream.avail_in = UInt32(source.count)
            while true {
                let (result, n) = buffer.withUnsafeMutableBufferPointer { target in
                    stream.next_out = target.baseAddress
                    stream.avail_out = UInt32(target.count)
                    let result = inflate(&stream, Z_NO_FLUSH)
                    return (result, target.count - Int(stream.avail_out))
                }
                if result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR {
                    return "the compressed data is damaged"
                }
                out.append(contentsOf: buffer[0..<n])
                if out.count > limit { return "more than \(limit) bytes once inflated" }
                if result == Z_STREAM_END { return nil }
                if n == 0 && stream.avail_in == 0 { return "the compressed data is cut off" }
            }
        }
        if let failure { throw CompressionError(failure) }
        return out
    }
}
