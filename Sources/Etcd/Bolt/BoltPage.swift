/// Layout of bbolt's pages (go.etcd.io/bbolt: page.go, bucket.go, db.go). All numbers little-endian.
package enum BoltLayout {
    static let pageHeader = 16
    static let leafElement = 16
    static let branchElement = 16
    static let branchFlag: UInt16 = 1
    static let leafFlag: UInt16 = 2
    static let metaFlag: UInt16 = 4
    static let freelistFlag: UInt16 = 0x10
    static let bucketElement: UInt32 = 1
    static let magic: UInt32 = 0xED0C_DAED
    static let version: UInt32 = 2
    static let noFreelist = UInt64.max
    static let metaBytes = 64

    static func isPageSize(_ n: UInt32) -> Bool { n >= 1024 && n <= 65536 && n & (n - 1) == 0 }

    /// FNV-1a of 64 bits, as the meta pages are summed with.
    static func fnv(_ bytes: some Sequence<UInt8>) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return hash
    }
}

extension UnsafeRawBufferPointer {
    /// Unchecked against the buffer's end in release builds: the caller has checked.
    @inline(__always) func u16(_ at: Int) -> UInt16 { loadUnaligned(fromByteOffset: at, as: UInt16.self).littleEndian }
    @inline(__always) func u32(_ at: Int) -> UInt32 { loadUnaligned(fromByteOffset: at, as: UInt32.self).littleEndian }
    @inline(__always) func u64(_ at: Int) -> UInt64 { loadUnaligned(fromByteOffset: at, as: UInt64.self).littleEndian }
}

/// One of the two meta pages.
package struct BoltMeta: Sendable, Equatable {
    package var pageSize: UInt32
    package var flags: UInt32
    package var root: UInt64
    package var sequence: UInt64
    package var freelist: UInt64
    /// One past the last page: the file is this many pages long.
    package var highWater: UInt64
    package var transaction: UInt64

    /// Nil unless the page (from its header on, at least 80 bytes) is a whole meta page.
    package init?(page: UnsafeRawBufferPointer) {
        guard page.count >= BoltLayout.pageHeader + BoltLayout.metaBytes, page.u16(8) == BoltLayout.metaFlag else {
            return nil
        }
        let body = UnsafeRawBufferPointer(rebasing: page[16..<80])
        guard body.u32(0) == BoltLayout.magic, body.u32(4) == BoltLayout.version,
            body.u64(56) == BoltLayout.fnv(body[..<56]), BoltLayout.isPageSize(body.u32(8))
        else { return nil }
        pageSize = body.u32(8)
        flags = body.u32(12)
        root = body.u64(16)
        sequence = body.u64(24)
        freelist = body.u64(32)
        highWater = body.u64(40)
        transaction = body.u64(48)
        guard highWater >= 2, highWater < 1 << 32, root >= 2, root < highWater else { return nil }
    }

    /// The whole page, for page `number` (0 or 1).
    package func page(number: UInt64) -> [UInt8] {
        var body = LittleEndianWriter()
        body.u32(BoltLayout.magic)
        body.u32(BoltLayout.version)
        body.u32(pageSize)
        body.u32(flags)
        body.u64(root)
        body.u64(sequence)
        body.u64(freelist)
        body.u64(highWater)
        body.u64(transaction)
        body.u64(BoltLayout.fnv(body.bytes))
        var page = LittleEndianWriter()
        page.u64(number)
        page.u16(BoltLayout.metaFlag)
        page.u16(0)
        page.u32(0)
        page.bytes += body.bytes
        page.bytes += [UInt8](repeating: 0, count: Int(pageSize) - page.bytes.count)
        return page.bytes
    }
}

struct LittleEndianWriter {
    var bytes: [UInt8] = []
    mutating func u16(_ n: UInt16) { for i in 0..<2 { bytes.append(UInt8(truncatingIfNeeded: n >> (8 * UInt16(i)))) } }
    mutating func u32(_ n: UInt32) { for i in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: n >> (8 * UInt32(i)))) } }
    mutating func u64(_ n: UInt64) { for i in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: n >> (8 * UInt64(i)))) } }
}

/// A run of pages (one page and its overflow) read as a leaf or branch, every offset checked once when it is made. Refers
/// to memory it does not own.
struct BoltNode {
    let bytes: UnsafeRawBufferPointer
    let isLeaf: Bool
    let count: Int

    /// Nil with a reason in `problem` where the bytes are no well-formed leaf or branch.
    init?(_ bytes: UnsafeRawBufferPointer, problem: inout String) {
        guard bytes.count >= BoltLayout.pageHeader else {
            problem = "a page of \(bytes.count) bytes"
            return nil
        }
        let flags = bytes.u16(8)
        guard flags == BoltLayout.leafFlag || flags == BoltLayout.branchFlag else {
            problem = "neither leaf nor branch (flags \(flags))"
            return nil
        }
        self.bytes = bytes
        isLeaf = flags == BoltLayout.leafFlag
        count = Int(bytes.u16(10))
        guard BoltLayout.pageHeader + 16 * count <= bytes.count else {
            problem = "\(count) elements do not fit"
            return nil
        }
        for i in 0..<count {
            let at = BoltLayout.pageHeader + 16 * i
            let start = at + Int(isLeaf ? bytes.u32(at + 4) : bytes.u32(at))
            let length =
                isLeaf ? Int(bytes.u32(at + 8)) + Int(bytes.u32(at + 12)) : Int(bytes.u32(at + 4))
            guard start >= BoltLayout.pageHeader + 16 * count, start <= bytes.count, length <= bytes.count - start
            else {
                problem = "element \(i) lies outside its page"
                return nil
            }
        }
        for i in 1..<max(1, count) where !BoltNode.isLess(key(i - 1), key(i)) {
            problem = "keys \(i - 1) and \(i) are out of order"
            return nil
        }
    }

    func key(_ i: Int) -> UnsafeRawBufferPointer {
        let at = BoltLayout.pageHeader + 16 * i
        let start = at + Int(isLeaf ? bytes.u32(at + 4) : bytes.u32(at))
        let length = Int(isLeaf ? bytes.u32(at + 8) : bytes.u32(at + 4))
        return UnsafeRawBufferPointer(rebasing: bytes[start..<start + length])
    }

    /// Leaves only.
    func value(_ i: Int) -> UnsafeRawBufferPointer {
        let at = BoltLayout.pageHeader + 16 * i
        let start = at + Int(bytes.u32(at + 4)) + Int(bytes.u32(at + 8))
        return UnsafeRawBufferPointer(rebasing: bytes[start..<start + Int(bytes.u32(at + 12))])
    }

    /// Leaves only: whether the value is a bucket.
    func isBucket(_ i: Int) -> Bool { bytes.u32(BoltLayout.pageHeader + 16 * i) & BoltLayout.bucketElement != 0 }

    /// Branches only: the child's page.
    func child(_ i: Int) -> UInt64 { bytes.u64(BoltLayout.pageHeader + 16 * i + 8) }

    static func isLess(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
        let n = min(a.count, b.count)
        if n > 0, let x = a.baseAddress, let y = b.baseAddress {
            let order = memoryCompare(x, y, n)
            if order != 0 { return order < 0 }
        }
        return a.count < b.count
    }

    /// The first eight bytes of a key as a number, shorter keys padded with zeros: ordered as the keys are.
    static func prefix(_ key: UnsafeRawBufferPointer) -> UInt64 {
        if key.count >= 8 { return key.loadUnaligned(as: UInt64.self).bigEndian }
        var value: UInt64 = 0
        for i in 0..<8 { value = value << 8 | (i < key.count ? UInt64(key[i]) : 0) }
        return value
    }
}
