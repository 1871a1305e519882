import FoundationEssentials
import Kubernetes
import Logging
import Platform
import TestSupport
import Testing

@testable import ClusterOps

@Suite struct ClusterEventTests {
    private final class Bench: Sendable {
        let directory: String
        let now = Lock<Int64>(1_795_500_000_000)
        let metrics = MetricRegistry()
        let leads = Lock(true)
        let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

        init() throws { directory = try temporaryDirectory() }
        deinit { try? FileSystem.removeTree(directory) }

        func keeper() throws -> ClusterEventKeeper {
            let clock = WallClock { [now] in now.withLock { $0 } }
            return try ClusterEventKeeper(
                path: ClusterEventStore.path(in: directory), hub: ClusterHub(clock: clock, metrics: metrics),
                clock: clock, metrics: metrics, log: log, isLeader: { [leads] in leads.withLock { $0 } })
        }

        func options(_ url: String, sinks: [any LogSink] = []) throws -> ClusterEventOptions {
            let kubeconfig = """
                {"apiVersion": "v1", "kind": "Config", "current-context": "c",
                 "clusters": [{"name": "k", "cluster": {"server": "\(url)"}}], "users": [{"name": "u", "user": {}}],
                 "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]}
                """
            try AtomicFile.write(Array(kubeconfig.utf8), to: directory + "/kubeconfig")
            var options = ClusterEventOptions(
                kubeconfig: directory + "/kubeconfig", origin: LogOrigin(cluster: "prod", node: "cp1"))
            options.sinks = sinks
            return options
        }
    }

    private final class Sink: LogSink {
        let name = "sink"
        let lines = Lock<[ShippedLine]>([])
        func send(_ lines: [ShippedLine]) async throws { self.lines.withLock { $0 += lines } }
    }

    private static func event(_ name: String, count: Int = 1, last: String = "2026-11-24T10:00:00Z") -> String {
        """
        {"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "demo", "name": "\(name)", "uid": "uid-\(name)",
          "creationTimestamp": "2026-11-24T09:00:00Z"},
         "involvedObject": {"kind": "Pod", "namespace": "demo", "name": "web-1", "uid": "u1"}, "reason": "BackOff",
         "message": "Back-off restarting failed container", "type": "Warning", "count": \(count),
         "firstTimestamp": "2026-11-24T09:00:00Z", "lastTimestamp": "\(last)", "source": {"component": "kubelet", "host": "w1"}}
        """
    }

    private func decoded(_ json: String) throws -> Event { try JSONDecoder().decode(Event.self, from: Data(json.utf8)) }

    /// As servers of 1.36 and 1.20 were recorded to tell them.
    @Test func oldAndNewReportersAreReadAlike() throws {
        let new = ClusterEvent(
            try decoded(
                """
                {"metadata": {"name": "cp1.18eacd2433957f71", "namespace": "default", "uid": "4d6c16f9", "resourceVersion": "409",
                 "creationTimestamp": "2026-11-23T22:29:16Z"}, "involvedObject": {"kind": "Node", "name": "cp1", "apiVersion": "v1"},
                 "reason": "Starting", "source": {}, "firstTimestamp": null, "lastTimestamp": null, "type": "Normal",
                 "eventTime": "2026-11-23T22:29:16.828514Z", "action": "StartKubeProxy", "reportingComponent": "kube-proxy",
                 "reportingInstance": "kube-proxy-cp1"}
                """), now: 0)
        #expect(new.uid == "4d6c16f9" && new.count == 1 && new.first == new.last && new.namespace.isEmpty)
        #expect(formatRFC3339(new.last) == "2026-11-23T22:29:16.828Z")
        #expect(new.source == "kube-proxy, kube-proxy-cp1" && new.kind == "Node" && new.name == "cp1")
        let old = ClusterEvent(
            try decoded(
                """
                {"metadata": {"name": "cp1.18eaceb327c4ce07", "namespace": "default", "uid": "c5c260ef",
                 "creationTimestamp": "2026-11-23T22:57:59Z"}, "involvedObject": {"kind": "Node", "name": "cp1", "uid": "cp1"},
                 "reason": "NodeHasSufficientMemory", "message": "Node cp1 status is now: NodeHasSufficientMemory",
                 "source": {"component": "kubelet", "host": "cp1"}, "firstTimestamp": "2026-11-23T22:57:50Z",
                 "lastTimestamp": "2026-11-23T22:57:52Z", "count": 6, "type": "Normal", "eventTime": null,
                 "reportingComponent": "", "reportingInstance": ""}
                """), now: 0)
        #expect(old.count == 6 && old.source == "kubelet, cp1" && formatRFC3339(old.first) == "2026-11-23T22:57:50Z")
        // The object was made after what it tells of.
        #expect(formatRFC3339(old.last) == "2026-11-23T22:57:52Z")
        let series = ClusterEvent(
            try decoded(
                """
                {"metadata": {"name": "a", "uid": "s"}, "eventTime": "2026-11-23T22:00:00.000000Z", "type": "Warning",
                 "series": {"count": 9, "lastObservedTime": "2026-11-23T22:30:00.500000Z"}}
                """), now: 0)
        #expect(series.count == 9 && formatRFC3339(series.last) == "2026-11-23T22:30:00.500Z")
        #expect(ClusterEvent(try decoded(#"{"metadata": {"name": "a", "namespace": "b"}}"#), now: 7).last == 7)
    }

    @Test(.enabled(if: recording("kubernetes/objects/events-warning.json") != nil, "needs ../shared/recordings"))
    func everyRecordedEventIsKeptOnceAndListed() throws {
        let bench = try Bench()
        let store = try ClusterEventStore(path: ClusterEventStore.path(in: bench.directory))
        for path in ["kubernetes/objects/events-warning.json", "kubernetes-1.20/events.json"] {
            let list = try JSONDecoder().decode(ObjectList<Event>.self, from: Data(recording(path) ?? [])).items
            let before = store.count
            #expect(try store.keep(list.map { ClusterEvent($0, now: 0) }) == list.count, "\(path)")
            #expect(try store.keep(list.map { ClusterEvent($0, now: 0) }) == 0, "told again: nothing new")
            #expect(store.count == before + list.count)
        }
        var filter = ClusterEventFilter()
        filter.limit = 10_000
        let all = try store.list(filter)
        #expect(all.count == store.count && all.map(\.last) == all.map(\.last).sorted(by: >))
        #expect(all.allSatisfy { $0.last > 1_700_000_000_000 && !$0.reason.isEmpty && !$0.kind.isEmpty })
        filter.type = "warning"
        filter.namespace = "demo"
        let some = try store.list(filter)
        #expect(!some.isEmpty && some.allSatisfy { $0.type == "Warning" && $0.namespace == "demo" })
    }

    @Test(.enabled(if: KubeAPIStandIn.isPossible, "needs python3"))
    func eventsOutliveTheServerAndCountOnAndAreSentOnce() async throws {
        let bench = try Bench()
        let server = try KubeAPIStandIn()
        defer { server.stop() }
        try await server.put("[\(Self.event("a")), \(Self.event("b"))]")
        let sink = Sink()
        var keeper = try bench.keeper()
        keeper.apply(try bench.options(server.url, sinks: [sink]))
        var work = Task { [keeper] in await keeper.run() }
        try await eventually("two are kept and sent") {
            keeper.store.count == 2 && sink.lines.withLock { $0.count } == 2
        }
        // The same happens again: one row, sent as it is now.
        try await server.put(Self.event("a", count: 5, last: "2026-11-24T11:00:00Z"))
        try await eventually("it is sent again") { sink.lines.withLock { $0.count } == 3 }
        let a = try #require(try keeper.store.list(ClusterEventFilter()).first)
        #expect(a.count == 5 && formatRFC3339(a.last) == "2026-11-24T11:00:00Z" && keeper.store.count == 2)
        #expect(formatRFC3339(a.first) == "2026-11-24T09:00:00Z")
        let line = try #require(sink.lines.withLock { $0.last })
        #expect(line.key == "prod-uid-a-5-\(a.last)" && line.json.contains("\"count\":5"))
        #expect(String(decoding: bench.metrics.expose(), as: UTF8.self).contains("kops_events_watch_up 1\n"))
        work.cancel()
        await work.value
        // After a restart everything is told anew by the server: nothing is kept twice or sent again.
        keeper = try bench.keeper()
        keeper.apply(try bench.options(server.url, sinks: [sink]))
        work = Task { [keeper] in await keeper.run() }
        try await server.put(Self.event("c"))
        try await eventually("the new one is sent") { sink.lines.withLock { $0.count } == 4 }
        #expect(keeper.store.count == 3)
        // The server is gone, and what it told is still there.
        server.stop()
        try await eventually("the watch is down") {
            String(decoding: bench.metrics.expose(), as: UTF8.self).contains("kops_events_watch_up 0\n")
        }
        #expect(try keeper.store.list(ClusterEventFilter()).count == 3)
        work.cancel()
        await work.value
        #expect(sink.lines.withLock { $0.count } == 4)
    }

    @Test func theyAreCutByTimeAndNumber() async throws {
        let bench = try Bench()
        let keeper = try bench.keeper()
        var options = try bench.options("http://127.0.0.1:1")
        options.maxEvents = 3
        options.retention = 3_600_000
        let now = bench.now.withLock { $0 }
        func event(_ name: String, _ age: Int64) -> ClusterEvent {
            ClusterEvent(
                uid: name, first: now - age, last: now - age, count: 1, type: "Normal", reason: "R", namespace: "n",
                kind: "Pod", name: name, message: String(repeating: "x", count: 5000), source: "s")
        }
        #expect(
            try keeper.store.keep([event("old", 3_600_001)] + (1...5).map { event("\($0)", Int64($0) * 1000) }) == 6)
        await keeper.cut(options)
        let left = try keeper.store.list(ClusterEventFilter())
        #expect(left.map(\.name) == ["1", "2", "3"])
        #expect(left.allSatisfy { $0.message.count == 1024 })
        // Not for every event anew.
        _ = try keeper.store.keep([event("4", 4000)])
        await keeper.cut(options)
        #expect(keeper.store.count == 4)
        bench.now.withLock { $0 += 30_000 }
        await keeper.cut(options)
        #expect(keeper.store.count == 3)
    }

    @Test func onlyTheLeaderSendsThemAndTheNextGoesOn() async throws {
        let bench = try Bench()
        let keeper = try bench.keeper()
        let sink = Sink()
        let options = try bench.options("http://127.0.0.1:1", sinks: [sink])
        // Its task is not run here: only what is sent counts.
        keeper.apply(options)
        let now = bench.now.withLock { $0 }
        func event(_ name: String, _ age: Int64) -> ClusterEvent {
            ClusterEvent(
                uid: name, first: now - age, last: now - age, count: 1, type: "Normal", reason: "R", namespace: "n",
                kind: "Pod", name: name, message: "", source: "s")
        }
        _ = try keeper.store.keep([event("an hour ago", 3_600_000), event("just now", 1000)])
        bench.leads.withLock { $0 = false }
        await keeper.send(options)
        #expect(sink.lines.withLock { $0.isEmpty })
        // It takes over: what the old leader may not have sent is sent, the rest was.
        bench.leads.withLock { $0 = true }
        await keeper.send(options)
        #expect(sink.lines.withLock { $0.map(\.key) } == ["prod-just now-1-\(now - 1000)"])
    }
}
