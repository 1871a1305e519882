import CDeflate
import CZlib

/// zlib's checksum of some bytes, by libdeflate, which is several times faster.
func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 { libdeflate_crc32(0, bytes.baseAddress, bytes.count) }

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
    guard let decompressor = libdeflate_alloc_decompressor() else { return nil }
    defer { libdeflate_free_decompressor(decompressor) }
    let out = [UInt8](unsafeUninitializedCapacity: plainLength) { buffer, count in
        // It takes nothing but exactly this length.
        let result = libdeflate_zlib_decompress(
            decompressor, bytes.baseAddress, bytes.count, buffer.baseAddress, plainLength, nil)
        count = result == LIBDEFLATE_SUCCESS ? plainLength : 0
    }
    return out.count == plainLength ? out : nil
}
