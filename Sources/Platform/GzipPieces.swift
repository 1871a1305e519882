import CZlib

/// Compresses a body that comes in pieces into one gzip stream. Used by one thread at a time.
package final class GzipPieces: @unchecked Sendable {
    // Unchecked: whoever shares it makes sure of one caller at a time, as for the source itself.
    private let source: @Sendable () throws -> [UInt8]?
    // zlib keeps the stream's address: it must not move.
    private let stream: UnsafeMutablePointer<z_stream>
    private var ended = false

    /// `source` gives the next piece, nil at the end. `level` 1…9.
    package init(level: Int32, source: @escaping @Sendable () throws -> [UInt8]?) throws(CompressionError) {
        self.source = source
        stream = .allocate(capacity: 1)
        stream.initialize(to: z_stream())
        guard kops_deflate_init(stream, level, 31) == Z_OK else {
            stream.deallocate()
            throw CompressionError("zlib has no memory")
        }
    }

    deinit {
        deflateEnd(stream)
        stream.deallocate()
    }

    /// The next compressed bytes, never empty; nil at the end.
    package func next() throws -> [UInt8]? {
        while !ended {
            var piece = try source()
            ended = piece == nil
            let out = try deflated(&piece)
            if !out.isEmpty { return out }
        }
        return nil
    }

    private func deflated(_ piece: inout [UInt8]?) throws(CompressionError) -> [UInt8] {
        var input = piece ?? []
        let flush = piece == nil ? Z_FINISH : Z_NO_FLUSH
        var out: [UInt8] = []
        var room = [UInt8](repeating: 0, count: 65536)
        var status = Z_OK
        input.withUnsafeMutableBufferPointer { source in
            stream.pointee.next_in = source.baseAddress
            stream.pointee.avail_in = UInt32(source.count)
            repeat {
                let made = room.withUnsafeMutableBufferPointer { target in
                    stream.pointee.next_out = target.baseAddress
                    stream.pointee.avail_out = UInt32(target.count)
                    status = deflate(stream, flush)
                    return target.count - Int(stream.pointee.avail_out)
                }
                out.append(contentsOf: room[..<made])
            } while status == Z_OK && stream.pointee.avail_out == 0
        }
        guard status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR else {
            throw CompressionError("zlib could not compress (\(status))")
        }
        return out
    }
}
