/// A time zone of the system's database: its offsets from UTC over time. Immutable.
///
/// Source of the format: RFC 8536 (TZif). Only the transitions that the file lists are used; Debian's files list them
/// until 2037.
package struct ZoneInfo: Sendable, Hashable {
    package let name: String
    /// Unix seconds from which each offset holds, ascending.
    private let transitions: [Int64]
    private let offsets: [Int64]
    private let initialOffset: Int64

    package static let utc = ZoneInfo(name: "UTC", transitions: [], offsets: [], initialOffset: 0)

    private init(name: String, transitions: [Int64], offsets: [Int64], initialOffset: Int64) {
        self.name = name
        self.transitions = transitions
        self.offsets = offsets
        self.initialOffset = initialOffset
    }

    /// Nil where the system knows no zone of that name. `Local` is the system's own.
    package init?(_ name: String) {
        if name == "UTC" || name == "Etc/UTC" {
            self = .utc
            return
        }
        let path = name == "Local" ? "/etc/localtime" : "/usr/share/zoneinfo/" + name
        guard !name.isEmpty, !name.hasPrefix("/"), !name.split(separator: "/").contains(".."),
            let bytes = try? FileSystem.read(path, maxBytes: 1 << 20), let zone = ZoneInfo(name: name, tzif: bytes)
        else { return nil }
        self = zone
    }

    private init?(name: String, tzif bytes: [UInt8]) {
        func word(_ at: Int, _ size: Int) -> Int64 {
            var value: Int64 = 0
            for index in 0..<size { value = value << 8 | Int64(bytes[at + index]) }
            return size == 4 ? Int64(Int32(truncatingIfNeeded: value)) : value
        }
        func counts(_ at: Int) -> [Int]? {
            guard bytes.count >= at + 44, bytes[at..<at + 4].elementsEqual("TZif".utf8) else { return nil }
            return (0..<6).map { Int(word(at + 20 + $0 * 4, 4)) }
        }
        // Order of the counts: UT/local, standard/wall, leap seconds, transitions, types, characters.
        guard let first = counts(0), first.allSatisfy({ $0 >= 0 && $0 < 100_000 }) else { return nil }
        var at = 44
        var size = 4
        var header = first
        if bytes[4] >= UInt8(ascii: "2") {
            at += first[3] * 5 + first[4] * 6 + first[5] + first[2] * 8 + first[1] + first[0]
            guard let second = counts(at), second.allSatisfy({ $0 >= 0 && $0 < 100_000 }) else { return nil }
            header = second
            at += 44
            size = 8
        }
        let (transitionCount, typeCount) = (header[3], header[4])
        let types = at + transitionCount * (size + 1)
        guard typeCount > 0, bytes.count >= types + typeCount * 6 else { return nil }
        let typeOffsets = (0..<typeCount).map { word(types + $0 * 6, 4) }
        var times: [Int64] = []
        var offsets: [Int64] = []
        for index in 0..<transitionCount {
            let type = Int(bytes[at + transitionCount * size + index])
            guard type < typeCount else { return nil }
            times.append(word(at + index * size, size))
            offsets.append(typeOffsets[type])
        }
        self.init(name: name, transitions: times, offsets: offsets, initialOffset: typeOffsets[0])
    }

    /// Seconds to add to UTC at that Unix second.
    package func offset(at seconds: Int64) -> Int64 {
        let index = lastTransition(notAfter: seconds)
        return index < 0 ? initialOffset : offsets[index]
    }

    private func lastTransition(notAfter seconds: Int64) -> Int {
        var low = 0
        var high = transitions.count
        while low < high {
            let middle = (low + high) / 2
            if transitions[middle] <= seconds { low = middle + 1 } else { high = middle }
        }
        return low - 1
    }

    /// The first change of the offset after that second: when, and the offsets before and from then on.
    package func nextTransition(after seconds: Int64) -> (at: Int64, before: Int64, after: Int64)? {
        let index = lastTransition(notAfter: seconds) + 1
        guard index < transitions.count else { return nil }
        return (transitions[index], index == 0 ? initialOffset : offsets[index - 1], offsets[index])
    }

    /// The last change of the offset up to that second.
    package func previousTransition(notAfter seconds: Int64) -> (at: Int64, before: Int64, after: Int64)? {
        let index = lastTransition(notAfter: seconds)
        guard index >= 0 else { return nil }
        return (transitions[index], index == 0 ? initialOffset : offsets[index - 1], offsets[index])
    }
}
