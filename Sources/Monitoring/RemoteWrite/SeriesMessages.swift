import MetricModel

/// The labels of one series as remote write and remote read carry them: `prometheus.Label`, name 1 and value 2.
struct LabelMessages {
    private(set) var pairs: [(String, String)] = []
    private var names: Set<String> = []

    /// Empty values are left out, as everywhere.
    mutating func take(_ message: UnsafeRawBufferPointer) throws(WriteRequestError) {
        var name = ""
        var value = ""
        var reader = MessageReader(message)
        while let field = try reader.next() {
            guard case .bytes(let text) = field.value else { continue }
            if field.number == 1 { name = String(decoding: text, as: UTF8.self) }
            if field.number == 2 { value = String(decoding: text, as: UTF8.self) }
        }
        guard !name.isEmpty, names.insert(name).inserted else {
            throw WriteRequestError("a series has a label without a name or one label twice")
        }
        if !value.isEmpty { pairs.append((name, value)) }
    }
}

/// One sample: `prometheus.Sample`, value 1 and timestamp 2, in milliseconds.
struct SampleMessage {
    private(set) var timestamp: Int64 = 0
    private(set) var value = 0.0

    init(_ message: UnsafeRawBufferPointer) throws(WriteRequestError) {
        var reader = MessageReader(message)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .word(let bits)): value = Double(bitPattern: bits)
            case (2, .varint(let number)): timestamp = Int64(bitPattern: number)
            default: break
            }
        }
    }
}
