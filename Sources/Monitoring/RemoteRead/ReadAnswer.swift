import MetricModel
import Platform

/// What an endpoint of remote read answers, in either of its forms. Input can be anything: every length is checked before it
/// is believed, and samples are charged to the query as they come.
struct ReadAnswer {
    /// In the order of arrival; a series may come more than once.
    private(set) var series: [SeriesData] = []
    /// Histogram samples, which are not read.
    private(set) var histograms = 0

    private let question: ReadQuestion
    private let control: QueryControl

    /// Larger messages are refused, bytes once unpacked.
    static let maxBytes = 256 << 20

    init(_ response: HTTPResponse, to question: ReadQuestion, control: QueryControl) throws {
        self.question = question
        self.control = control
        let type = response.header("content-type") ?? ""
        if type.hasPrefix("application/x-streamed-protobuf") {
            try response.body.withUnsafeBytes { try takeFrames($0) }
        } else if type.hasPrefix("application/x-protobuf") {
            let plain = try Snappy.unpacked(response.body, maxBytes: Self.maxBytes)
            try plain.withUnsafeBytes { try takeSamples($0) }
        } else {
            throw WriteRequestError("the answer is of type \"\(type.prefix(100))\", which is not remote read's")
        }
    }

    // MARK: Samples

    private mutating func takeSamples(_ bytes: UnsafeRawBufferPointer) throws {
        var reader = MessageReader(bytes)
        while let field = try reader.next() {
            guard field.number == 1, case .bytes(let result) = field.value else { continue }
            var fields = MessageReader(result)
            while let part = try fields.next() {
                if part.number == 1, case .bytes(let message) = part.value { try takeSeries(message) }
            }
        }
    }

    private mutating func takeSeries(_ message: UnsafeRawBufferPointer) throws {
        var labels = LabelMessages()
        var data = SeriesData(labels: .empty, timestamps: [], values: [])
        var reader = MessageReader(message)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (1, .bytes(let label)): try labels.take(label)
            case (2, .bytes(let sample)):
                let sample = try SampleMessage(sample)
                append(sample.timestamp, sample.value, to: &data)
            case (4, .bytes): histograms += 1
            default: break
            }
        }
        try add(data, labels)
    }

    // MARK: Chunks

    private mutating func takeFrames(_ bytes: UnsafeRawBufferPointer) throws {
        var at = 0
        while at < bytes.count {
            var length: UInt64 = 0
            var shift: UInt64 = 0
            while true {
                guard at < bytes.count, shift < 64 else { throw damaged }
                let byte = bytes[at]
                at += 1
                length |= UInt64(byte & 0x7f) << shift
                shift += 7
                if byte & 0x80 == 0 { break }
            }
            guard bytes.count - at >= 4, length <= UInt64(bytes.count - at - 4) else { throw damaged }
            let sum = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
            let frame = UnsafeRawBufferPointer(rebasing: bytes[at + 4..<at + 4 + Int(length)])
            guard CRC32C.update(0, frame) == sum else { throw WriteRequestError("a frame's checksum does not fit") }
            at += 4 + Int(length)
            try takeFrame(frame)
        }
    }

    private mutating func takeFrame(_ frame: UnsafeRawBufferPointer) throws {
        var reader = MessageReader(frame)
        while let field = try reader.next() {
            guard field.number == 1, case .bytes(let message) = field.value else { continue }
            var labels = LabelMessages()
            var data = SeriesData(labels: .empty, timestamps: [], values: [])
            var fields = MessageReader(message)
            while let part = try fields.next() {
                switch (part.number, part.value) {
                case (1, .bytes(let label)): try labels.take(label)
                case (2, .bytes(let chunk)): try takeChunk(chunk, &data)
                default: break
                }
            }
            try add(data, labels)
        }
    }

    private mutating func takeChunk(_ chunk: UnsafeRawBufferPointer, _ data: inout SeriesData) throws {
        var encoding: UInt64 = 0
        var body = UnsafeRawBufferPointer(start: nil, count: 0)
        var reader = MessageReader(chunk)
        while let field = try reader.next() {
            switch (field.number, field.value) {
            case (3, .varint(let number)): encoding = number
            case (4, .bytes(let bytes)): body = bytes
            default: break
            }
        }
        switch encoding {
        case 1:
            guard var samples = XORChunkReader(body) else { throw damaged }
            while samples.left > 0 {
                guard let (time, value) = samples.next() else { throw damaged }
                append(time, value, to: &data)
            }
        case 2, 3: histograms += 1
        default: throw WriteRequestError("a chunk is of unknown encoding \(encoding)")
        }
    }

    // MARK: Both

    /// Chunks reach beyond what was asked for.
    private func append(_ time: Int64, _ value: Double, to data: inout SeriesData) {
        guard time >= question.from, time <= question.through else { return }
        data.timestamps.append(time)
        data.values.append(value)
    }

    private mutating func add(_ data: SeriesData, _ labels: LabelMessages) throws {
        if data.timestamps.isEmpty { return }
        try control.check()
        try control.charge(data.timestamps.count)
        var data = data
        data.labels = Labels(labels.pairs.filter { !question.added.contains($0.0) })
        series.append(data)
    }

    private var damaged: WriteRequestError { WriteRequestError("the answer is damaged") }
}
