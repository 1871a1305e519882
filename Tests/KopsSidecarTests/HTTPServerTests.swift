import Logging
import Platform
import ServiceLifecycle
import TestSupport
import Testing

@testable import KopsSidecar

/// The server on a port of loopback, with routes of its own.
private final class Served: Sendable {
    let port: Int
    let metrics = MetricRegistry()
    private let group: ServiceGroup
    private let running: Task<Void, any Error>

    init(_ routes: [Route], firstHeadTimeout: Int64 = 10_000, maxConnections: Int = 512) async throws {
        var log = Logger(label: "test")
        log.logLevel = .critical
        let access = WebAccess(log: log)
        let table = RouteTable(routes, access: access, metrics: metrics, log: log)
        var options = HTTPServerOptions(host: "127.0.0.1", port: 0)
        options.firstHeadTimeout = firstHeadTimeout
        options.maxConnections = maxConnections
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

    /// Does not wait for anybody.
    func cancel() async {
        running.cancel()
        _ = await running.result
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
        let client = try LoopbackClient(served.port, receiveBuffer: 1 << 16)
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
            let client = try LoopbackClient(served.port, receiveBuffer: 1 << 16)
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
        let (idle, busy) = (try LoopbackClient(served.port), try LoopbackClient(served.port))
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

    @Test func moreConnectionsThanThereIsRoomForWait() async throws {
        let served = try await Served([.get("/") { _ in .text(200, "here\n") }], maxConnections: 1)
        let first = try LoopbackClient(served.port)
        first.send("GET / HTTP/1.1\n\n")
        _ = try await first.receive { $0 > 0 }
        // The system takes these connections; the server comes to them as others go.
        let others = try (0..<8).map { _ in try LoopbackClient(served.port) }
        for client in others { client.send("GET / HTTP/1.1\nConnection: close\n\n") }
        let shown = String(decoding: served.metrics.expose(), as: UTF8.self)
        #expect(shown.contains("\nkops_http_connections "), "\(shown)")
        first.send("GET / HTTP/1.1\nConnection: close\n\n")
        _ = try await first.receive()
        for client in others {
            #expect(String(decoding: try await client.receive(), as: UTF8.self).hasSuffix("here\n"))
        }
        try await served.stop()
    }

    @Test func aCancelledServerWaitsForNobody() async throws {
        let (asked, tell) = AsyncStream<Void>.makeStream()
        let served = try await Served([
            .get("/never") { _ in
                tell.yield()
                try await Task.sleep(for: .seconds(3600))
                return .text(200, "")
            }
        ])
        let client = try LoopbackClient(served.port)
        client.send("GET /never HTTP/1.1\n\n")
        for await _ in asked { break }
        await served.cancel()
        #expect(try await client.receive().isEmpty)
    }

    @Test func whoSaysNothingHoldsNoPlace() async throws {
        let served = try await Served([.get("/") { _ in .text(200, "here\n") }], firstHeadTimeout: 200)
        let (silent, half) = (try LoopbackClient(served.port), try LoopbackClient(served.port))
        half.send("GET / HTTP/1.1\nHost")
        #expect(try await silent.receive().isEmpty)
        #expect(try await half.receive().isEmpty)
        let quick = try LoopbackClient(served.port)
        quick.send("GET / HTTP/1.1\n\n")
        quick.endOutput()
        #expect(String(decoding: try await quick.receive(), as: UTF8.self).hasSuffix("here\n"))
        try await served.stop()
    }

    @Test func aRefusalReachesAClientThatIsStillSending() async throws {
        let served = try await Served([Route(["POST"], "/") { _ in .text(200, "here\n") }])
        let client = try LoopbackClient(served.port)
        client.send("POST / HTTP/1.1\nContent-Length: 1000000000\n\n" + String(repeating: "x", count: 1 << 20))
        let answer = String(decoding: try await client.receive(), as: UTF8.self)
        #expect(answer.hasPrefix("HTTP/1.1 413 ") && answer.hasSuffix("bytes\n"), "\(answer)")
        try await served.stop()
    }
}
