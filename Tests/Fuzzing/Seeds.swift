import Logging
import MetricModel
import Platform

@testable import Monitoring
@testable import TSDB

/// One small valid input for each binary target, from the code that writes the format.
func writeSeeds(_ directory: String) throws {
    func write(_ target: String, _ bytes: [UInt8]) throws {
        try FileSystem.makeDirectories("\(directory)/\(target)")
        try AtomicFile.write(bytes, to: "\(directory)/\(target)/seed")
    }
    let times: [Int64] = (0..<40).map { 1_700_000_000_000 + $0 * 15_000 + ($0 == 7 ? 3 : 0) }
    let values = times.indices.map { Double($0 * $0) * 0.25 }
    var body: [UInt8] = []
    SampleChunk.encode(times, values, shared: false, into: &body)
    try write("store-chunk", [39, 0] + body)

    var row = ChunkRow()
    row.add(2, times, values)
    row.add(4, times, values.map { $0 + 1 })
    row.add(6, Array(times.prefix(3)), [.nan, .infinity, -0.0])
    try write("store-row", row.encoded())

    var label = MessageWriter()
    label.field(1, Array("__name__".utf8))
    label.field(2, Array("up".utf8))
    var sample = MessageWriter()
    sample.double(1, 1.5)
    sample.varint(2, 1_700_000_000_000)
    var series = MessageWriter()
    series.field(1, label.bytes)
    series.field(2, sample.bytes)
    var request = MessageWriter()
    request.field(1, series.bytes)
    try write("remote-write", request.bytes)

    try write("gzip", Gzip.compress(Array("kops kops kops".utf8)))
    try write("relabel", [1] + Array("a\u{0}b".utf8) + [0xff] + Array("(.*)".utf8) + [0xff] + Array("${1}".utf8))
    try write("dns", [0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 10, 0, 1, 0, 2, 0x23, 0x8c, 1, 0x6e, 0xc0, 20])
    try storeFiles(times, values, write)
}

private func storeFiles(
    _ times: [Int64], _ values: [Double], _ write: (String, [UInt8]) throws -> Void
) throws {
    let path = try FileSystem.makeTemporaryDirectory("/tmp/kops-fuzz-seeds-")
    defer { try? FileSystem.removeTree(path) }
    var options = StoreOptions(path: path)
    options.retentionTime = 0
    options.minimumFree = 0
    let log = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }
    let now: Int64 = 1_768_500_000_000
    let store = try Store(options: options, clock: WallClock { now }, metrics: MetricRegistry(), log: log)
    let refs = try store.resolve((0..<3).map { Labels([("__name__", "m"), ("n", "\($0)")]) })
    for (i, value) in values.enumerated() {
        var batch = SampleBatch()
        for ref in refs { batch.append(ref: ref, timestamp: now - 600_000 + Int64(i) * 15_000, value: value) }
        _ = try store.append(batch)
    }
    store.commit()
    // Copied while it is whole, its WAL file put into it.
    store.abandon()
    for name in try FileSystem.list(path) where name.hasPrefix("log-") && name.hasSuffix(".sqlite") {
        let file = try SQLiteFile(path + "/" + name, .readWrite)
        try file.execute("PRAGMA journal_mode = DELETE")
        file.close()
        try write("store-file-log", FileSystem.read(path + "/" + name))
    }
    let again = try Store(options: options, clock: WallClock { now }, metrics: MetricRegistry(), log: log)
    again.close()
    for name in try FileSystem.list(path) where name.hasPrefix("day-") && name.hasSuffix(".sqlite") {
        try write("store-file-day", FileSystem.read(path + "/" + name))
    }
}
