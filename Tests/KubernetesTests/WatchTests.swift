import Platform
import TestSupport
import Testing

@testable import Kubernetes

private let http = HTTPClient(name: "kube-watch-test")

/// What a watch told, as lines.
private final class Told: Sendable {
    private let lines = Lock<[String]>([])
    private let work = Lock<Task<Void, Never>?>(nil)

    init(_ server: KubeAPIStandIn, _ list: ListOptions = ListOptions(), _ options: WatchOptions = WatchOptions()) {
        var settings = KubernetesClient.Options()
        settings.requestsPerSecond = 0
        let client = KubernetesClient(ClusterAccess(server: server.url), http: http, options: settings)
        let lines = lines
        let started = Task {
            await client.watch(Node.self, list, options) { event in
                switch event {
                case .added(let node): lines.withLock { $0.append("+\(node.name)") }
                case .modified(let node): lines.withLock { $0.append("~\(node.name)") }
                case .deleted(let key): lines.withLock { $0.append("-\(key)") }
                case .synced: lines.withLock { $0.append("synced") }
                case .failed(let error): lines.withLock { $0.append("failed \(error.kind)") }
                }
            }
        }
        work.withLock { $0 = started }
    }

    deinit { work.withLock { $0?.cancel() } }

    var all: [String] { lines.withLock { $0 } }

    func until(_ line: String, times: Int = 1) async throws {
        try await eventually("\(line) among \(all)") { all.filter { $0 == line }.count >= times }
    }

    func end() async {
        let task = work.withLock { $0 }
        task?.cancel()
        await task?.value
    }
}

private func node(_ name: String, _ labels: String = "") -> String {
    #"{"kind":"Node","metadata":{"name":"\#(name)","labels":{\#(labels)}}}"#
}

@Suite(.enabled(if: KubeAPIStandIn.isPossible, "needs python3")) struct WatchTests {
    @Test func tellsWhatHappens() async throws {
        let server = try KubeAPIStandIn()
        try await server.put("[\(node("a")),\(node("b"))]")
        let told = Told(server)
        try await told.until("synced")
        #expect(told.all == ["+a", "+b", "synced"])
        try await server.put(node("c"))
        try await server.put(node("a", #""x":"1""#))
        try await told.until("~a")
        let client = KubernetesClient(ClusterAccess(server: server.url), http: http)
        try await client.delete(Node.self, "b")
        try await told.until("-b")
        #expect(told.all == ["+a", "+b", "synced", "+c", "~a", "-b"])
        await told.end()
    }

    @Test func goesOnWhereItWas() async throws {
        let server = try KubeAPIStandIn()
        try await server.put(node("a"))
        let told = Told(server)
        try await told.until("synced")
        // The connection is cut: nothing that happened is lost, and no list is made again.
        try await server.control("drop")
        try await server.put(node("b"))
        try await told.until("+b")
        #expect(!told.all.dropFirst(2).contains("synced"))
        await told.end()
    }

    @Test func listsAgainWhenTheServerForgot() async throws {
        let server = try KubeAPIStandIn()
        try await server.put("[\(node("a")),\(node("b")),\(node("c"))]")
        let told = Told(server)
        try await told.until("synced")
        // It can neither watch nor list while the history is forgotten.
        try await server.control("fail", #"{"path":"/api/v1/nodes$","method":"GET","status":500,"count":100000}"#)
        try await server.control("drop")
        let client = KubernetesClient(ClusterAccess(server: server.url), http: http)
        try await client.delete(Node.self, "b")
        try await server.put(node("c", #""x":"1""#))
        try await server.put(node("d"))
        try await server.control("compact")
        try await server.control("recover")
        try await told.until("synced", times: 2)
        // Only the differences: a is not told again.
        let after = told.all.filter { !$0.hasPrefix("failed") }
        #expect(after.filter { $0 == "+a" }.count == 1)
        #expect(after.contains("~c") && after.contains("+d") && after.contains("-b"))
        await told.end()
    }

    @Test func keepsToASelector() async throws {
        let server = try KubeAPIStandIn()
        try await server.put("[\(node("a", #""zone":"1""#)),\(node("b"))]")
        let told = Told(server, ListOptions(labelSelector: "zone=1"))
        try await told.until("synced")
        try await server.put(node("b", #""zone":"1""#))
        try await told.until("+b")
        try await server.put(node("a"))
        try await told.until("-a")
        await told.end()
    }

    @Test func saysThatItFailsAndGoesOn() async throws {
        let server = try KubeAPIStandIn()
        try await server.control(
            "fail", #"{"path":"/api/v1/nodes","status":403,"count":2,"message":"nodes is forbidden"}"#)
        try await server.put(node("a"))
        let told = Told(server)
        try await told.until("synced")
        #expect(told.all.filter { $0 == "failed forbidden" }.count == 2)
        await told.end()
    }

    @Test func cutsALineOnlyWhereItEnds() async throws {
        let lines = WatchLines(limit: 100)
        lines.begin(status: 200)
        for piece in ["{\"a\"", ":1}\n{\"b\":2}", "\n\n{\"c\"", ":3}\n"] {
            #expect(Array(piece.utf8).withUnsafeBytes { lines.take($0) })
        }
        for expected in ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"] {
            guard case .line(let line) = await lines.next() else { throw TestFailure("no line") }
            #expect(String(decoding: line, as: UTF8.self) == expected)
        }
        // A taker that does not keep up costs no memory: the transfer ends.
        #expect(!Array(String(repeating: "x", count: 101).utf8).withUnsafeBytes { lines.take($0) })
        lines.end(.failure(HTTPError(.interrupted, "")))
        guard case .ended(.overflow) = await lines.next() else { throw TestFailure("not an overflow") }
    }
}
