package import MetricModel

/// Why a remote-write request is not taken: one line for the sender.
package struct WriteRequestError: Error, Sendable, CustomStringConvertible {
    package let description: String
    init(_ description: String) { self.description = description }
}

/// The body of Prometheus' remote write 1.0: a snappy block with the protobuf message `prometheus.WriteRequest`.
package struct WriteRequest: Sendable {
    package struct Series: Sendable {
        package var labels: Labels
        package var timestamps: [Int64] = []
        package var values: [Double] = []
    }

    package var series: [Series] = []
    /// Samples that were native histograms, which are not taken.
    package var histograms = 0

    /// Larger messages are refused, bytes once unpacked.
    package static let maxBytes = 256 << 20

    /// Input can be anything: bounds are checked, and what the body claims of its size is.
    package init(compressed body: [UInt8]) throws(WriteRequestError) {
        let plain = try Snappy.unpacked(body, maxBytes: Self.maxBytes)
        let problem: WriteRequestError? = plain.withUnsafeBytes { bytes in
            do {
                var reader = MessageReader(bytes)
                while let field = try reader.next() {
                    if field.number == 1, case .bytes(let message) = field.value { try takeSeries(message) }
                }
                return nil
            } catch {
                return error as? WriteRequestError ?? WriteRequestError("\(error)")
            }
        }
        if let problem { throw problem }
    }

    private mutating func takeSeries(_ message: UnsafeRawBufferPointer) throws(WriteRequestError) {
        var pairs: [(String, String)] = []
        var series = Series(labels: .empty)
        var reader = MessageReader(message)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .bytes(let label)):
                var name = ""
                var value = ""
                var fields = MessageReader(label)
                while let part = try fields.next() {
                    guard case .bytes(let text) = part.value else { continue }
                    if part.number == 1 { name = String(decoding: text, as: UTF8.self) }
                    if part.number == 2 { value = String(decoding: text, as: UTF8.self) }
                }
                if !value.isEmpty { pairs.append((name, value)) }
            case (2, .bytes(let sample)):
                var value = 0.0
                var time: Int64 = 0
                var fields = MessageReader(sample)
                while let part = try fields.next() {
                    switch (part.number, part.value) {
                    case (1, .word(let bits)): value = Double(bitPattern: bits)
                    case (2, .varint(let number)): time = Int64(bitPattern: number)
                    default: break
                    }
                }
                series.timestamps.append(time)
                series.values.append(value)
            case (4, .bytes): histograms += 1
            default: break
            }
        }
        guard pairs.contains(where: { $0.0 == Labels.metricNameLabel }), !pairs.contains(where: { $0.0.isEmpty }),
            Set(pairs.map(\.0)).count == pairs.count
        else { throw WriteRequestError("a series has no name, a label without a name or one label twice") }
        series.labels = Labels(pairs)
        if !series.timestamps.isEmpty { self.series.append(series) }
    }

    /// Appends all samples. Returns what the store said of them.
    package func append(to store: any SampleAppender) throws -> AppendOutcome {
        var outcome = AppendOutcome()
        for attempt in 0..<2 {
            let refs = try store.resolve(series.map(\.labels))
            var batch = SampleBatch()
            for (one, ref) in zip(series, refs) {
                for (time, value) in zip(one.timestamps, one.values) {
                    batch.append(ref: ref, timestamp: time, value: value)
                }
            }
            outcome = try store.append(batch)
            if outcome.unknownRefs.isEmpty || attempt == 1 { break }
        }
        return outcome
    }
}
