import Platform
import Testing

@testable import Etcd

@Suite struct WireTests {
    @Test func fieldsComeBackAsWritten() throws {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<200 {
            var writer = ProtobufWriter()
            var wanted: [(Int, [UInt8]?, UInt64)] = []
            for _ in 0..<Int.random(in: 0..<20) {
                let field = Int.random(in: 1..<100_000)
                if Bool.random() {
                    let number = random.next() >> UInt64.random(in: 0..<64)
                    writer.put(field, number)
                    wanted.append((field, nil, number))
                } else {
                    let bytes = (0..<Int.random(in: 0..<300)).map { _ in UInt8.random(in: 0...255) }
                    writer.put(field, bytes: bytes)
                    wanted.append((field, bytes, 0))
                }
            }
            var reader = ProtobufReader(writer.bytes)
            for (field, bytes, number) in wanted {
                let next = try #require(try reader.next())
                #expect(next.field == field)
                switch next.value {
                case .number(let n): #expect(bytes == nil && n == number)
                case .bytes(let range): #expect(Array(writer.bytes[range]) == bytes)
                }
            }
            #expect(try reader.next() == nil)
        }
    }

    @Test func randomBytesNeverTrap() {
        for _ in 0..<5000 {
            let bytes = (0..<Int.random(in: 0..<40)).map { _ in UInt8.random(in: 0...255) }
            var reader = ProtobufReader(bytes)
            while let next = try? reader.next() { _ = next }
            _ = try? EtcdStatus(bytes)
            _ = WriteAheadLog.identity(bytes)
        }
    }

    /// Fields that etcd 3.6 added (storage version, quota, downgrade state, hash revision) beside those of before; and what a later
    /// one may add is passed over.
    @Test func answersOfEtcd36AreRead() throws {
        var header = ProtobufWriter()
        header.put(1, 0xcb7a_d23f_783f_5d77)
        header.put(3, 812_345)
        var downgrade = ProtobufWriter()
        downgrade.put(1, 1)
        downgrade.put(2, bytes: "3.5.0".utf8)
        var status = ProtobufWriter()
        status.add(1, message: header)
        status.put(2, bytes: "3.6.8".utf8)
        status.put(3, 25_000_000)
        status.put(4, 7)
        status.put(9, 20_000_000)
        status.put(11, bytes: "3.6.0".utf8)
        status.put(12, 2_147_483_648)
        status.add(13, message: downgrade)
        status.put(99, bytes: [1, 2, 3])
        let read = try EtcdStatus(status.bytes)
        #expect(read.version == "3.6.8" && read.storageVersion == "3.6.0" && read.quota == 2_147_483_648)
        #expect(read.header.revision == 812_345 && read.leader == 7 && read.databaseSizeInUse == 20_000_000)
        var hash = ProtobufWriter()
        hash.add(1, message: header)
        hash.put(2, 0xdead_beef)
        hash.put(3, 812_000)
        hash.put(4, 812_345)
        let answer = try EtcdHashKV(hash.bytes)
        #expect(answer.hash == 0xdead_beef && answer.compactRevision == 812_000 && answer.hashRevision == 812_345)
    }

    @Test func framesMayBeCutAnywhere() throws {
        let messages = [[], [1], Array(repeating: 7, count: 1000), [], [2, 3]] as [[UInt8]]
        let stream = messages.flatMap { GRPCFrame.encode($0) }
        for cut in [1, 2, 3, 5, 7, 1000, 5000] {
            var reader = GRPCFrameReader(maxMessageBytes: 1 << 20)
            var seen: [[UInt8]] = []
            var at = 0
            while at < stream.count {
                let piece = Array(stream[at..<min(stream.count, at + cut)])
                try piece.withUnsafeBytes { try reader.feed($0) { seen.append($0) } }
                at += cut
            }
            #expect(seen == messages)
            #expect(reader.isWhole)
        }
    }

    @Test func aFrameTooLargeIsRefused() {
        var reader = GRPCFrameReader(maxMessageBytes: 100)
        #expect(throws: EtcdError(.damaged, "")) {
            try ([0, 0, 0, 1, 0] as [UInt8]).withUnsafeBytes { try reader.feed($0) { _ in } }
        }
    }

    @Test func gRPCMessagesAreUnescaped() {
        #expect(GRPCChannel.unescape("a%20b%25%C3%BC%") == "a b%ü%")
    }

    @Test func membersAreTakenInTheRightOrder() {
        func state(_ n: UInt64, leader: UInt64, index: UInt64, learner: Bool = false, errors: [String] = [])
            -> EtcdClient.EndpointState
        {
            var status = EtcdStatus()
            status.header.memberID = n
            status.leader = leader
            status.appliedIndex = index
            status.isLearner = learner
            status.errors = errors
            return .init(endpoint: "m\(n)", status: .success(status))
        }
        let order = EtcdClient.order([
            state(1, leader: 1, index: 5000), state(2, leader: 1, index: 4990), state(3, leader: 1, index: 100),
            state(4, leader: 1, index: 5000, learner: true), state(5, leader: 0, index: 5000),
            .init(endpoint: "m6", status: .failure(EtcdError(.connect, ""))),
            state(7, leader: 1, index: 5000, errors: ["memberID:7 alarm:CORRUPT"]), state(2, leader: 1, index: 4990),
        ])
        #expect(order.map(\.endpoint) == ["m2", "m1", "m3", "m5"])
    }
}

@Suite struct CRC32CTests {
    @Test func knownSumAndCombination() {
        #expect(CRC32C.update(0, Array("123456789".utf8)) == 0xe306_9283)
        for _ in 0..<200 {
            let a = (0..<Int.random(in: 0..<100)).map { _ in UInt8.random(in: 0...255) }
            let b = (0..<Int.random(in: 0..<10_000)).map { _ in UInt8.random(in: 0...255) }
            let whole = CRC32C.update(0, a + b)
            #expect(CRC32C.update(CRC32C.update(0, a), b) == whole)
            let combined = CRC32C.combine(
                CRC32C.update(0, a), CRC32C.update(0, b), lengthOfB: UInt64(b.count))
            #expect(combined == whole)
        }
    }

    /// Long inputs are summed in lanes side by side, short ones are not: pieces that are too short for lanes say what is right.
    @Test func lanesGiveTheSumOfOneWalk() {
        for length in [3071, 3072, 3073, 4096, 6144, 9217, 65_536] {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255) }
            for start in [0, 1, 7] {
                let piecewise = stride(from: start, to: length, by: 100).reduce(UInt32(0)) { sum, at in
                    CRC32C.update(sum, Array(bytes[at..<min(length, at + 100)]))
                }
                #expect(CRC32C.update(0, Array(bytes[start...])) == piecewise)
            }
        }
    }
}
