/// One change, or one read, of keys.
package enum EtcdOperation: Sendable {
    case put(key: [UInt8], value: [UInt8], lease: Int64 = 0)
    /// `end` nil means the one key; keys from `key` up to, not with, `end`.
    case delete(key: [UInt8], end: [UInt8]? = nil)
}

/// What a range read gives.
package struct EtcdRange: Sendable {
    package var header = EtcdHeader()
    package var keyValues: [EtcdKeyValue] = []
    /// More would follow than the limit allowed.
    package var more = false
    package var count: Int64 = 0
}

extension EtcdClient {
    /// Keys from `key` up to, not with, `end`; the one key where `end` is nil. `revision` 0 is the newest.
    /// `serializable` reads one member without asking the quorum.
    package func range(
        _ key: [UInt8], end: [UInt8]? = nil, limit: Int64 = 0, revision: Int64 = 0, keysOnly: Bool = false,
        countOnly: Bool = false, serializable: Bool = false
    ) async throws -> EtcdRange {
        var message = ProtobufWriter()
        message.add(1, bytes: key)
        message.add(2, bytes: end ?? [])
        message.add(3, signed: limit)
        message.add(4, signed: revision)
        message.add(7, bool: serializable)
        message.add(8, bool: keysOnly)
        message.add(9, bool: countOnly)
        let answer = try await callAny("/etcdserverpb.KV/Range", message)
        var range = EtcdRange()
        var reader = ProtobufReader(answer)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let r)): range.header = try EtcdHeader(ProtobufReader(answer, r))
            case (2, .bytes(let r)): range.keyValues.append(try EtcdKeyValue(ProtobufReader(answer, r)))
            case (3, .number(let n)): range.more = n != 0
            case (4, .number(let n)): range.count = Int64(bitPattern: n)
            default: break
            }
        }
        return range
    }

    /// Makes all changes at one revision, which is returned.
    @discardableResult
    package func transaction(_ operations: [EtcdOperation]) async throws -> Int64 {
        var message = ProtobufWriter()
        for operation in operations { message.add(2, message: EtcdClient.encode(operation)) }
        let answer = try await callAny("/etcdserverpb.KV/Txn", message)
        var reader = ProtobufReader(answer)
        while let (field, value) = try reader.next() {
            if field == 1, case .bytes(let range) = value {
                return try EtcdHeader(ProtobufReader(answer, range)).revision
            }
        }
        return 0
    }

    private static func encode(_ operation: EtcdOperation) -> ProtobufWriter {
        var request = ProtobufWriter()
        var inner = ProtobufWriter()
        switch operation {
        case .put(let key, let value, let lease):
            inner.add(1, bytes: key)
            inner.add(2, bytes: value)
            inner.add(3, signed: lease)
            request.add(2, message: inner)
        case .delete(let key, let end):
            inner.add(1, bytes: key)
            inner.add(2, bytes: end ?? [])
            request.add(3, message: inner)
        }
        return request
    }

    /// Forgets all revisions before `revision`; `physical` waits until they are gone from the database.
    package func compact(_ revision: Int64, physical: Bool = false) async throws {
        var message = ProtobufWriter()
        message.add(1, signed: revision)
        message.add(2, bool: physical)
        _ = try await callAny("/etcdserverpb.KV/Compact", message, timeout: .seconds(120))
    }
}
