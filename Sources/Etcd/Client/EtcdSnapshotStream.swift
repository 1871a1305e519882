package import Platform

/// What came over a snapshot stream.
package struct SnapshotStreamResult: Sendable {
    package var endpoint = ""
    /// Bytes of the snapshot file: the database and its SHA-256.
    package var bytes: Int64 = 0
    /// Hash of the database as its own trailing 32 bytes say.
    package var sha256: [UInt8] = []
    /// etcd's version as the stream gives it, 3.6 and later.
    package var version = ""
}

extension EtcdClient {
    /// Streams a snapshot of one member: every byte of what becomes the snapshot file goes to `receive`, in order. `receive`
    /// runs on the HTTP client's own thread and may block; the server is held back meanwhile. Throws unless the whole file came and
    /// its trailing SHA-256 is right. `trustingTheWay` leaves that hash to who reads the file later where nothing can change a byte on the
    /// way (`isSafeWay`): it is a third to a half of what receiving costs. `progress` gets bytes so far and the expected total.
    package func snapshot(
        from endpoint: String, http: HTTPClient, idleLimit: Duration = .seconds(60), trustingTheWay: Bool = false,
        progress: (@Sendable (Int64, Int64) -> Void)? = nil,
        receive: @escaping @Sendable (UnsafeRawBufferPointer) throws -> Void
    ) async throws -> SnapshotStreamResult {
        let state = Lock(SnapshotStreamState(hashes: !(trustingTheWay && EtcdClient.isSafeWay(endpoint))))
        let own = GRPCChannel(http: http, tls: tls)
        try await own.serverStream(
            endpoint, "/etcdserverpb.Maintenance/Snapshot", [], maxMessageBytes: 8 << 20, idleLimit: idleLimit
        ) { message in
            let told = try state.withLock { state in
                try state.take(message, receive)
                return state.progressToTell()
            }
            if let told { progress?(told.done, told.total) }
        }
        return try state.withLock { state in
            var result = try state.finish(endpoint)
            result.endpoint = endpoint
            return result
        }
    }

    /// Whether TLS proves each byte, or none leaves the machine.
    static func isSafeWay(_ endpoint: String) -> Bool {
        if endpoint.hasPrefix("https://") { return true }
        let host = endpoint.trimmingPrefix("http://")
        return ["127.0.0.1:", "[::1]:", "localhost:"].contains { host.hasPrefix($0) }
    }
}

/// Follows a snapshot stream message by message.
struct SnapshotStreamState {
    var result = SnapshotStreamResult()
    var total: Int64?
    private var toldBytes: Int64 = 0
    private let digest: Digest?
    /// The last 32 bytes seen, which are the checksum if nothing follows.
    private var tail: [UInt8] = []

    init(hashes: Bool = true) { digest = hashes ? Digest(.sha256) : nil }

    mutating func take(_ message: [UInt8], _ receive: (UnsafeRawBufferPointer) throws -> Void) throws {
        var reader = ProtobufReader(message)
        var remaining: UInt64 = 0
        var blob: Range<Int> = 0..<0
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (2, .number(let n)): remaining = n
            case (3, .bytes(let range)): blob = range
            case (4, .bytes(let range)): result.version = reader.text(range)
            default: break
            }
        }
        guard !blob.isEmpty || remaining == 0 else {
            throw EtcdError(
                .damaged, "etcd sends empty pieces with \(remaining) bytes to go: its database is unreadable")
        }
        if total == nil { total = Int64(clamping: remaining) + Int64(blob.count) }
        result.bytes += Int64(blob.count)
        try message.withUnsafeBytes { bytes in
            let piece = UnsafeRawBufferPointer(rebasing: bytes[blob])
            hash(piece)
            if !piece.isEmpty { try receive(piece) }
        }
    }

    /// Every MiB and at the end: messages are of 32 KiB, and who is told makes text of each.
    mutating func progressToTell() -> (done: Int64, total: Int64)? {
        let total = total ?? 0
        guard result.bytes - toldBytes >= 1 << 20 || result.bytes == total else { return nil }
        toldBytes = result.bytes
        return (result.bytes, total)
    }

    private mutating func hash(_ piece: UnsafeRawBufferPointer) {
        if piece.count >= 32 {
            digest?.update(tail)
            digest?.update(UnsafeRawBufferPointer(rebasing: piece[..<(piece.count - 32)]))
            tail = Array(piece[(piece.count - 32)...])
        } else {
            tail.append(contentsOf: piece)
            if tail.count > 32 {
                digest?.update(Array(tail[..<(tail.count - 32)]))
                tail.removeFirst(tail.count - 32)
            }
        }
    }

    func finish(_ endpoint: String) throws -> SnapshotStreamResult {
        guard result.bytes % 512 == 32, tail.count == 32 else {
            throw EtcdError(
                .interrupted, "the snapshot ended after \(result.bytes) bytes, without its checksum",
                endpoint: endpoint)
        }
        var out = result
        out.sha256 = tail
        if let digest, digest.finalize() != tail {
            throw EtcdError(.damaged, "the snapshot does not match its checksum", endpoint: endpoint)
        }
        return out
    }
}
