import Glibc
import Logging
import Platform
import ServiceLifecycle
import TestSupport
import Testing

@testable import KopsSidecar

/// The server on a port of loopback, with routes of its own.
private final class Served: Sendable {
    let port: Int
    private let group: ServiceGroup
    private let running: Task<Void, any Error>

    init(_ routes: [Route], firstHeadTimeout: Int64 = 10_000) async throws {
        var log = Logger(label: "test")
        log.logLevel = .critical
        let access = WebAccess(log: log)
        let table = RouteTable(routes, access: access, metrics: MetricRegistry(), log: log)
        var options = HTTPServerOptions(host: "127.0.0.1", port: 0)
        options.firstHeadTimeout = firstHeadTimeout
        let (ports, told) = AsyncStream<Int>.makeStream()
        let server = makeHTTPServer(table, access: access, options: options, log: log) { told.yield($0) }
        let group = ServiceGroup(services: [server], gracefulShutdownSignals: [], logger: log)
        running = Task { try await group.run() }
        self.group = group
        var iterator = ports.makeAsyncIterator()
        guard let port = await iterator.next() else { throw TestFailure("no port") }
        self.port = port
    }

    /// Returns when every connection has ended.
    func stop() async throws {
        await group.triggerGracefulShutdown()
        try await running.value
    }
}

/// A blocking client, on threads that may wait.
private final class Client: Sendable {
    private let fd: Int32

    init(_ port: Int, receiveBuffer: Int32 = 0) throws {
        fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var size = receiveBuffer
        if size > 0 { setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, 4) }
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw TestFailure("connect: \(errno)") }
    }

    deinit { close(fd) }

    func send(_ text: String) {
        let bytes = Array(text.replacing("\n", with: "\r\n").utf8)
        _ = Glibc.send(fd, bytes, bytes.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
    }

    func endOutput() { shutdown(fd, Int32(truncatingIfNeeded: SHUT_WR)) }

    /// What comes until `enough` says so of the number of bytes, or the connection ends.
    func receive(_ enough: @escaping @Sendable (Int) -> Bool = { _ in false }) async throws -> [UInt8] {
        try await WorkerPool.blocking.run { [fd] in
            var all: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            while !enough(all.count) {
                let count = recv(fd, &buffer, buffer.count, 0)
                if count < 0, errno != ECONNRESET { throw TestFailure("receive: \(errno)") }
                if count <= 0 { break }
                all += buffer[..<count]
            }
            return all
        }
    }
}

@Suite struct HTTPServerTests {
    @Test func aLargeAnswerWaitsForASlowClient() async throws {
        let made = Lock(0)
        let served = try await Served([
            .get("/large") { _ in
                var reply = APIReply(200, "a", [])
                reply.body = .pieces {
                    made.withLock { made in
                        if made == 100 { return nil }
                        made += 1
                        return [UInt8](repeating: UInt8(made), count: 1 << 20)
                    }
                }
                return reply
            }
        ])
        let client = try Client(served.port, receiveBuffer: 1 << 16)
        client.send("GET /large HTTP/1.1\nConnection: close\n\n")
        _ = try await client.receive { $0 > 0 }
        // Until the system's buffers are full nothing says how far it may come; then it stands.
        var before = -1
        try await eventually("the server waits") {
            let now = made.withLock { $0 }
            defer { before = now }
            try await Task.sleep(for: .milliseconds(200))
            return now == before
        }
        #expect(made.withLock { $0 } < 50)
        let rest = try await client.receive()
        #expect(made.withLock { $0 } == 100)
        #expect(rest.count > 90 << 20 && rest.suffix(5) == Array("0\r\n\r\n".utf8)[...])

        // A client that goes away in the middle takes the rest with it.
        made.withLock { $0 = 0 }
        do {
            let client = try Client(served.port, receiveBuffer: 1 << 16)
            client.send("GET /large HTTP/1.1\n\n")
            _ = try await client.receive { $0 > 0 }
        }
        try await served.stop()
        #expect(made.withLock { $0 } < 50)
    }

    @Test func stoppingAnswersWhatWasAsked() async throws {
        let (asked, tell) = AsyncStream<Void>.makeStream()
        let (goOn, go) = AsyncStream<Void>.makeStream()
        let served = try await Served([
            .get("/slow") { _ in
                tell.yield()
                for await _ in goOn { break }
                return .text(200, "done\n")
            }
        ])
        let (idle, busy) = (try Client(served.port), try Client(served.port))
        idle.send("GET /nothing HTTP/1.1\n\n")
        _ = try await idle.receive { $0 > 0 }
        busy.send("GET /slow HTTP/1.1\n\n")
        for await _ in asked { break }
        let stopped = Task { try await served.stop() }
        #expect(try await idle.receive().isEmpty, "an idle connection is closed")
        go.yield()
        let answer = String(decoding: try await busy.receive(), as: UTF8.self)
        #expect(answer.contains("Connection: close\r\n") && answer.hasSuffix("done\n"), "\(answer)")
        try await stopped.value
    }

    @Test func whoSaysNothingHoldsNoPlace() async throws {
        let served = try await Served([.get("/") { _ in .text(200, "here\n") }], firstHeadTimeout: 200)
        let (silent, half) = (try Client(served.port), try Client(served.port))
        half.send("GET / HTTP/1.1\nHost")
        #expect(try await silent.receive().isEmpty)
        #expect(try await half.receive().isEmpty)
        let quick = try Client(served.port)
        quick.send("GET / HTTP/1.1\n\n")
        quick.endOutput()
        #expect(String(decoding: try await quick.receive(), as: UTF8.self).hasSuffix("here\n"))
        try await served.stop()
    }

    @Test func aRefusalReachesAClientThatIsStillSending() async throws {
        let served = try await Served([Route(["POST"], "/") { _ in .text(200, "here\n") }])
        let client = try Client(served.port)
        client.send("POST / HTTP/1.1\nContent-Length: 1000000000\n\n" + String(repeating: "x", count: 1 << 20))
        let answer = String(decoding: try await client.receive(), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 413 ") && answer.hasSuffix("bytes\n"), "\(answer)")
        try await served.stop()
    }
}
