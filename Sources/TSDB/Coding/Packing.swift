import CZlib

/// zlib's checksum of some bytes.
func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    let start = bytes.bindMemory(to: UInt8.self).baseAddress
    return UInt32(truncatingIfNeeded: crc32(0, start, uInt(bytes.count)))
}

/// Bytes that zlib made smaller where that pays (an eighth at least); else as they are. `plainLength` 0 says as they are.
func packed(_ bytes: [UInt8], level: Int32 = 6) -> (bytes: [UInt8], plainLength: Int) {
    guard bytes.count > 200, bytes.count < 1 << 30 else { return (bytes, 0) }
    var length = compressBound(uLong(bytes.count))
    var out = [UInt8](repeating: 0, count: Int(length))
    let code = compress2(&out, &length, bytes, uLong(bytes.count), level)
    guard code == Z_OK, Int(length) < bytes.count * 7 / 8 else { return (bytes, 0) }
    out.removeLast(out.count - Int(length))
    return (out, bytes.count)
}

/// Undoes `packed`; nil where the bytes are damaged.
func unpacked(_ bytes: UnsafeRawBufferPointer, plainLength: Int) -> [UInt8]? {
    if plainLength == 0 { return Array(bytes) }
    guard plainLength > 0, plainLength < 1 << 30 else { return nil }
    var out = [UInt8](repeating: 0, count: plainLength)
    var length = uLong(plainLength)
    let start = bytes.bindMemory(to: UInt8.self).baseAddress
    guard uncompress(&out, &length, start, uLong(bytes.count)) == Z_OK, Int(length) == plainLength else { return nil }
    return out
}
