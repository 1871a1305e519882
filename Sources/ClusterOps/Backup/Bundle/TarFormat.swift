import Platform

/// One entry of a tar archive, as much as a bundle needs: files, directories and symbolic links.
package struct TarEntry: Sendable, Equatable {
    package enum Kind: UInt8, Sendable {
        case file = 0x30
        case link = 0x32
        case directory = 0x35
    }

    /// Without a leading slash: below the root of the file system.
    package var path: String
    package var kind: Kind
    /// Permission bits, set-user-ID and the like included.
    package var mode: UInt32
    package var owner: UInt32
    package var group: UInt32
    package var size: Int64
    /// Seconds since 1970 UTC.
    package var modified: Int64
    /// Of a link.
    package var target: String

    package init(
        path: String, kind: Kind, mode: UInt32, owner: UInt32 = 0, group: UInt32 = 0, size: Int64 = 0,
        modified: Int64 = 0, target: String = ""
    ) {
        self.path = path
        self.kind = kind
        self.mode = mode
        self.owner = owner
        self.group = group
        self.size = size
        self.modified = modified
        self.target = target
    }
}

/// The POSIX tar format (IEEE Std 1003.1, pax interchange format): 512-byte headers, a pax header before an entry whose path
/// or link does not fit. `tar xpzf FILE -C /` puts such an archive's files back.
enum TarFormat {
    static let block = 512
    static let maxPaxBytes = 64 << 10
    static let pax: UInt8 = 0x78

    /// The header blocks of an entry; its contents, filled up to whole blocks with zeros, come behind.
    static func header(_ entry: TarEntry) -> [UInt8] {
        let path = entry.kind == .directory ? entry.path + "/" : entry.path
        var records: [UInt8] = []
        if path.utf8.count > 100 { records += record("path", path) }
        if entry.target.utf8.count > 100 { records += record("linkpath", entry.target) }
        if entry.size >= 1 << 33 { records += record("size", String(entry.size)) }
        // Octal digits hold so much.
        if entry.owner >= 1 << 21 { records += record("uid", String(entry.owner)) }
        if entry.group >= 1 << 21 { records += record("gid", String(entry.group)) }
        var out: [UInt8] = []
        if !records.isEmpty {
            out += block("pax-header", pax, 0o644, 0, 0, Int64(records.count), 0, "")
            out += records + padding(Int64(records.count))
        }
        out += block(
            path, entry.kind.rawValue, entry.mode & 0o7777, min(entry.owner, (1 << 21) - 1),
            min(entry.group, (1 << 21) - 1), min(entry.size, (1 << 33) - 1), entry.modified, entry.target)
        return out
    }

    static func padding(_ size: Int64) -> [UInt8] {
        [UInt8](repeating: 0, count: Int((Int64(block) - size % Int64(block)) % Int64(block)))
    }

    static let end = [UInt8](repeating: 0, count: 1024)

    private static func record(_ key: String, _ value: String) -> [UInt8] {
        let rest = " \(key)=\(value)\n"
        // The length counts its own digits.
        var length = rest.utf8.count + 1
        while "\(length)".utf8.count + rest.utf8.count != length { length += 1 }
        return Array("\(length)\(rest)".utf8)
    }

    private static func block(
        _ path: String, _ type: UInt8, _ mode: UInt32, _ owner: UInt32, _ group: UInt32, _ size: Int64,
        _ modified: Int64, _ target: String
    ) -> [UInt8] {
        var out = [UInt8](repeating: 0, count: block)
        func put(_ at: Int, _ bytes: some Collection<UInt8>, _ limit: Int) {
            for (i, byte) in bytes.prefix(limit).enumerated() { out[at + i] = byte }
        }
        func octal(_ at: Int, _ digits: Int, _ value: Int64) {
            let text = String(max(0, value), radix: 8)
            put(at, (String(repeating: "0", count: max(0, digits - text.utf8.count)) + text).utf8, digits)
        }
        put(0, path.utf8, 100)
        octal(100, 7, Int64(mode))
        octal(108, 7, Int64(owner))
        octal(116, 7, Int64(group))
        octal(124, 11, size)
        octal(136, 11, modified)
        put(148, "        ".utf8, 8)
        out[156] = type
        put(157, target.utf8, 100)
        put(257, "ustar\u{0}00".utf8, 8)
        let sum = out.reduce(0) { $0 + Int64($1) }
        octal(148, 6, sum)
        out[154] = 0
        out[155] = 0x20
        return out
    }

    /// The fields of a header block; nil where its checksum is wrong.
    static func parse(_ bytes: [UInt8]) -> (entry: TarEntry, type: UInt8)? {
        guard bytes.count == block, let sum = octal(bytes[148..<156]) else { return nil }
        var computed: Int64 = 0
        for (i, byte) in bytes.enumerated() { computed += (148..<156).contains(i) ? 32 : Int64(byte) }
        guard computed == sum, let mode = octal(bytes[100..<108]), let owner = octal(bytes[108..<116]),
            let group = octal(bytes[116..<124]), let size = octal(bytes[124..<136]),
            let modified = octal(bytes[136..<148])
        else { return nil }
        let type = bytes[156] == 0 ? TarEntry.Kind.file.rawValue : bytes[156]
        var path = text(bytes[0..<100])
        if bytes[257..<262].elementsEqual("ustar".utf8), bytes[345] != 0 { path = text(bytes[345..<500]) + "/" + path }
        let entry = TarEntry(
            path: path, kind: TarEntry.Kind(rawValue: type) ?? .file, mode: UInt32(truncatingIfNeeded: mode),
            owner: UInt32(truncatingIfNeeded: owner), group: UInt32(truncatingIfNeeded: group), size: size,
            modified: modified, target: text(bytes[157..<257]))
        return (entry, type)
    }

    /// The records of a pax header; nil where they are malformed.
    static func parsePax(_ bytes: [UInt8]) -> [String: String]? {
        var out: [String: String] = [:]
        var at = 0
        while at < bytes.count {
            guard let space = bytes[at...].firstIndex(of: 0x20), let length = Int(text(bytes[at..<space])),
                length > space - at + 1, length <= bytes.count - at, bytes[at + length - 1] == 10
            else { return nil }
            let record = bytes[(space + 1)..<(at + length - 1)]
            guard let equals = record.firstIndex(of: 0x3d) else { return nil }
            out[text(record[..<equals])] = String(decoding: record[(equals + 1)...], as: UTF8.self)
            at += length
        }
        return out
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }

    private static func octal(_ bytes: ArraySlice<UInt8>) -> Int64? {
        var value: Int64 = 0
        for byte in bytes {
            if byte == 0 || byte == 0x20 { continue }
            guard (48...55).contains(byte) else { return nil }
            value = value << 3 | Int64(byte - 48)
        }
        return value
    }
}
