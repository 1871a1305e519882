package import MetricModel

/// The body of Prometheus' remote read: a snappy block with the protobuf message `prometheus.ReadRequest`.
package struct ReadRequest: Sendable {
    package struct Query: Sendable {
        /// Inclusive bounds in milliseconds.
        package var from: Int64 = 0
        package var through: Int64 = 0
        package var matchers: [LabelMatcher] = []
    }

    package var queries: [Query] = []
    /// Whether the client takes chunks as a stream.
    package var acceptsChunks = false

    static let maxBytes = 8 << 20

    /// Input can be anything.
    package init(compressed body: [UInt8]) throws(WriteRequestError) {
        let plain = try Snappy.unpacked(body, maxBytes: Self.maxBytes)
        let problem: WriteRequestError? = plain.withUnsafeBytes { bytes in
            do throws(WriteRequestError) {
                try take(bytes)
                return nil
            } catch {
                return error
            }
        }
        if let problem { throw problem }
    }

    private mutating func take(_ bytes: UnsafeRawBufferPointer) throws(WriteRequestError) {
        var reader = MessageReader(bytes)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .bytes(let message)): queries.append(try Self.query(message))
            case (2, .varint(let type)): if type == 1 { acceptsChunks = true }
            case (2, .bytes(let packed)): if packed.contains(1) { acceptsChunks = true }
            default: break
            }
        }
    }

    private static func query(_ message: UnsafeRawBufferPointer) throws(WriteRequestError) -> Query {
        var query = Query()
        var reader = MessageReader(message)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .varint(let time)): query.from = Int64(bitPattern: time)
            case (2, .varint(let time)): query.through = Int64(bitPattern: time)
            case (3, .bytes(let matcher)): query.matchers.append(try Self.matcher(matcher))
            default: break
            }
        }
        return query
    }

    private static func matcher(_ message: UnsafeRawBufferPointer) throws(WriteRequestError) -> LabelMatcher {
        let operators: [MatchOperator] = [.equal, .notEqual, .regex, .notRegex]
        var type: UInt64 = 0
        var name = ""
        var value = ""
        var reader = MessageReader(message)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .varint(let number)): type = number
            case (2, .bytes(let text)): name = String(decoding: text, as: UTF8.self)
            case (3, .bytes(let text)): value = String(decoding: text, as: UTF8.self)
            default: break
            }
        }
        guard type < 4 else { throw WriteRequestError("a matcher is of unknown type \(type)") }
        do {
            return try LabelMatcher(name, operators[Int(type)], value)
        } catch {
            throw WriteRequestError("\(error)")
        }
    }
}
