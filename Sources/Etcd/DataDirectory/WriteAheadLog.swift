import Platform

/// etcd's write-ahead log as a restore begins it (etcd: server/storage/wal, raft's raftpb). Frames are a little-endian
/// length, a record, and zeros up to eight bytes; each record carries the running CRC-32C over all data so far.
enum WriteAheadLog {
    static let fileName = "0000000000000000-0000000000000000.wal"
    /// etcd allocates its segments in this size.
    static let segmentBytes: Int64 = 64_000_000

    private enum RecordType {
        static let metadata: UInt64 = 1
        static let entry: UInt64 = 2
        static let state: UInt64 = 3
        static let sum: UInt64 = 4
        static let snapshot: UInt64 = 5
    }

    /// The log's records for member `local` of a cluster that has just been formed: every member was added by an entry of
    /// term 1, all are committed, and a snapshot stands behind them.
    static func records(_ cluster: ClusterIdentity, local: SeedMember) -> [UInt8] {
        var frames = Frames()
        frames.add(RecordType.sum, nil)
        var metadata = ProtobufWriter()
        metadata.put(1, local.id)
        metadata.put(2, cluster.clusterID)
        frames.add(RecordType.metadata, metadata)
        frames.add(RecordType.snapshot, snapshot(index: 0, term: 0, cluster: nil))
        for (i, member) in cluster.members.enumerated() {
            var change = ProtobufWriter()
            change.put(1, 0)
            change.put(2, 0)
            change.put(3, member.id)
            change.put(4, bytes: member.json.utf8)
            var entry = ProtobufWriter()
            entry.put(1, 1)
            entry.put(2, 1)
            entry.put(3, UInt64(i + 1))
            entry.put(4, bytes: change.bytes)
            frames.add(RecordType.entry, entry)
        }
        var state = ProtobufWriter()
        state.put(1, 1)
        state.put(2, cluster.members[0].id)
        state.put(3, UInt64(cluster.members.count))
        frames.add(RecordType.state, state)
        frames.add(RecordType.snapshot, snapshot(index: UInt64(cluster.members.count), term: 1, cluster: cluster))
        return frames.bytes
    }

    private static func snapshot(index: UInt64, term: UInt64, cluster: ClusterIdentity?) -> ProtobufWriter {
        var snapshot = ProtobufWriter()
        snapshot.put(1, index)
        snapshot.put(2, term)
        if let cluster { snapshot.put(3, bytes: confState(cluster).bytes) }
        return snapshot
    }

    static func confState(_ cluster: ClusterIdentity) -> ProtobufWriter {
        var state = ProtobufWriter()
        for member in cluster.members { state.put(1, member.id) }
        state.put(5, 0)
        return state
    }

    private struct Frames {
        var bytes: [UInt8] = []
        private var sum: UInt32 = 0

        mutating func add(_ type: UInt64, _ data: ProtobufWriter?) {
            if let data { sum = CRC32C.update(sum, data.bytes) }
            var record = ProtobufWriter()
            record.put(1, type)
            record.put(2, UInt64(sum))
            if let data { record.put(3, bytes: data.bytes) }
            let padding = (8 - record.bytes.count % 8) % 8
            var frame = LittleEndianWriter()
            frame.u64(UInt64(record.bytes.count) | (padding == 0 ? 0 : (0x80 | UInt64(padding)) << 56))
            bytes += frame.bytes + record.bytes + [UInt8](repeating: 0, count: padding)
        }
    }

    /// Which member and cluster a log is of: its metadata record, which stands at the beginning. Nil where the bytes do not
    /// begin as a log does.
    static func identity(_ head: [UInt8]) -> (member: UInt64, cluster: UInt64)? {
        var at = 0
        for _ in 0..<4 {
            guard at + 8 <= head.count else { return nil }
            let length = head.withUnsafeBytes { $0.u64(at) }
            let size = Int(length & 0x00ff_ffff_ffff_ffff)
            let padding = length >> 63 == 1 ? Int(length >> 56 & 7) : 0
            guard size > 0, size < 1 << 20, at + 8 + size + padding <= head.count else { return nil }
            var reader = ProtobufReader(head, at + 8..<at + 8 + size)
            var type: UInt64 = 0
            var data: Range<Int>?
            do {
                while let (field, value) = try reader.next() {
                    switch (field, value) {
                    case (1, .number(let n)): type = n
                    case (3, .bytes(let range)): data = range
                    default: break
                    }
                }
                if type == RecordType.metadata, let data {
                    var inner = ProtobufReader(head, data)
                    var ids: [Int: UInt64] = [:]
                    while let (field, value) = try inner.next() {
                        if case .number(let n) = value { ids[field] = n }
                    }
                    guard let member = ids[1], let cluster = ids[2] else { return nil }
                    return (member, cluster)
                }
            } catch {
                return nil
            }
            at += 8 + size + padding
        }
        return nil
    }
}
