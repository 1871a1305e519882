import Platform
import Testing

@testable import Etcd

/// Messages of Maintenance/Snapshot by their bytes. etcd 3.6 adds its version as field 4 to each; no etcd 3.6 is in Debian 12, so
/// that it sends them so is taken from its protocol definition.
@Suite struct SnapshotStreamTests {
    private let database = (0..<512).map { UInt8(truncatingIfNeeded: $0 &* 7) }

    /// Two pieces, 300 bytes and the rest: `10` what remains, `1a` the piece, `22 05` "3.6.8".
    private func messages(version: Bool) -> [[UInt8]] {
        let file = database + Digest.hash(.sha256, database)
        let text: [UInt8] = version ? [0x22, 0x05, 0x33, 0x2e, 0x36, 0x2e, 0x38] : []
        return [
            [0x10, 0xf4, 0x01, 0x1a, 0xac, 0x02] + file[..<300] + text,
            [0x1a, 0xf4, 0x01] + file[300...] + text,
        ]
    }

    private func read(_ messages: [[UInt8]], hashes: Bool = true) throws -> (
        result: SnapshotStreamResult, bytes: [UInt8], told: [Int64]
    ) {
        var state = SnapshotStreamState(hashes: hashes)
        var bytes: [UInt8] = []
        var told: [Int64] = []
        for message in messages {
            try state.take(message) { bytes += $0 }
            if let progress = state.progressToTell() { told.append(progress.done) }
        }
        return (try state.finish("e"), bytes, told)
    }

    @Test(arguments: [true, false]) func piecesWithAndWithoutAVersionMakeTheFile(_ is36: Bool) throws {
        let (result, bytes, told) = try read(messages(version: is36))
        #expect(bytes == database + Digest.hash(.sha256, database))
        #expect(result.bytes == 544 && result.sha256 == Digest.hash(.sha256, database))
        #expect(result.version == (is36 ? "3.6.8" : ""))
        // Less than a MiB is told of once, at its end.
        #expect(told == [544])
    }

    /// etcd 3.6 closes with a message that has no piece, and nothing to go; one with something to go is of a broken database.
    @Test func anEmptyPieceEndsOnlyAWholeStream() throws {
        let version: [UInt8] = [0x22, 0x05, 0x33, 0x2e, 0x36, 0x2e, 0x38]
        #expect(try read(messages(version: true) + [version]).result.bytes == 544)
        #expect(throws: EtcdError(.damaged, "")) { try read([[0x10, 0x20] + version]) }
        #expect(throws: EtcdError(.interrupted, "")) { try read([messages(version: true)[0]]) }
        var changed = messages(version: true)
        changed[0][100] ^= 1
        #expect(throws: EtcdError(.damaged, "")) { try read(changed) }
    }

    /// Where the way is safe the checksum is passed on as it came; that it is there is asked for as ever.
    @Test func theHashMayBeLeftToTheReader() throws {
        let whole = try read(messages(version: false), hashes: false)
        #expect(whole.result.sha256 == Digest.hash(.sha256, database) && whole.bytes.count == 544)
        #expect(throws: EtcdError(.interrupted, "")) { try read([messages(version: true)[0]], hashes: false) }
    }

    @Test(arguments: [
        ("https://10.0.0.11:2379", true), ("http://127.0.0.1:2379", true), ("http://[::1]:2379", true),
        ("http://localhost:2379", true), ("http://10.0.0.11:2379", false), ("http://127.0.0.1.example.org:2379", false),
        ("http://localhost.example.org:2379", false), ("", false),
    ]) func onlyTLSAndLoopbackAreTrusted(endpoint: String, isSafe: Bool) {
        #expect(EtcdClient.isSafeWay(endpoint) == isSafe)
    }
}
