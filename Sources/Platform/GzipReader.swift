import CZlib

/// Inflates a gzip file of any make, one member or many, as a stream. For one thread at a time; memory is constant.
package final class GzipReader {
    private let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    private let source: (UnsafeMutableRawBufferPointer) throws -> Int
    private let input: UnsafeMutableRawBufferPointer
    private let output: UnsafeMutableRawBufferPointer
    private var atMemberStart = true
    private var sourceEnded = false
    /// Bytes taken from the source that were part of the gzip file.
    package private(set) var bytesIn: Int64 = 0

    /// `source` fills the buffer and returns how many bytes, 0 at the end.
    package init(source: @escaping (UnsafeMutableRawBufferPointer) throws -> Int) throws {
        self.source = source
        stream.initialize(to: z_stream())
        guard kops_inflate_init(stream, 31) == Z_OK else {
            stream.deallocate()
            throw CompressionError("zlib has no memory")
        }
        input = .allocate(byteCount: 128 << 10, alignment: 64)
        output = .allocate(byteCount: 256 << 10, alignment: 64)
    }

    deinit {
        inflateEnd(stream)
        stream.deallocate()
        input.deallocate()
        output.deallocate()
    }

    /// The next inflated bytes, valid until the next call; empty at the end. Throws where the file is damaged, cut off, or
    /// has something else behind it.
    package func next() throws -> UnsafeRawBufferPointer {
        stream.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = UInt32(output.count)
        while true {
            if stream.pointee.avail_in == 0 && !sourceEnded {
                let n = try source(input)
                if n == 0 { sourceEnded = true }
                bytesIn += Int64(n)
                stream.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
                stream.pointee.avail_in = UInt32(n)
            }
            let produced = output.count - Int(stream.pointee.avail_out)
            let drained = stream.pointee.avail_in == 0 && sourceEnded
            if drained && atMemberStart && bytesIn > 0 { return UnsafeRawBufferPointer(rebasing: output[..<produced]) }
            atMemberStart = false
            let result = inflate(stream, Z_NO_FLUSH)
            switch result {
            case Z_STREAM_END:
                // Another member may follow.
                inflateReset(stream)
                atMemberStart = true
            case Z_OK: break
            case Z_BUF_ERROR:
                // No progress was possible: more is needed, and there is no more.
                if drained { throw CompressionError("the compressed data is cut off") }
            default: throw CompressionError("the compressed data is damaged")
            }
            if stream.pointee.avail_out == 0 { return UnsafeRawBufferPointer(output) }
        }
    }
}
