import Platform

@testable import Etcd
@testable import Monitoring
@testable import Platform

func decodeXORChunk(_ bytes: UnsafeRawBufferPointer) {
    guard var reader = XORChunkReader(bytes) else { return }
    while reader.left > 0, reader.next() != nil {}
}

/// In pieces of several sizes: the scan takes what the network gives.
func scanSnapshot(_ bytes: UnsafeRawBufferPointer) {
    guard let first = bytes.first else { return }
    var scanner = SnapshotScanner()
    var at = 1
    while at < bytes.count {
        let end = min(bytes.count, at + 512 * (1 + Int(first)))
        scanner.feed(UnsafeRawBufferPointer(rebasing: bytes[at..<end]))
        at = end
    }
    _ = scanner.finish()
}

func decodeEtcdMessages(_ bytes: UnsafeRawBufferPointer) {
    let message = Array(bytes)
    _ = try? EtcdClient.watchAnswer(message, "endpoint")
    var frames = GRPCFrameReader(maxMessageBytes: 1 << 20)
    try? frames.feed(bytes) { _ = try? EtcdClient.watchAnswer($0, "endpoint") }
    _ = GRPCChannel.unescape(String(decoding: bytes, as: UTF8.self))
}

func inflate(_ bytes: UnsafeRawBufferPointer) {
    var at = 0
    guard
        let reader = try? GzipReader(source: { buffer in
            let count = min(buffer.count, bytes.count - at)
            buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[at..<at + count]))
            at += count
            return count
        })
    else { return }
    var out = 0
    while let piece = try? reader.next(), !piece.isEmpty, out < 64 << 20 { out += piece.count }
    let whole = try? Gzip.decompress(Array(bytes), limit: 1 << 20)
    check((whole?.count ?? 0) <= 1 << 20, "more than was allowed")
}

func decodeDNS(_ bytes: UnsafeRawBufferPointer) {
    let question = DNSMessage.question(id: 0x1234, name: "_m._tcp.example.test.", type: .srv) ?? []
    for type in [DNSMessage.RecordType.srv, .mx, .ns] {
        // As it is, and as the records behind a sound head.
        for message in [
            Array(bytes),
            [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0] + question.dropFirst(12).dropLast(11) + Array(bytes),
        ] {
            guard let read = try? DNSMessage.answer(message, to: question, type: type) else { continue }
            check(read.records.allSatisfy { $0.target.utf8.count <= 3 * 255 }, "a name longer than any")
        }
    }
}
