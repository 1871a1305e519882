/// Whether the first of two label sets in canonical form comes first: pair by pair, name before value, bytewise; a prefix
/// comes first. What they share at their beginning, mostly all but a value, is passed eight bytes at a time.
package func labelsPrecede(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    let shared = min(a.count, b.count)
    var difference = 0
    while difference + 8 <= shared,
        a.loadUnaligned(fromByteOffset: difference, as: UInt64.self)
            == b.loadUnaligned(fromByteOffset: difference, as: UInt64.self)
    {
        difference += 8
    }
    while difference < shared, a[difference] == b[difference] { difference += 1 }
    // Fields carry their lengths, so that one set is the other's beginning in whole fields only.
    if difference == shared { return a.count < b.count }
    var at = 0
    while true {
        let length = Int(a[at])
        let text = length < 255 ? at + 1 : at + 4
        // Within a length the texts decide, whose lengths differ; within a text the byte does.
        if difference < text {
            var (left, right) = (at, at)
            return compareBytes(Labels.field(a, &left), Labels.field(b, &right)) < 0
        }
        let end = text + (length < 255 ? length : Int(a[at + 1]) | Int(a[at + 2]) << 8 | Int(a[at + 3]) << 16)
        if difference < end { return a[difference] < b[difference] }
        at = end
    }
}

extension Array {
    /// The elements in the order of their labels; equal ones keep theirs. Sorts places in one buffer of all labels, so that no
    /// comparison counts a reference.
    package func sortedByLabels(_ labels: (Element) -> Labels) -> [Element] {
        if count < 2 { return self }
        var bytes: [UInt8] = []
        var places: [(start: Int, end: Int, index: Int)] = []
        places.reserveCapacity(count)
        for index in indices {
            let set = labels(self[index]).bytes
            if index == 0 { bytes.reserveCapacity((set.count + 32) * count) }
            places.append((bytes.count, bytes.count + set.count, index))
            bytes += set
        }
        return bytes.withUnsafeBytes { all in
            func precedes(_ a: (start: Int, end: Int, index: Int), _ b: (start: Int, end: Int, index: Int)) -> Bool {
                labelsPrecede(
                    UnsafeRawBufferPointer(rebasing: all[a.start..<a.end]),
                    UnsafeRawBufferPointer(rebasing: all[b.start..<b.end]))
            }
            // Series of one day come in order mostly.
            if !zip(places.dropFirst(), places).contains(where: precedes) { return self }
            places.sort(by: precedes)
            return places.map { self[$0.index] }
        }
    }
}
