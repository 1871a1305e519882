import Glibc
import Testing

@testable import Platform

/// A server of one answer: listens on a free loopback port, answers each connection with the same bytes.
private final class OneAnswer: Sendable {
    let port: Int
    private let fd: Int32

    init(_ answer: [UInt8], thenHang: Bool = false, address host: UInt32 = 0x7f00_0001) {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(host).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let fd = fd
        withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(fd, $0, length)
                _ = getsockname(fd, $0, &length)
            }
        }
        listen(fd, 16)
        port = Int(UInt16(bigEndian: address.sin_port))
        startThread(name: "one-answer") {
            while true {
                let peer = accept(fd, nil, nil)
                if peer < 0 { return }
                var buffer = [UInt8](repeating: 0, count: 65536)
                _ = recv(peer, &buffer, buffer.count, 0)
                _ = answer.withUnsafeBytes { send(peer, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                if !thenHang { close(peer) }
            }
        }
    }

    deinit {
        shutdown(fd, Int32(SHUT_RDWR))
        close(fd)
    }
}

@Suite struct PollPauseTests {
    @Test func asksSoonAfterBytesAndEverMoreRarelyWithoutThem() {
        var pause = PollPause()
        #expect(pause.next(hasMoved: false) == 1000)
        #expect(pause.next(hasMoved: true) == 1)
        #expect((0..<11).map { _ in pause.next(hasMoved: false) } == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000])
        #expect(pause.next(hasMoved: true) == 1)
        #expect(pause.next(hasMoved: true) == 1)
    }
}

@Suite struct HTTPClientTests {
    private func answer(_ head: String, _ body: [UInt8]) -> [UInt8] { Array((head + "\r\n\r\n").utf8) + body }

    @Test func answersWithStatusHeadersAndInflatedBody() async throws {
        let body = try Gzip.compress(Array("hello".utf8))
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nX-Tag: a\r\nContent-Length: \(body.count)"
        let server = OneAnswer(answer(head, body))
        let client = HTTPClient(name: "test")
        let response = try await client.send(HTTPRequest("GET", "http://127.0.0.1:\(server.port)/x"))
        #expect(response.status == 200)
        #expect(response.bodyText == "hello")
        #expect(response.header("x-tag") == "a")
        #expect(response.bytesReceived == body.count)
        client.shutdown()
    }

    @Test func wrongGzipIsBadEncoding() async throws {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5"
        let server = OneAnswer(answer(head, Array("hello".utf8)))
        let client = HTTPClient(name: "test")
        await #expect(throws: HTTPError(.badEncoding, "")) {
            try await client.send(HTTPRequest("GET", "http://127.0.0.1:\(server.port)/"))
        }
    }

    @Test func aBodyTooLargeEndsTheTransfer() async throws {
        let server = OneAnswer(answer("HTTP/1.1 200 OK", Array(repeating: 65, count: 100_000)))
        let client = HTTPClient(name: "test")
        var request = HTTPRequest("GET", "http://127.0.0.1:\(server.port)/")
        request.maxBodyBytes = 1000
        await #expect(throws: HTTPError(.bodyTooLarge, "")) { try await client.send(request) }
    }

    @Test func aHangingServerTimesOutAndCancelEnds() async throws {
        let server = OneAnswer([], thenHang: true)
        let client = HTTPClient(name: "test")
        var request = HTTPRequest("GET", "http://127.0.0.1:\(server.port)/")
        request.timeout = .milliseconds(50)
        await #expect(throws: HTTPError(.timeout, "")) { try await client.send(request) }
        request.timeout = nil
        let endless = request
        let task = Task { try await client.send(endless) }
        task.cancel()
        let result = await task.result
        #expect(throws: HTTPError(.cancelled, "")) { try result.get() }
        #expect(client.transfersInFlight == 0)
    }

    @Test func refusedAddressesAreNotConnectedTo() async throws {
        let client = HTTPClient(name: "test")
        var request = HTTPRequest("GET", "http://127.0.0.1:1/")
        request.allowAddress = { $0 != "127.0.0.1" }
        await #expect(throws: HTTPError(.refusedAddress, "")) { try await client.send(request) }
        request.allowAddress = nil
        await #expect(throws: HTTPError(.connect, "")) { try await client.send(request) }
    }

    /// A receiver that is allowed may not send the request on to one that is not.
    @Test func redirectionsToRefusedAddressesAreNotFollowed() async throws {
        let local = OneAnswer(answer("HTTP/1.1 200 OK\r\nContent-Length: 6", Array("secret".utf8)))
        // 127.0.0.2 stands for the outside: both are loopback's.
        let client = HTTPClient(name: "test")
        defer { client.shutdown() }
        for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
            for host in ["127.0.0.1", "localhost", "0x7f.1", "2130706433"] {
                let head = "HTTP/1.1 \(status)\r\nLocation: http://\(host):\(local.port)/\r\nContent-Length: 0"
                let outside = OneAnswer(answer(head, []), address: 0x7f00_0002)
                var request = HTTPRequest("POST", "http://127.0.0.2:\(outside.port)/")
                request.body = Array("{}".utf8)
                request.timeout = .seconds(90)
                request.allowAddress = { $0 == "127.0.0.2" }
                await #expect(throws: HTTPError(.refusedAddress, ""), "\(status) to \(host)") {
                    try await client.send(request)
                }
                request.allowAddress = nil
                #expect(try await client.send(request).bodyText == "secret", "\(status) to \(host)")
                // The connection that was made before the rule is not used past it.
                request.url = "http://127.0.0.1:\(local.port)/"
                request.allowAddress = { $0 == "127.0.0.2" }
                await #expect(throws: HTTPError(.refusedAddress, "")) { try await client.send(request) }
            }
        }
    }

    @Test func secretsAreRedacted() {
        #expect(redactURL("https://u:p@h/x?token=s&y") == "https://u:xxxxx@h/x?token=xxxxx&y")
        #expect(redactURL("http://h:1/") == "http://h:1/")
        #expect(redactURL("https://u:p@h:1/x/y?z", hidesPath: true) == "https://h:1/<secret>")
        #expect(redactURL("no URL", hidesPath: true) == "<secret>")
    }
}
