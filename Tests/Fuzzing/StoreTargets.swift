import Glibc
import Logging
import MetricModel
import Platform

@testable import TSDB

/// The first two bytes are the number of samples that the row's directory would claim.
func decodeChunk(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > 2 else { return }
    let count = 1 + Int(bytes[0]) | Int(bytes[1]) << 8
    let body = UnsafeRawBufferPointer(rebasing: bytes[2...])
    var times: [Int64] = []
    var values: [Double] = []
    if SampleChunk.decode(body, count: count, shared: [], timestamps: &times, values: &values) {
        check(times.count == count && values.count == count, "columns of other lengths than \(count)")
    }
    let shared = (0..<count).map(Int64.init)
    _ = SampleChunk.decode(body, count: count, shared: shared, timestamps: &times, values: &values)
    var reader = ByteReader(body)
    _ = HistogramCode.decode(&reader)
}

func decodeRow(_ bytes: UnsafeRawBufferPointer) {
    _ = ChunkRow.extent(bytes, rowStart: 1_700_000_000_000)
    for range in [Int64.min...Int64.max, 1_700_000_000_000...1_700_000_600_000] {
        var out = Array(repeating: SeriesSamples(labels: .empty), count: 8)
        var added = 0
        _ = ChunkRow.decode(
            bytes, rowStart: 1_700_000_000_000, from: range.lowerBound, through: range.upperBound,
            wanted: { $0 % 2 == 0 ? Int($0 % 8) : nil }, into: &out, scratch: DecodeScratch(), added: &added)
    }
}

/// The first byte parts definitions from samples.
func decodeLog(_ bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.first else { return }
    let rest = UnsafeRawBufferPointer(rebasing: bytes[1...])
    let cut = min(rest.count, Int(first))
    _ = LogDecoder.definitions(UnsafeRawBufferPointer(rebasing: rest[..<cut])) { _, labels in _ = labels.pairs.count }
    var decoder = LogDecoder()
    _ = decoder.samples(UnsafeRawBufferPointer(rebasing: rest[cut...])) { _ in }
}

private let scratch = "/dev/shm/kops-fuzz-\(getpid())"

/// A store with this file and no other is opened, checked and asked for everything.
func openStoreFile(_ bytes: UnsafeRawBufferPointer, _ name: String) {
    try? FileSystem.makeDirectories(scratch)
    defer { try? FileSystem.removeTree(scratch) }
    try? AtomicFile.write(Array(bytes), to: scratch + "/" + name)
    var options = StoreOptions(path: scratch)
    options.retentionTime = 0
    options.minimumFree = 0
    let log = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }
    for readOnly in [true, false] {
        options.readOnly = readOnly
        guard
            let store = try? Store(
                options: options, clock: WallClock { 1_768_500_000_000 }, metrics: MetricRegistry(), log: log)
        else { continue }
        if let matcher = try? LabelMatcher("__name__", .regex, ".+") {
            let control = QueryControl(maxSamples: 1_000_000)
            _ = try? store.select([matcher], from: .min, through: .max, control: control)
        }
        _ = store.check()
        store.close()
    }
}
