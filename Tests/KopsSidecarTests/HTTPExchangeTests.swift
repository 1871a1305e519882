import NIOCore
import NIOEmbedded
import NIOHTTP1
import Testing

@testable import KopsSidecar

/// A connection without a socket: bytes go in and come out, time passes when a test says so.
private final class Wire {
    let channel = EmbeddedChannel()
    private(set) var asked: [APIRequest] = []
    private var waiting: [@Sendable (APIReply) -> Void] = []
    /// Jobs that pieces of answers wait for; run by `run`.
    private var jobs: [@Sendable () -> Void] = []
    var takesJobs = true
    var closed: Bool { !channel.isActive }

    /// `reply` answers at once; nil waits for `answer`.
    init(
        limits: HTTPExchange.Limits = HTTPExchange.Limits(),
        reply: @escaping (APIRequest) -> APIReply? = { .text(200, "\($0.method) \($0.path) \($0.body.count)") }
    ) throws {
        let exchange = HTTPExchange(
            limits: limits,
            work: { [weak self] job in
                guard let self, takesJobs else { return false }
                jobs.append(job)
                return true
            },
            answer: { [weak self] request, done in
                self?.asked.append(request)
                if let reply = reply(request) { done(reply) } else { self?.waiting.append(done) }
            })
        try exchange.addBehindCodec(channel.pipeline.syncOperations)
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()

    }

    deinit { _ = try? channel.finish(acceptAlreadyClosed: true) }

    func send(_ text: String) throws {
        var buffer = ByteBuffer()
        buffer.writeString(text.replacing("\n", with: "\r\n"))
        // A refusal is written, and the decoder's error is not passed on.
        try channel.writeInbound(buffer)
    }

    func answer(_ reply: APIReply) {
        waiting.removeFirst()(reply)
        channel.embeddedEventLoop.run()
    }

    /// Runs the jobs there are; how many.
    func run() -> Int {
        let now = jobs
        jobs = []
        for job in now { job() }
        channel.embeddedEventLoop.run()
        return now.count
    }

    /// All that was sent since it was asked last, without Date fields.
    func received() throws -> String {
        var text = ""
        while let data = try channel.readOutbound(as: IOData.self) {
            if case .byteBuffer(let buffer) = data { text += String(buffer: buffer) }
        }
        let lines = text.replacing("\r\n", with: "\n").split(separator: "\n", omittingEmptySubsequences: false)
        return lines.filter { !$0.hasPrefix("Date: ") }.joined(separator: "\n")
    }

    func pass(_ time: TimeAmount) { channel.embeddedEventLoop.advanceTime(by: time) }

    func endInput() { channel.pipeline.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }

    func quiesce() { channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent()) }

    func setWritable(_ writable: Bool) {
        channel.isWritable = writable
        channel.pipeline.fireChannelWritabilityChanged()
    }
}

private func ok(_ body: String, _ fields: String = "") -> String {
    "HTTP/1.1 200 OK\nContent-Type: text/plain; charset=utf-8\n\(fields)Content-Length: \(body.utf8.count)\n\n\(body)"
}

private let closes = "Connection: close\n"

/// Pieces "0", "1", … before the end.
private func counted(_ count: Int) -> APIReply {
    let next = NIOLockedCounter()
    var reply = APIReply(200, "text/plain", [])
    reply.body = .pieces {
        let number = next.next()
        return number < count ? Array("\(number)".utf8) : nil
    }
    return reply
}

private final class NIOLockedCounter: @unchecked Sendable {
    // Unchecked: each test uses it on one thread.
    private var value = 0
    func next() -> Int {
        defer { value += 1 }
        return value
    }
}

@Suite struct HTTPExchangeTests {
    @Test func aRequestSplitAtEveryByte() throws {
        let requests = [
            "POST /a?b=c HTTP/1.1\nHost: h\nContent-Length: 5\n\nhello",
            "POST /a?b=c HTTP/1.1\nHost: h\nTransfer-Encoding: chunked\n\n2\nhe\n3\nllo\n0\n\n",
        ]
        for request in requests {
            let bytes = Array(request.replacing("\n", with: "\r\n").utf8)
            for cut in 1..<bytes.count {
                let wire = try Wire()
                for part in [bytes[..<cut], bytes[cut...]] {
                    #expect(wire.asked.isEmpty)
                    try wire.channel.writeInbound(ByteBuffer(bytes: part))
                }
                #expect(try wire.received() == ok("POST /a 5"))
                #expect(wire.asked.first?.parameter("b") == "c" && wire.asked.first?.header("host") == "h")
                #expect(wire.asked.first?.body == Array("hello".utf8))
            }
            let wire = try Wire()
            for byte in bytes { try wire.channel.writeInbound(ByteBuffer(bytes: [byte])) }
            #expect(try wire.received() == ok("POST /a 5"))
        }
    }

    @Test func pipelinedRequestsAreAnsweredInOrderOneAtATime() throws {
        let wire = try Wire { _ in nil }
        try wire.send("GET /1 HTTP/1.1\n\nPOST /2 HTTP/1.1\nContent-Length: 3\n\nabcGET /3 HTTP/1.1\n\nGET /4 HT")
        #expect(wire.asked.map(\.path) == ["/1"])
        wire.answer(.text(200, "one"))
        #expect(try wire.received() == ok("one"))
        #expect(wire.asked.map(\.path) == ["/1", "/2"] && wire.asked[1].body == Array("abc".utf8))
        wire.answer(.text(200, "two"))
        wire.answer(.text(200, "three"))
        #expect(try wire.received() == ok("two") + ok("three"))
        #expect(wire.asked.count == 3)
        try wire.send("TP/1.1\n\n")
        wire.answer(.text(200, "four"))
        #expect(try wire.received() == ok("four"))
        #expect(!wire.closed)
    }

    @Test func manyPipelinedRequestsWithAnswersAtOnce() throws {
        let wire = try Wire()
        try wire.send(String(repeating: "GET /x HTTP/1.1\n\n", count: 2000))
        #expect(try wire.received() == String(repeating: ok("GET /x 0"), count: 2000))
    }

    @Test func readingStopsWhileRequestsWait() throws {
        let wire = try Wire { _ in nil }
        final class Reads: ChannelOutboundHandler {
            typealias OutboundIn = Never
            var count = 0
            func read(context: ChannelHandlerContext) {
                count += 1
                context.read()
            }
        }
        let reads = Reads()
        try wire.channel.pipeline.syncOperations.addHandler(reads, position: .first)
        try wire.send("GET /1 HTTP/1.1\n\n")
        wire.channel.read()
        #expect(reads.count == 1, "the client's going away must be seen")
        try wire.send("GET /2 HTTP/1.1\n\n")
        wire.channel.read()
        wire.channel.read()
        #expect(reads.count == 1)
        wire.answer(.text(200, "one"))
        #expect(reads.count == 2, "reading goes on when the queue has been taken up")
    }

    @Test func tooLargeBodiesAreRefused() throws {
        var limits = HTTPExchange.Limits()
        limits.bodyBytes = 5
        let refusal =
            "HTTP/1.1 413 Payload Too Large\nContent-Type: text/plain; charset=utf-8\n\(closes)"
            + "Content-Length: 43\n\nthe request's body is larger than 5 bytes\n"
        let requests = [
            "POST /a HTTP/1.1\nContent-Length: 6\n\n",
            "POST /a HTTP/1.1\nContent-Length: 6\nExpect: 100-continue\n\n",
            "POST /a HTTP/1.1\nTransfer-Encoding: chunked\n\n3\nabc\n3\ndef\n0\n\nGET /b HTTP/1.1\n\n",
        ]
        for request in requests {
            let wire = try Wire(limits: limits)
            try wire.send(request)
            let text = try wire.received()
            #expect(text.hasPrefix("HTTP/1.1 413 ") && text.contains(closes) && text.hasSuffix("than 5 bytes\n"))
            #expect(text.split(separator: "HTTP/1.1").count == 1, "one answer: \(text) \(refusal.count)")
            #expect(wire.asked.isEmpty)
            try wire.send("GET /c HTTP/1.1\n\n")
            wire.pass(.seconds(6))
            #expect(wire.closed && wire.asked.isEmpty)
        }
        let wire = try Wire(limits: limits)
        try wire.send("POST /a HTTP/1.1\nContent-Length: 5\n\nabcdePOST /b HTTP/1.1\nContent-Length: 5\n\nabcde")
        #expect(try wire.received() == ok("POST /a 5") + ok("POST /b 5"), "the limit is for each")
    }

    @Test func whatIsNoRequestIsRefused() throws {
        for text in ["hello\n\n", "GET\n\n", "GET / HTTP/1.1\nno field\n\n", "\u{16}\u{3}\u{1}\n\n"] {
            let wire = try Wire()
            try? wire.send(text)
            let answer = try wire.received()
            #expect(answer.hasPrefix("HTTP/1.1 400 Bad Request\n") && answer.contains(closes), "\(text): \(answer)")
            wire.pass(.seconds(6))
            #expect(wire.closed && wire.asked.isEmpty)
        }
        // A request before it gets its answer.
        let wire = try Wire { _ in nil }
        try? wire.send("GET /1 HTTP/1.1\n\nhello\n\n")
        #expect(wire.asked.count == 1)
        wire.answer(.text(200, "one"))
        #expect(try wire.received() == ok("one", closes))
        #expect(wire.closed)
    }

    @Test func smuggledLengthsAreRefused() throws {
        let requests = [
            "POST /a HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\nGET /b HTTP/1.1\n\n",
            "POST /a HTTP/1.1\nContent-Length: 5\nContent-Length: 6\n\nhello",
            "POST /a HTTP/1.1\nContent-Length: -1\n\n",
            "POST /a HTTP/1.1\nContent-Length: 99999999999999999999999\n\n",
        ]
        for request in requests {
            let wire = try Wire()
            try? wire.send(request)
            #expect(try wire.received().hasPrefix("HTTP/1.1 4"), "\(request)")
            wire.pass(.seconds(6))
            #expect(wire.closed && wire.asked.isEmpty)
        }
    }

    @Test func bodiesAreAskedFor() throws {
        let wire = try Wire()
        try wire.send("POST /a HTTP/1.1\nContent-Length: 5\nExpect: 100-continue\n\n")
        #expect(try wire.received() == "HTTP/1.1 100 Continue\n\n")
        try wire.send("hello")
        #expect(try wire.received() == ok("POST /a 5"))
        try wire.send("GET /b HTTP/1.1\nExpect: 100-continue\n\n")
        #expect(try wire.received() == ok("GET /b 0"))
    }

    @Test func connectionsStayAsTheClientWants() throws {
        func answers(_ request: String) throws -> (String, closed: Bool) {
            let wire = try Wire()
            try wire.send(request)
            return (try wire.received(), wire.closed)
        }
        #expect(try answers("GET / HTTP/1.1\n\n") == (ok("GET / 0"), false))
        #expect(try answers("GET / HTTP/1.1\nConnection: close\n\n") == (ok("GET / 0", closes), true))
        let old = ok("GET / 0", closes).replacing("HTTP/1.1", with: "HTTP/1.0")
        #expect(try answers("GET / HTTP/1.0\n\n") == (old, true))
        let kept = ok("GET / 0", "Connection: keep-alive\n").replacing("HTTP/1.1", with: "HTTP/1.0")
        #expect(try answers("GET / HTTP/1.0\nConnection: keep-alive\n\n") == (kept, false))
        // Behind these the decoder would read no further request.
        #expect(try answers("GET / HTTP/1.1\nConnection: Upgrade\nUpgrade: h2c\n\n").closed)
    }

    @Test func targetsMaySayTheServer() throws {
        for (target, path, value) in [
            ("/a/b?c=d?e", "/a/b", "d?e"), ("http://h:1/a?c=%2F", "/a", "/"), ("HTTPS://h?c=d", "", "d"),
            ("http://h", "/", nil), ("*", "*", nil), ("/?c=", "/", ""), ("/http://h/?c=1", "/http://h/", "1"),
        ] {
            let wire = try Wire()
            try wire.send("\(target == "*" ? "OPTIONS" : "GET") \(target) HTTP/1.1\nHost: h\n\n")
            #expect(wire.asked.first?.path == path && wire.asked.first?.parameter("c") == value, "\(target)")
        }
    }

    @Test func answersWithoutABody() throws {
        let wire = try Wire { request in
            request.path == "/pieces" ? counted(3) : APIReply(request.path == "/204" ? 204 : 200, "a", [1, 2])
        }
        try wire.send("HEAD /a HTTP/1.1\n\n")
        #expect(try wire.received() == "HTTP/1.1 200 OK\nContent-Type: a\nContent-Length: 2\n\n")
        try wire.send("HEAD /pieces HTTP/1.1\n\n")
        #expect(wire.run() == 0)
        #expect(try wire.received() == "HTTP/1.1 200 OK\nContent-Type: text/plain\n\n")
        try wire.send("GET /204 HTTP/1.1\n\n")
        #expect(try wire.received().split(separator: "\n") == ["HTTP/1.1 204 No Content", "Content-Type: a"])
        #expect(!wire.closed)
    }

    @Test func fieldsThatWouldBeginOthersAreLeftOut() throws {
        let wire = try Wire { _ in
            var reply = APIReply.text(200, "x")
            reply.headers = [("A", "b\r\nC: d"), ("E F", "g"), ("H", "i")]
            return reply
        }
        try wire.send("GET / HTTP/1.1\n\n")
        #expect(try wire.received() == ok("x", "H: i\n"))
    }

    // MARK: - Pieces

    @Test func piecesWaitForASlowClient() throws {
        let wire = try Wire { $0.path == "/pieces" ? counted(3) : .text(200, "x") }
        try wire.send("GET /pieces HTTP/1.1\n\nGET /x HTTP/1.1\n\n")
        let head = "HTTP/1.1 200 OK\nContent-Type: text/plain\nTransfer-Encoding: chunked\n\n"
        #expect(try wire.received() == head)
        wire.setWritable(false)
        #expect(wire.run() == 1)
        #expect(try wire.received() == "1\n0\n")
        #expect(wire.run() == 0, "the next piece waits")
        wire.setWritable(true)
        wire.setWritable(true)
        #expect(wire.run() == 1, "one piece at a time")
        #expect(wire.run() == 1)
        wire.setWritable(false)
        #expect(wire.run() == 1)
        #expect(try wire.received() == "1\n1\n1\n2\n0\n\n")
        #expect(wire.asked.count == 1, "the next request waits for the answer to go")
        wire.setWritable(true)
        #expect(try wire.received() == ok("x"))
    }

    @Test func aClientThatTakesNothingIsLeft() throws {
        let wire = try Wire { _ in counted(3) }
        try wire.send("GET / HTTP/1.1\n\n")
        wire.setWritable(false)
        #expect(wire.run() == 1)
        wire.pass(.seconds(110))
        #expect(!wire.closed)
        wire.pass(.seconds(300))
        #expect(wire.closed)
        #expect(wire.run() == 0)
    }

    @Test func brokenPiecesEndTheConnection() throws {
        let wire = try Wire { _ in
            var reply = APIReply(200, "a", [])
            reply.body = .pieces { throw APIError(.internalError, "broken") }
            return reply
        }
        try wire.send("GET / HTTP/1.1\n\n")
        #expect(wire.run() == 1)
        #expect(wire.closed)
        #expect(try !wire.received().hasSuffix("0\n\n"), "the client must not take it for whole")
        let busy = try Wire { _ in counted(3) }
        busy.takesJobs = false
        try busy.send("GET / HTTP/1.1\n\n")
        #expect(busy.closed)
    }

    @Test func piecesToAnOldClientEndWithTheConnection() throws {
        let wire = try Wire { _ in counted(2) }
        try wire.send("GET / HTTP/1.0\nConnection: keep-alive\n\n")
        while wire.run() > 0 {}
        #expect(try wire.received() == "HTTP/1.0 200 OK\nContent-Type: text/plain\n\(closes)\n01")
        #expect(wire.closed)
    }

    // MARK: - Time and ends

    @Test func connectionsWithoutARequestAreClosed() throws {
        let silent = try Wire()
        silent.pass(.seconds(9))
        try silent.send("GET / HT")
        #expect(!silent.closed)
        silent.pass(.seconds(2))
        #expect(silent.closed && silent.asked.isEmpty, "a head that drips in holds no place")
        let idle = try Wire { _ in nil }
        try idle.send("GET / HTTP/1.1\n\n")
        idle.pass(.hours(1))
        #expect(!idle.closed, "work has limits of its own")
        idle.answer(.text(200, "x"))
        idle.pass(.seconds(119))
        #expect(!idle.closed)
        idle.pass(.seconds(2))
        #expect(idle.closed)
        let drip = try Wire()
        try drip.send("POST / HTTP/1.1\nContent-Length: 1000\n\n")
        for _ in 0..<4 {
            drip.pass(.seconds(70))
            try drip.send("x")
        }
        #expect(!drip.closed)
        drip.pass(.seconds(70))
        #expect(drip.closed)
    }

    @Test func stoppingWaitsForTheAnswer() throws {
        let idle = try Wire()
        idle.quiesce()
        #expect(idle.closed)
        let busy = try Wire { _ in nil }
        try busy.send("GET / HTTP/1.1\n\n")
        busy.quiesce()
        #expect(!busy.closed)
        busy.answer(.text(200, "x"))
        #expect(try busy.received() == ok("x", closes))
        #expect(busy.closed)
        let half = try Wire()
        try half.send("POST /a HTTP/1.1\nContent-Length: 2\n\na")
        half.quiesce()
        try half.send("b")
        #expect(try half.received() == ok("POST /a 2", closes))
        #expect(half.closed)
    }

    @Test func longWorkEndsWhenTheClientGoes() throws {
        let early = try Wire { _ in nil }
        try early.send("GET / HTTP/1.1\n\n")
        early.endInput()
        #expect(early.asked[0].cancellation.isCancelled == false)
        early.pass(.milliseconds(900))
        #expect(early.asked[0].cancellation.isCancelled == false, "quick work is finished")
        early.pass(.milliseconds(200))
        #expect(early.asked[0].cancellation.isCancelled)
        let late = try Wire { _ in nil }
        try late.send("GET / HTTP/1.1\n\n")
        late.pass(.seconds(5))
        late.channel.pipeline.fireChannelInactive()
        #expect(late.asked[0].cancellation.isCancelled)
        late.answer(.text(200, "nobody hears"))
        #expect(try late.received() == "")
        // Who only says that no more comes, and waits, is answered.
        let half = try Wire { _ in nil }
        try half.send("GET /1 HTTP/1.1\n\nGET /2 HTTP/1.1\n\n")
        half.endInput()
        half.answer(.text(200, "one"))
        half.answer(.text(200, "two"))
        #expect(try half.received() == ok("one") + ok("two", closes))
        half.pass(.seconds(2))
        #expect(half.closed && half.asked.allSatisfy { !$0.cancellation.isCancelled })
        let torn = try Wire()
        try torn.send("POST / HTTP/1.1\nContent-Length: 9\n\nabc")
        torn.endInput()
        #expect(torn.closed && torn.asked.isEmpty)
    }

    @Test func dates() {
        #expect(DateHeader.text(0) == "Thu, 01 Jan 1970 00:00:00 GMT")
        #expect(DateHeader.text(951_827_696) == "Tue, 29 Feb 2000 12:34:56 GMT")
        #expect(DateHeader.text(1_795_593_909) == "Wed, 25 Nov 2026 08:05:09 GMT")
    }
}
