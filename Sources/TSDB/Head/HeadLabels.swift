import MetricModel

/// The label sets of the head's series by slot, as short lists of symbols: a tenth of what they take as text. A value:
/// copies share memory until one of them changes, so that a flush can read one while series come.
struct HeadLabels: Sendable {
    private(set) var symbols = SymbolTable()
    /// Lists one after the other: the number of pairs, then name and value of each, as varints.
    private var lists: [UInt8] = []
    /// Where a slot's list begins; `UInt32.max` where it has none.
    private var starts: [UInt32] = []
    /// Bytes of lists whose slots were given up.
    private var garbage = 0
    private var scratch: [UInt8] = []

    /// Room for this many bytes of lists; a list takes some thirty.
    static let maxListBytes = Int(UInt32.max) - 1_000_000

    var isFull: Bool { lists.count > Self.maxListBytes }

    mutating func set(_ slot: Int, _ labels: Labels) {
        while starts.count <= slot { starts.append(.max) }
        starts[slot] = UInt32(truncatingIfNeeded: lists.count)
        scratch.removeAll(keepingCapacity: true)
        var pairs: UInt64 = 0
        labels.forEachPair { name, value in
            pairs += 1
            scratch.appendVarint(UInt64(symbols.intern(name)))
            scratch.appendVarint(UInt64(symbols.intern(value)))
        }
        lists.appendVarint(pairs)
        lists += scratch
    }

    @inline(__always)
    func forEachPair(_ slot: Int, _ body: (UInt32, UInt32) -> Void) {
        guard slot < starts.count, starts[slot] != .max else { return }
        let start = Int(starts[slot])
        lists.withUnsafeBytes { all in
            var reader = ByteReader(UnsafeRawBufferPointer(rebasing: all[start...]))
            for _ in 0..<reader.varint() {
                let name = UInt32(truncatingIfNeeded: reader.varint())
                body(name, UInt32(truncatingIfNeeded: reader.varint()))
            }
        }
    }

    /// Appends the label set's canonical bytes, as `Labels` holds them.
    func appendBytes(_ slot: Int, to out: inout [UInt8]) {
        forEachPair(slot) { name, value in
            symbols.withText(name) { appendField($0, &out) }
            symbols.withText(value) { appendField($0, &out) }
        }
    }

    private func appendField(_ text: UnsafeRawBufferPointer, _ out: inout [UInt8]) {
        if text.count < 255 {
            out.append(UInt8(text.count))
        } else {
            out.append(255)
            out.append(UInt8(truncatingIfNeeded: text.count))
            out.append(UInt8(truncatingIfNeeded: text.count >> 8))
            out.append(UInt8(truncatingIfNeeded: text.count >> 16))
        }
        out.append(contentsOf: text)
    }

    func labels(_ slot: Int) -> Labels {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(192)
        appendBytes(slot, to: &bytes)
        return Labels(bytes: bytes)
    }

    /// Whether the slot's series is this one.
    func equals(_ slot: Int, _ labels: Labels) -> Bool {
        guard slot < starts.count, starts[slot] != .max else { return false }
        return labels.bytes.withUnsafeBytes { bytes in
            var at = 0
            var same = true
            func take(_ symbol: UInt32) {
                symbols.withText(symbol) { text in
                    let head = text.count < 255 ? 1 : 4
                    guard same, bytes.count - at >= head + text.count, bytes[at] == UInt8(min(text.count, 255)) else {
                        same = false
                        return
                    }
                    if head == 4 {
                        let length = Int(bytes[at + 1]) | Int(bytes[at + 2]) << 8 | Int(bytes[at + 3]) << 16
                        guard length == text.count else {
                            same = false
                            return
                        }
                    }
                    same = sameBytes(text, UnsafeRawBufferPointer(rebasing: bytes[at + head..<at + head + text.count]))
                    at += head + text.count
                }
            }
            forEachPair(slot) { name, value in
                if same { take(name) }
                if same { take(value) }
            }
            return same && at == bytes.count
        }
    }

    mutating func remove(_ slot: Int) {
        guard slot < starts.count, starts[slot] != .max else { return }
        // The list's own length is not known without reading it; its pairs are a fair measure.
        var pairs = 0
        forEachPair(slot) { _, _ in pairs += 1 }
        garbage += pairs * 4
        starts[slot] = .max
    }

    /// Whether most of what is kept belongs to series that are gone.
    var isMostlyGarbage: Bool { garbage > 1 << 16 && garbage * 2 > lists.count }

    /// The same label sets without what nobody uses any more; numbers of symbols change.
    func compacted() -> HeadLabels {
        var fresh = HeadLabels()
        fresh.starts = [UInt32](repeating: .max, count: starts.count)
        for slot in starts.indices where starts[slot] != .max { fresh.set(slot, labels(slot)) }
        return fresh
    }

    /// Bytes in memory.
    var bytes: Int { lists.count + starts.count * 4 + symbols.bytes + symbols.count * 16 }

    /// The slots in the order of their labels.
    func sorted(_ slots: [UInt32]) -> [UInt32] {
        if slots.count < 2 { return slots }
        let ranks = symbols.ranks()
        return lists.withUnsafeBytes { all in
            slots.sorted { a, b in
                var left = ByteReader(UnsafeRawBufferPointer(rebasing: all[Int(starts[Int(a)])...]))
                var right = ByteReader(UnsafeRawBufferPointer(rebasing: all[Int(starts[Int(b)])...]))
                let (pairs, others) = (left.varint(), right.varint())
                for _ in 0..<(min(pairs, others) * 2) {
                    let x = ranks[Int(left.varint())]
                    let y = ranks[Int(right.varint())]
                    if x != y { return x < y }
                }
                return pairs < others
            }
        }
    }
}

/// From a label set to its slot. Open addressing; each place holds the slot plus one and half the hash.
struct SlotTable: Sendable {
    private var places = [UInt64](repeating: 0, count: 1024)
    private(set) var count = 0

    @inline(__always)
    private static func entry(_ hash: UInt64, _ slot: UInt32) -> UInt64 { hash & ~0xffff_ffff | UInt64(slot) + 1 }

    @inline(__always)
    private func home(_ entry: UInt64) -> Int { Int(entry >> 32) & (places.count - 1) }

    func find(_ hash: UInt64, _ matches: (UInt32) -> Bool) -> UInt32? {
        var place = home(hash)
        while places[place] != 0 {
            if places[place] >> 32 == hash >> 32 {
                let slot = UInt32(truncatingIfNeeded: places[place] & 0xffff_ffff) - 1
                if matches(slot) { return slot }
            }
            place = (place + 1) & (places.count - 1)
        }
        return nil
    }

    mutating func insert(_ hash: UInt64, _ slot: UInt32) {
        if (count + 1) * 4 > places.count * 3 {
            let old = places
            places = [UInt64](repeating: 0, count: old.count * 2)
            for entry in old where entry != 0 { put(entry) }
        }
        put(Self.entry(hash, slot))
        count += 1
    }

    private mutating func put(_ entry: UInt64) {
        var place = home(entry)
        while places[place] != 0 { place = (place + 1) & (places.count - 1) }
        places[place] = entry
    }

    mutating func remove(_ hash: UInt64, _ slot: UInt32) {
        let wanted = Self.entry(hash, slot)
        let mask = places.count - 1
        var place = home(wanted)
        while places[place] != wanted {
            if places[place] == 0 { return }
            place = (place + 1) & mask
        }
        count -= 1
        // What follows moves up as far as its own place allows, so that no search ends too early.
        var hole = place
        var next = place
        while true {
            next = (next + 1) & mask
            if places[next] == 0 { break }
            let distance = (next - home(places[next])) & mask
            if distance >= (next - hole) & mask {
                places[hole] = places[next]
                hole = next
            }
        }
        places[hole] = 0
    }
}
