package import Platform

/// One message of a watch.
package struct EtcdWatchAnswer: Sendable {
    package struct Event: Sendable, Equatable {
        package var isDelete: Bool
        /// The revision that made the change.
        package var revision: Int64
        /// etcd's KeyValue message, as it came.
        package var keyValue: [UInt8]
    }

    /// The newest revision the member had when it sent this.
    package var revision: Int64 = 0
    package var created = false
    package var events: [Event] = []
    /// More events of the same answer follow in the next message.
    package var isFragment = false
}

extension EtcdClient {
    /// Follows all keys from `startRevision` on, until it is cancelled or something fails: every change comes once, in
    /// etcd's order. `receive` runs on the HTTP client's own thread and may block; what it throws ends the watch. Throws
    /// `EtcdError.compacted` where `startRevision` is gone.
    package func watchAll(
        from endpoint: String, startRevision: Int64, http: HTTPClient,
        receive: @escaping @Sendable (EtcdWatchAnswer) throws -> Void
    ) async throws {
        var create = ProtobufWriter()
        create.add(1, bytes: [0])
        create.add(2, bytes: [0])
        create.add(3, signed: startRevision)
        // Without changes etcd says now and then which revision it stands at.
        create.add(4, bool: true)
        // Long answers come in pieces.
        create.add(8, bool: true)
        var request = ProtobufWriter()
        request.add(1, message: create)
        // Silence has no limit here: a cluster may be idle. Whoever watches notices by the member's status.
        try await GRPCChannel(http: http, tls: tls).serverStream(
            endpoint, "/etcdserverpb.Watch/Watch", request.bytes, maxMessageBytes: 128 << 20, keepOpen: true,
            idleLimit: nil
        ) { message in
            try receive(try EtcdClient.watchAnswer(message, endpoint))
        }
        throw EtcdError(.interrupted, "the watch ended", endpoint: endpoint)
    }

    static func watchAnswer(_ message: [UInt8], _ endpoint: String) throws -> EtcdWatchAnswer {
        var answer = EtcdWatchAnswer()
        var reader = ProtobufReader(message)
        var cancelled = false
        var compacted: Int64 = 0
        var reason = ""
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let range)): answer.revision = try EtcdHeader(ProtobufReader(message, range)).revision
            case (3, .number(let n)): answer.created = n != 0
            case (4, .number(let n)): cancelled = n != 0
            case (5, .number(let n)): compacted = Int64(bitPattern: n)
            case (6, .bytes(let range)): reason = reader.text(range)
            case (7, .number(let n)): answer.isFragment = n != 0
            case (11, .bytes(let range)): answer.events.append(try watchEvent(message, range))
            default: break
            }
        }
        if compacted > 0 {
            throw EtcdError(.compacted, "changes before revision \(compacted) are compacted", endpoint: endpoint)
        }
        if cancelled {
            throw EtcdError(
                .interrupted, "etcd ended the watch: \(reason.isEmpty ? "no reason given" : reason)", endpoint: endpoint
            )
        }
        return answer
    }

    private static func watchEvent(_ message: [UInt8], _ range: Range<Int>) throws -> EtcdWatchAnswer.Event {
        var event = EtcdWatchAnswer.Event(isDelete: false, revision: 0, keyValue: [])
        var reader = ProtobufReader(message, range)
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .number(let n)): event.isDelete = n == 1
            case (2, .bytes(let kv)):
                event.keyValue = Array(message[kv])
                var inner = ProtobufReader(message, kv)
                while let (field, value) = try inner.next() {
                    if field == 3, case .number(let n) = value { event.revision = Int64(bitPattern: n) }
                }
            default: break
            }
        }
        guard event.revision > 0, !event.keyValue.isEmpty else {
            throw EtcdError(.damaged, "a change without key or revision")
        }
        return event
    }
}
