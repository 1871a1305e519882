import TestSupport
import Testing

@testable import Platform

@Suite struct DNSTests {
    private let question = DNSMessage.question(id: 0x1234, name: "_m._tcp.example.test.", type: .srv) ?? []

    /// An answer with one SRV record whose owner and target point into the question.
    private var good: [UInt8] {
        var out = question
        out.replaceSubrange(2..<12, with: [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0])
        out.removeLast(11)
        out += [0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 10, 0, 1, 0, 2, 0x23, 0x8c, 1, UInt8(ascii: "n"), 0xc0, 20]
        return out
    }

    @Test func namesPointBackwards() throws {
        let answer = try DNSMessage.answer(good, to: question, type: .srv)
        #expect(answer == .init(code: 0, isTruncated: false, records: [.init(target: "n.example.test.", port: 9100)]))
    }

    @Test func whatDoesNotFitTheQuestionIsNoAnswer() {
        var other = good
        other[0] = 0
        #expect(throws: DNSMessage.Damaged.self) { try DNSMessage.answer(other, to: question, type: .srv) }
        other = good
        other[13] = UInt8(ascii: "x")
        #expect(throws: DNSMessage.Damaged.self) { try DNSMessage.answer(other, to: question, type: .srv) }
        #expect(throws: DNSMessage.Damaged.self) { try DNSMessage.answer(question, to: question, type: .srv) }
        for length in 0..<good.count {
            #expect(throws: DNSMessage.Damaged.self) {
                try DNSMessage.answer(Array(good.prefix(length)), to: question, type: .srv)
            }
        }
    }

    @Test func aNameThatPointsAtItselfEnds() {
        var circle = good
        circle[circle.count - 1] = UInt8(circle.count - 2)
        #expect(throws: DNSMessage.Damaged.self) { try DNSMessage.answer(circle, to: question, type: .srv) }
    }

    @Test func namesThatCannotBeAreNotAsked() {
        let long = String(repeating: "a", count: 64)
        for name in ["a..b", ".", "", long, Array(repeating: "abcdefg", count: 33).joined(separator: ".")] {
            #expect(DNSMessage.question(id: 1, name: name, type: .mx) == nil, "\(name)")
        }
    }

    @Test func resolvConfIsReadAsTheCLibraryReadsIt() {
        let client = DNSClient(
            resolvConf: """
                # comment
                nameserver 10.0.0.1
                nameserver fd00::1 ; another
                nameserver 10.0.0.3
                nameserver 10.0.0.4
                domain old.test
                search a.test b.test.
                options ndots:2 timeout:1 attempts:9 rotate
                """)
        #expect(client.servers.map(\.address) == ["10.0.0.1", "fd00::1", "10.0.0.3"])
        #expect(client.candidates("x.y") == ["x.y.a.test.", "x.y.b.test.", "x.y."])
        #expect(client.candidates("x.y.z") == ["x.y.z.", "x.y.z.a.test.", "x.y.z.b.test."])
        #expect(client.candidates("x.") == ["x."])
        #expect(client.attempts == 5 && client.timeout == .seconds(1))
        #expect(DNSClient(resolvConf: "").servers.map(\.address) == ["127.0.0.1"])
    }

    @Test func nobodyThereIsTold() throws {
        var client = DNSClient()
        client.servers = [("127.0.0.1", 1)]
        client.timeout = .milliseconds(200)
        #expect(throws: DNSClient.Failure.self) { try client.lookUp("example.test", .ns) }
    }
}

/// Answers changed at random: they are read or refused, and neither trap nor take long.
@Suite struct DNSFuzzTests {
    @Test func answersMayBeAnything() {
        let question = DNSMessage.question(id: 0x1234, name: "_m._tcp.example.test.", type: .srv) ?? []
        var answer = question
        answer.replaceSubrange(2..<12, with: [0x81, 0x80, 0, 1, 0, 3, 0, 0, 0, 0])
        answer.removeLast(11)
        for _ in 0..<3 {
            answer += [
                0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 10, 0, 1, 0, 2, 0x23, 0x8c, 1, UInt8(ascii: "n"), 0xc0, 20,
            ]
        }
        var fuzz = Fuzz(corpus: [answer])
        fuzz.run(rounds: 20_000) { bytes in
            for type in [DNSMessage.RecordType.srv, .mx, .ns] {
                if let read = try? DNSMessage.answer(bytes, to: question, type: type) {
                    #expect(read.records.allSatisfy { $0.target.utf8.count <= 3 * 255 })
                }
            }
        }
    }
}
