/// Fills the buffer from a source that fills the front of what it is given and says how far, 0 at its end. Less only at the
/// source's end.
package func readFully(_ source: (UnsafeMutableRawBufferPointer) throws -> Int, _ buffer: UnsafeMutableRawBufferPointer)
    throws -> Int
{
    var done = 0
    while done < buffer.count {
        let n = try source(UnsafeMutableRawBufferPointer(rebasing: buffer[done...]))
        if n == 0 { break }
        done += n
    }
    return done
}

/// Up to `count` bytes; fewer only at the source's end.
package func readFully(_ source: (UnsafeMutableRawBufferPointer) throws -> Int, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let n = try bytes.withUnsafeMutableBytes { try readFully(source, $0) }
    if n < count { bytes.removeLast(count - n) }
    return bytes
}
