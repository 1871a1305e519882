import FoundationEssentials
import Glibc
import Logging
import Platform
import TestSupport
import Testing

@testable import ClusterOps

@Suite struct AuditTrailTests {
    private final class Bench: Sendable {
        let directory: String
        let now = Lock<Int64>(1_800_000_000_000)
        let metrics = MetricRegistry()

        init() throws { directory = try temporaryDirectory() }
        deinit { try? FileSystem.removeTree(directory) }

        func open() throws -> AuditTrail {
            try AuditTrail(
                path: directory + "/audit.sqlite", clock: WallClock { [now] in now.withLock { $0 } }, metrics: metrics,
                log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        }

        /// Waits until so many entries are kept.
        func settle(_ trail: AuditTrail, _ count: Int) async throws {
            try await eventually("\(count) entries are kept") { try trail.list(limit: 10_000).count == count }
        }
    }

    /// Takes batches as a server would; refuses them while told to.
    private final class Server: Sendable {
        struct State {
            var requests: [HTTPRequest] = []
            var answer = (status: 204, body: "")
        }
        let state = Lock(State())

        var transport: LogTransport {
            { [state] request in
                state.withLock { state in
                    state.requests.append(request)
                    var response = HTTPResponse()
                    response.status = state.answer.status
                    response.body = Array(state.answer.body.utf8)
                    return response
                }
            }
        }

        func bodies() -> [String] {
            state.withLock { $0.requests.map { String(decoding: $0.body ?? [], as: UTF8.self) } }
        }
    }

    @Test func keepsWhoDidWhatAndForgetsInTime() async throws {
        let bench = try Bench()
        let trail = try bench.open()
        trail.record(actor: "alice", action: "POST /api/v2/silences", succeeded: true)
        bench.now.withLock { $0 += 1000 }
        trail.record(actor: "schedule", action: "backup", succeeded: false, detail: "no etcd")
        try await bench.settle(trail, 2)
        let entries = try trail.list(limit: 10)
        #expect(entries.map(\.action) == ["backup", "POST /api/v2/silences"])
        #expect(entries.first?.detail == "no etcd")
        #expect(try trail.list(limit: 10, action: "POST /api").map(\.actor) == ["alice"])
        #expect(try trail.list(limit: 10, since: 1_800_000_001_000).count == 1)
        trail.apply(retention: 3_600_000, sinks: [], origin: LogOrigin(cluster: "c", node: "n"))
        bench.now.withLock { $0 += 3_600_000 - 500 }
        await trail.clean()
        #expect(try trail.list(limit: 10).map(\.action) == ["backup"])
        // A command beside it adds to the same trail, and the service sends it on.
        let other = AuditEntry(time: 1_800_000_009_000, actor: "command line", action: "restore", succeeded: true)
        try AuditTrail.append(other, toTrailIn: bench.directory)
        #expect(try trail.list(limit: 1).first?.action == "restore")
        let server = Server()
        #expect(
            await trail.ship(
                LokiSink(
                    url: "http://loki", origin: LogOrigin(cluster: "c", node: "n"), transport: server.transport)))
        #expect(server.bodies().joined().contains("restore"))
    }

    @Test func aCommandBeginsATrailInADataDirectoryButMakesNoDirectory() async throws {
        let bench = try Bench()
        let entry = AuditEntry(time: 1_800_000_000_000, actor: "command line", action: "backup now", succeeded: true)
        #expect(try AuditTrail.read(in: bench.directory, limit: 10) == nil)
        try AuditTrail.append(entry, toTrailIn: bench.directory)
        #expect(try AuditTrail.read(in: bench.directory, limit: 10)?.map(\.action) == ["backup now"])
        #expect(try FileSystem.status(AuditTrail.path(in: bench.directory)).map { $0.mode & 0o077 } == 0)
        #expect(try bench.open().list(limit: 10).map(\.action) == ["backup now"])
        let absent = bench.directory + "/absent"
        try AuditTrail.append(entry, toTrailIn: absent)
        #expect(!FileSystem.exists(absent))
    }

    /// Root's commands must not take the trail away from a service that runs as another user.
    @Test(.enabled(if: geteuid() == 0, "only root can give files away"))
    func theTrailBelongsToWhomTheDirectoryBelongs() throws {
        let bench = try Bench()
        #expect(chown(bench.directory, 65534, 65534) == 0)
        let entry = AuditEntry(time: 1_800_000_000_000, actor: "command line", action: "backup now", succeeded: true)
        try AuditTrail.append(entry, toTrailIn: bench.directory)
        for name in ["audit.sqlite", "audit.sqlite-wal", "audit.sqlite-shm"] {
            guard let status = try FileSystem.status(bench.directory + "/" + name) else { continue }
            #expect(status.owner == 65534, "\(name)")
        }
    }

    @Test func sendsEachEntryInOrderOnceAlsoOverARestartAndAFailure() async throws {
        let bench = try Bench()
        let server = Server()
        let origin = LogOrigin(cluster: "prod", node: "cp1")
        func sink() -> LokiSink { LokiSink(url: "http://loki:3100", origin: origin, transport: server.transport) }
        let trail = try bench.open()
        for number in 0..<3 { trail.record(action: "step \(number)", succeeded: true) }
        try await bench.settle(trail, 3)
        server.state.withLock { $0.answer = (503, "later") }
        #expect(await trail.ship(sink()) == false)
        server.state.withLock { $0.answer = (204, "") }
        #expect(await trail.ship(sink()))
        #expect(server.bodies().count == 2)
        #expect(server.bodies()[0] == server.bodies()[1], "what was refused is sent again")
        struct Push: Decodable {
            struct Stream: Decodable {
                var stream: [String: String]
                var values: [[String]]
            }
            var streams: [Stream]
        }
        let push = try JSONDecoder().decode(Push.self, from: Data(server.bodies()[1].utf8))
        let stream = try #require(push.streams.first)
        #expect(stream.stream == ["job": "kops-sidecar", "kind": "audit", "cluster": "prod", "node": "cp1"])
        #expect(stream.values.map { $0[0] } == stream.values.map { $0[0] }.sorted())
        #expect(stream.values.count == 3)
        #expect(stream.values[2][1].contains("\"action\":\"step 2\""))
        #expect(server.state.withLock { $0.requests.last?.url } == "http://loki:3100/loki/api/v1/push")
        // Another process goes on where this one was.
        let again = try bench.open()
        again.record(action: "after", succeeded: true)
        try await bench.settle(again, 4)
        #expect(await again.ship(sink()))
        #expect(server.bodies().count == 3)
        #expect(!server.bodies()[2].contains("step"))
        #expect(await again.ship(sink()))
        #expect(server.bodies().count == 3, "nothing new, nothing sent")
    }

    @Test func itsLoopSendsWhatIsNew() async throws {
        let bench = try Bench()
        let server = Server()
        let trail = try bench.open()
        trail.apply(
            retention: 3_600_000,
            sinks: [
                LokiSink(
                    url: "http://loki", origin: LogOrigin(cluster: "c", node: "n"), transport: server.transport)
            ], origin: LogOrigin(cluster: "c", node: "n"))
        let loop = Task { await trail.run() }
        trail.record(action: "something", succeeded: true)
        try await eventually("it is sent") { server.bodies().count == 1 }
        loop.cancel()
        await loop.value
    }

    @Test func elasticsearchIsBelievedByDocument() async throws {
        let server = Server()
        let sink = ElasticsearchSink(
            url: "http://es:9200", index: "audit", transport: server.transport)
        let origin = LogOrigin(cluster: "c", node: "n")
        var entry = AuditEntry(time: 1_800_000_000_000, actor: "a", action: "quote \" and\nline", succeeded: false)
        entry.id = 7
        server.state.withLock { $0.answer = (200, #"{"errors":false,"items":[{"create":{"status":201}}]}"#) }
        try await sink.send([entry.line(origin)])
        let lines = server.bodies()[0].split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines.count == 3)
        #expect(lines[0].contains("\"_id\":\"c-n-1800000000000-7\"") && lines[0].contains("\"_index\":\"audit\""))
        #expect(
            lines[1].contains("\"@timestamp\":\"2027-01-15T08:00:00Z\"") && lines[1].contains("\"result\":\"failure\""))
        // There already: an attempt whose answer was lost.
        server.state.withLock { $0.answer = (200, #"{"errors":true,"items":[{"create":{"status":409}}]}"#) }
        try await sink.send([entry.line(origin)])
        server.state.withLock {
            $0.answer = (200, #"{"errors":true,"items":[{"create":{"status":429,"error":{"reason":"busy"}}}]}"#)
        }
        await #expect(throws: LogSinkError.self) { try await sink.send([entry.line(origin)]) }
    }
}
