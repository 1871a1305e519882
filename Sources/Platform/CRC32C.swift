import CPlatform

/// CRC-32C, with the processor's instruction where it has one.
package enum CRC32C {
    /// The sum of what `sum` stands for followed by the bytes; start with 0.
    @inline(__always)
    package static func update(_ sum: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
        kops_crc32c(sum, bytes.baseAddress, bytes.count)
    }

    package static func update(_ sum: UInt32, _ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { update(sum, $0) }
    }

    /// The sum of A followed by B, from both sums and the length of B in bytes.
    package static func combine(_ a: UInt32, _ b: UInt32, lengthOfB: UInt64) -> UInt32 {
        kops_crc32c_combine(a, b, lengthOfB)
    }
}
