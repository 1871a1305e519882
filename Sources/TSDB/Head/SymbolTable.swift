import Glibc

/// A hash of bytes for tables in memory: wide multiplications with keys drawn at start, so that nobody who sends labels can
/// make them collide. Never stored.
struct ByteHash {
    private static let keys: (UInt64, UInt64) = (UInt64.random(in: 0...(.max)) | 1, UInt64.random(in: 0...(.max)))

    @inline(__always)
    private static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low
    }

    @inline(__always)
    static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
        let (key, other) = keys
        var state = other ^ UInt64(truncatingIfNeeded: bytes.count)
        var at = 0
        while bytes.count - at >= 8 {
            state = mix(state ^ bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self), key)
            at += 8
        }
        var rest: UInt64 = 0
        while at < bytes.count {
            rest = rest << 8 | UInt64(bytes[at])
            at += 1
        }
        return mix(state ^ rest ^ 0x9e37_79b9_7f4a_7c15, key ^ 0xd6e8_feb8_6659_fd93)
    }

    /// Twice as wide, for where equal hashes are taken for equal bytes.
    static func wide(_ bytes: UnsafeRawBufferPointer) -> WideHash {
        let (key, other) = keys
        var state = key ^ UInt64(truncatingIfNeeded: bytes.count)
        var at = 0
        while bytes.count - at >= 8 {
            state = mix(state &+ bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self), other | 1)
            at += 8
        }
        while at < bytes.count {
            state = mix(state &+ UInt64(bytes[at]) &+ 1, other | 1)
            at += 1
        }
        return WideHash(high: hash(bytes), low: state)
    }
}

struct WideHash: Hashable, Sendable {
    var high: UInt64
    var low: UInt64

    func hash(into hasher: inout Hasher) { hasher.combine(high) }
}

/// The texts that occur in the head's labels, each kept once under a number from 0. A value: copies share memory until one
/// of them changes.
struct SymbolTable: Sendable {
    private var texts: [UInt8] = []
    private var ends: [Int] = []
    /// Number plus one, by hash; 0 is free. As many places as a power of two.
    private var table = [UInt32](repeating: 0, count: 256)

    var count: Int { ends.count }
    var bytes: Int { texts.count }

    @inline(__always)
    func withText<R>(_ number: UInt32, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        let start = number == 0 ? 0 : ends[Int(number) - 1]
        let end = ends[Int(number)]
        return try texts.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[start..<end])) }
    }

    func text(_ number: UInt32) -> String { withText(number) { String(decoding: $0, as: UTF8.self) } }

    /// Where a text is in the table, or the free place where it belongs.
    private func place(_ text: UnsafeRawBufferPointer) -> Int {
        let mask = table.count - 1
        var place = Int(truncatingIfNeeded: ByteHash.hash(text)) & mask
        while table[place] != 0 {
            if withText(table[place] - 1, { $0.count == text.count && sameBytes($0, text) }) { return place }
            place = (place + 1) & mask
        }
        return place
    }

    func find(_ text: UnsafeRawBufferPointer) -> UInt32? {
        let found = table[place(text)]
        return found == 0 ? nil : found - 1
    }

    func find(_ text: String) -> UInt32? {
        var text = text
        return text.withUTF8 { find(UnsafeRawBufferPointer($0)) }
    }

    mutating func intern(_ text: UnsafeRawBufferPointer) -> UInt32 {
        let place = place(text)
        if table[place] != 0 { return table[place] - 1 }
        let number = UInt32(ends.count)
        texts.append(contentsOf: text)
        ends.append(texts.count)
        table[place] = number + 1
        if ends.count * 4 > table.count * 3 { widen() }
        return number
    }

    private mutating func widen() {
        let mask = table.count * 2 - 1
        var wider = [UInt32](repeating: 0, count: mask + 1)
        for number in 0..<UInt32(ends.count) {
            var place = withText(number) { Int(truncatingIfNeeded: ByteHash.hash($0)) } & mask
            while wider[place] != 0 { place = (place + 1) & mask }
            wider[place] = number + 1
        }
        table = wider
    }

    /// For each number the text's place in bytewise order.
    func ranks() -> [UInt32] {
        let order = (0..<UInt32(ends.count)).sorted { a, b in
            withText(a) { x in withText(b) { y in compareBytewise(x, y) < 0 } }
        }
        var ranks = [UInt32](repeating: 0, count: order.count)
        for (rank, number) in order.enumerated() { ranks[Int(number)] = UInt32(rank) }
        return ranks
    }
}

/// Of two buffers of the same length.
@inline(__always)
func sameBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    guard let x = a.baseAddress, let y = b.baseAddress else { return true }
    return memcmp(x, y, a.count) == 0
}

/// Below, at or above zero, as memcmp says; a prefix comes first.
@inline(__always)
func compareBytewise(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
    if let x = a.baseAddress, let y = b.baseAddress {
        let order = memcmp(x, y, min(a.count, b.count))
        if order != 0 { return Int(order) }
    }
    return a.count - b.count
}
