import MetricModel

/// What the next commit writes: the definitions of series that the log does not know yet, and samples in the head's code.
///
/// Layout of the samples: for each a code byte as in `HeadCode`, where bits 4 and 5 tell which series it is of: 0 the one
/// with the next id after the sample before, 0x10 the distance between the ids follows as a zigzag varint. 0x60 is a late
/// sample (timestamp as a zigzag varint, a word), 0x70 a histogram (timestamp, length, bytes); both name their series as
/// with 0x10. Definitions: id as a varint, length of the labels, the labels' bytes.
struct LogBuffer: Sendable {
    static let late: UInt8 = 0x60
    static let histogram: UInt8 = 0x70

    var definitions: [UInt8] = []
    var data: [UInt8] = []
    private var lastID: UInt64 = 0

    var isEmpty: Bool { data.isEmpty && definitions.isEmpty }
    var bytes: Int { definitions.count + data.count }

    /// `labels` in the canonical bytes of `Labels`.
    mutating func define(id: UInt64, _ labels: [UInt8]) {
        definitions.appendVarint(id)
        definitions.appendVarint(UInt64(labels.count))
        definitions += labels
    }

    @inline(__always)
    mutating func append(id: UInt64, _ sample: HeadCode.Sample) {
        if id == lastID &+ 1 {
            data.append(sample.code)
        } else {
            data.append(sample.code | 0x10)
            data.appendZigzag(Int64(bitPattern: id &- lastID))
        }
        lastID = id
        if sample.length > 0 {
            withUnsafeBytes(of: sample.payload) { data.append(contentsOf: $0[0..<sample.length]) }
        }
    }

    mutating func appendLate(id: UInt64, _ time: Int64, _ bits: UInt64) {
        name(id, Self.late)
        data.appendZigzag(time)
        data.appendWord(bits)
    }

    mutating func append(id: UInt64, _ time: Int64, _ histogram: NativeHistogram) {
        name(id, Self.histogram)
        data.appendZigzag(time)
        var code: [UInt8] = []
        HistogramCode.encode(histogram, into: &code)
        data.appendVarint(UInt64(code.count))
        data += code
    }

    private mutating func name(_ id: UInt64, _ code: UInt8) {
        data.append(code)
        data.appendZigzag(Int64(bitPattern: id &- lastID))
        lastID = id
    }
}

/// Reads what `LogBuffer` wrote, in the order it was written over all commits of one log.
struct LogDecoder {
    /// By id, in pages; ids are slots of the head, so they are dense.
    private var pages: [[HeadCode.Decoder]] = []
    private static let page = 1024
    private static let maxID: UInt64 = 1 << 28

    enum Record {
        case sample(id: UInt64, time: Int64, bits: UInt64)
        case histogram(id: UInt64, time: Int64, NativeHistogram)
    }

    static func definitions(_ bytes: UnsafeRawBufferPointer, _ body: (UInt64, Labels) -> Void) -> Bool {
        var reader = ByteReader(bytes)
        while !reader.atEnd {
            let id = reader.varint()
            let bytes = reader.slice(reader.count())
            guard !reader.failed, let labels = Labels(stored: bytes) else { return false }
            body(id, labels)
        }
        return true
    }

    /// False where the bytes are damaged; what came before has been handed out.
    mutating func samples(_ bytes: UnsafeRawBufferPointer, _ body: (Record) -> Void) -> Bool {
        var reader = ByteReader(bytes)
        var id: UInt64 = 0
        while !reader.atEnd {
            let code = reader.byte()
            switch code {
            case LogBuffer.late, LogBuffer.histogram:
                id = UInt64(bitPattern: Int64(bitPattern: id) &+ reader.zigzag())
                let time = reader.zigzag()
                if code == LogBuffer.late {
                    let bits = reader.word()
                    if reader.failed { return false }
                    body(.sample(id: id, time: time, bits: bits))
                } else {
                    var inner = ByteReader(reader.slice(reader.count()))
                    let histogram = HistogramCode.decode(&inner)
                    if reader.failed || inner.failed { return false }
                    body(.histogram(id: id, time: time, histogram))
                }
            default:
                if code & 0x10 != 0 {
                    id = UInt64(bitPattern: Int64(bitPattern: id) &+ reader.zigzag())
                } else {
                    id &+= 1
                }
                if code >= 0x80 { return false }
                guard id < Self.maxID else { return false }
                let (high, low) = (Int(id) / Self.page, Int(id) % Self.page)
                while pages.count <= high { pages.append([]) }
                if pages[high].isEmpty { pages[high] = Array(repeating: HeadCode.Decoder(), count: Self.page) }
                pages[high][low].step(code & ~0x30, &reader)
                guard !reader.failed else { return false }
                body(.sample(id: id, time: pages[high][low].time, bits: pages[high][low].bits))
            }
        }
        return true
    }
}
