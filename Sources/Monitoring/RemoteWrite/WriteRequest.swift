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
        var labels = LabelMessages()
        var series = Series(labels: .empty)
        var reader = MessageReader(message)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .bytes(let label)): try labels.take(label)
            case (2, .bytes(let sample)):
                let sample = try SampleMessage(sample)
                series.timestamps.append(sample.timestamp)
                series.values.append(sample.value)
            case (4, .bytes): histograms += 1
            default: break
            }
        }
        guard labels.pairs.contains(where: { $0.0 == Labels.metricNameLabel }) else {
            throw WriteRequestError("a series has no name")
        }
        series.labels = Labels(labels.pairs)
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
