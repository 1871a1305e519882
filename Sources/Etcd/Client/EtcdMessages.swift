/// The header of most answers.
package struct EtcdHeader: Sendable, Equatable {
    package var clusterID: UInt64 = 0
    package var memberID: UInt64 = 0
    package var revision: Int64 = 0
    package var raftTerm: UInt64 = 0

    package init() {}

    init(_ reader: ProtobufReader) throws {
        var reader = reader
        while let (field, value) = try reader.next() {
            guard case .number(let n) = value else { continue }
            switch field {
            case 1: clusterID = n
            case 2: memberID = n
            case 3: revision = Int64(bitPattern: n)
            case 4: raftTerm = n
            default: break
            }
        }
    }
}

/// What one member says of itself; it does so without quorum too.
package struct EtcdStatus: Sendable, Equatable {
    package var header = EtcdHeader()
    package var version = ""
    /// Bytes of the database file, and of those in use.
    package var databaseSize: Int64 = 0
    package var databaseSizeInUse: Int64 = 0
    /// 0 where the member knows no leader.
    package var leader: UInt64 = 0
    package var raftIndex: UInt64 = 0
    package var raftTerm: UInt64 = 0
    package var appliedIndex: UInt64 = 0
    package var errors: [String] = []
    package var isLearner = false
    /// From etcd 3.6 on.
    package var storageVersion = ""
    package var quota: Int64 = 0

    package var isLeader: Bool { leader != 0 && leader == header.memberID }

    package init() {}

    init(_ message: [UInt8]) throws {
        var reader = ProtobufReader(message)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let range)): header = try EtcdHeader(ProtobufReader(message, range))
            case (2, .bytes(let range)): version = reader.text(range)
            case (3, .number(let n)): databaseSize = Int64(bitPattern: n)
            case (4, .number(let n)): leader = n
            case (5, .number(let n)): raftIndex = n
            case (6, .number(let n)): raftTerm = n
            case (7, .number(let n)): appliedIndex = n
            case (8, .bytes(let range)): errors.append(reader.text(range))
            case (9, .number(let n)): databaseSizeInUse = Int64(bitPattern: n)
            case (10, .number(let n)): isLearner = n != 0
            case (11, .bytes(let range)): storageVersion = reader.text(range)
            case (12, .number(let n)): quota = Int64(bitPattern: n)
            default: break
            }
        }
    }
}

package struct EtcdMember: Sendable, Equatable {
    package var id: UInt64 = 0
    package var name = ""
    package var peerURLs: [String] = []
    package var clientURLs: [String] = []
    package var isLearner = false

    package init() {}

    init(_ reader: ProtobufReader) throws {
        var reader = reader
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .number(let n)): id = n
            case (2, .bytes(let range)): name = reader.text(range)
            case (3, .bytes(let range)): peerURLs.append(reader.text(range))
            case (4, .bytes(let range)): clientURLs.append(reader.text(range))
            case (5, .number(let n)): isLearner = n != 0
            default: break
            }
        }
    }
}

package struct EtcdAlarm: Sendable, Hashable {
    package enum Kind: UInt64, Sendable {
        case noSpace = 1
        case corrupt = 2
    }

    package var member: UInt64
    package var kind: Kind
}

/// A hash over the keys up to a revision; equal on members only for equal revision and compact revision.
package struct EtcdHashKV: Sendable, Equatable {
    package var header = EtcdHeader()
    package var hash: UInt32 = 0
    package var compactRevision: Int64 = 0
    /// The revision the hash is of; 0 before etcd 3.6.
    package var hashRevision: Int64 = 0

    init(_ message: [UInt8]) throws {
        var reader = ProtobufReader(message)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let range)): header = try EtcdHeader(ProtobufReader(message, range))
            case (2, .number(let n)): hash = UInt32(truncatingIfNeeded: n)
            case (3, .number(let n)): compactRevision = Int64(bitPattern: n)
            case (4, .number(let n)): hashRevision = Int64(bitPattern: n)
            default: break
            }
        }
    }
}

package struct EtcdKeyValue: Sendable, Equatable {
    package var key: [UInt8] = []
    package var createRevision: Int64 = 0
    package var modRevision: Int64 = 0
    package var version: Int64 = 0
    package var value: [UInt8] = []
    package var lease: Int64 = 0

    package init() {}

    package init(_ reader: ProtobufReader) throws(ProtobufError) {
        var reader = reader
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let range)): key = Array(reader.bytes[range])
            case (2, .number(let n)): createRevision = Int64(bitPattern: n)
            case (3, .number(let n)): modRevision = Int64(bitPattern: n)
            case (4, .number(let n)): version = Int64(bitPattern: n)
            case (5, .bytes(let range)): self.value = Array(reader.bytes[range])
            case (6, .number(let n)): lease = Int64(bitPattern: n)
            default: break
            }
        }
    }
}
