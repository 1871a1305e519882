/// Questions and answers of the domain name system (RFC 1035, 2782), as far as service discovery needs them.
package enum DNSMessage {
    package enum RecordType: UInt16, Sendable {
        case ns = 2
        case mx = 15
        case srv = 33
    }

    /// A record's target, with its port for SRV. Names end in a dot, as they are written in full.
    package struct Record: Sendable, Hashable {
        package var target: String
        package var port: UInt16
    }

    package struct Answer: Sendable, Equatable {
        /// 0: no error; 3: there is no such name.
        package var code: UInt8
        /// The answer did not fit; ask again over TCP.
        package var isTruncated: Bool
        package var records: [Record]
    }

    /// What cannot be an answer to the question that was asked.
    package struct Damaged: Error, Sendable {}

    /// A question for one name; nil where the name cannot be one.
    static func question(id: UInt16, name: String, type: RecordType) -> [UInt8]? {
        guard let encoded = encode(name) else { return nil }
        // Recursion desired, one question, one additional record: EDNS with room for 1,232 bytes, which no network splits.
        var out = bytes(id) + [0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 1]
        out += encoded + bytes(type.rawValue) + [0, 1]
        out += [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]
        return out
    }

    /// Reads an answer to `question`. Input can be anything: it is as long as it is, and names point only backwards.
    static func answer(_ message: [UInt8], to question: [UInt8], type: RecordType) throws(Damaged) -> Answer {
        var reader = Reader(bytes: message)
        let id = try reader.word()
        let flags = try reader.word()
        guard message.count >= 12, question.count >= 12, id == UInt16(question[0]) << 8 | UInt16(question[1]),
            flags & 0x8000 != 0
        else { throw Damaged() }
        let (questions, answers) = (try reader.word(), try reader.word())
        reader.at = 12
        var out = Answer(code: UInt8(flags & 15), isTruncated: flags & 0x0200 != 0, records: [])
        // Some servers leave the question out of an error.
        if questions == 0, out.code != 0 { return out }
        guard questions == 1 else { throw Damaged() }
        var asked = Reader(bytes: question, at: 12)
        guard try reader.name().lowercased() == asked.name().lowercased(), try reader.word() == type.rawValue,
            try reader.word() == 1
        else { throw Damaged() }
        if out.isTruncated { return out }
        for _ in 0..<answers {
            _ = try reader.name()
            let (kind, group) = (try reader.word(), try reader.word())
            try reader.skip(4)
            let length = Int(try reader.word())
            let end = reader.at + length
            guard end <= message.count else { throw Damaged() }
            // An alias on the way has its own record, which is passed over.
            if kind == type.rawValue, group == 1 {
                var record = Record(target: "", port: 0)
                switch type {
                case .srv:
                    try reader.skip(4)
                    record.port = try reader.word()
                case .mx: try reader.skip(2)
                case .ns: break
                }
                record.target = try reader.name()
                guard reader.at <= end else { throw Damaged() }
                out.records.append(record)
            }
            reader.at = end
        }
        return out
    }

    /// Labels of 1 to 63 bytes, 255 bytes at most with their lengths.
    private static func encode(_ name: String) -> [UInt8]? {
        var out: [UInt8] = []
        let text = name.hasSuffix(".") ? name.dropLast() : name[...]
        for label in text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
            guard (1...63).contains(label.count) else { return nil }
            out.append(UInt8(label.count))
            out += label
        }
        out.append(0)
        return out.count <= 255 ? out : nil
    }

    private static func bytes(_ word: UInt16) -> [UInt8] { [UInt8(word >> 8), UInt8(word & 0xff)] }

    private struct Reader {
        let bytes: [UInt8]
        var at = 0

        mutating func word() throws(Damaged) -> UInt16 {
            guard bytes.count - at >= 2 else { throw Damaged() }
            defer { at += 2 }
            return UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])
        }

        mutating func skip(_ count: Int) throws(Damaged) {
            guard bytes.count - at >= count else { throw Damaged() }
            at += count
        }

        /// A name in full. A pointer leads to what stood before it, so that there is an end.
        mutating func name() throws(Damaged) -> String {
            var out: [UInt8] = []
            var place = at
            var after: Int?
            var bound = at
            while true {
                guard place < bytes.count else { throw Damaged() }
                let length = Int(bytes[place])
                switch length {
                case 0:
                    at = after ?? place + 1
                    return out.isEmpty ? "." : String(decoding: out, as: UTF8.self)
                case 1...63:
                    guard bytes.count - place > length, out.count + length < 255 else { throw Damaged() }
                    out += bytes[(place + 1)...(place + length)]
                    out.append(UInt8(ascii: "."))
                    place += 1 + length
                case 192...255:
                    guard place + 1 < bytes.count else { throw Damaged() }
                    let target = (length & 63) << 8 | Int(bytes[place + 1])
                    guard target < bound else { throw Damaged() }
                    if after == nil { after = place + 2 }
                    bound = target
                    place = target
                default: throw Damaged()
                }
            }
        }
    }
}
