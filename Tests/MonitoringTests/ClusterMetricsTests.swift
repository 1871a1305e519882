import FoundationEssentials
import Logging
import MetricModel
import Platform
import TestSupport
import Testing

@testable import Kubernetes
@testable import Monitoring

/// A store that remembers everything.
private final class Memory: SampleAppender {
    private struct State {
        var refs: [Labels: SeriesRef] = [:]
        var samples: [SeriesRef: [(Int64, Double)]] = [:]
    }
    private let state = Lock(State())

    func resolve(_ series: [Labels]) throws -> [SeriesRef] {
        state.withLock { state in
            series.map { labels in
                if let known = state.refs[labels] { return known }
                let ref = SeriesRef(state.refs.count + 1)
                state.refs[labels] = ref
                return ref
            }
        }
    }

    func append(_ batch: SampleBatch) throws -> AppendOutcome {
        state.withLock { state in
            for index in 0..<batch.count {
                state.samples[batch.refs[index], default: []].append((batch.timestamps[index], batch.values[index]))
            }
        }
        var outcome = AppendOutcome()
        outcome.appended = batch.count
        return outcome
    }

    /// The last value of every series with that name and those labels, by its text; ended ones left out.
    func now(_ name: String, _ labels: [String: String] = [:]) -> [String: Double] {
        state.withLock { state in
            var out: [String: Double] = [:]
            for (series, ref) in state.refs where series.metricName == name {
                guard labels.allSatisfy({ series[$0.key] == $0.value }), let last = state.samples[ref]?.last,
                    !last.1.isStaleMarker
                else { continue }
                out[series.description] = last.1
            }
            return out
        }
    }

    func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
        let found = now(name, labels)
        return found.count == 1 ? found.values.first : nil
    }

    func times(_ name: String, _ labels: [String: String] = [:]) -> [Int64] {
        state.withLock { state in
            state.refs.filter { series, _ in
                series.metricName == name && labels.allSatisfy { series[$0.key] == $0.value }
            }.flatMap { state.samples[$0.value]?.filter { !$0.1.isStaleMarker }.map(\.0) ?? [] }.sorted()
        }
    }
}

private let log = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

private func pod(_ name: String, restarts: Int = 0, phase: String = "Running", extra: String = "", status: String = "")
    -> String
{
    #"{"kind":"Pod","metadata":{"name":"\#(name)","namespace":"demo","uid":"u-\#(name)"\#(extra)},"spec":{"nodeName":"w1","#
        + #""containers":[{"name":"app","image":"app:1","resources":{"requests":{"cpu":"250m","memory":"64Mi"}}}]},"#
        + #""status":{"phase":"\#(phase)"\#(status),"containerStatuses":[{"name":"app","ready":true,"restartCount":\#(restarts),"#
        + #""image":"app:1","imageID":"x","state":{"running":{"startedAt":"2026-11-23T22:34:18Z"}}}]}}"#
}

@Suite(.enabled(if: KubeAPIStandIn.isPossible, "needs python3")) struct ClusterObjectsTests {
    private func objects(_ server: KubeAPIStandIn, _ memory: Memory) -> (ClusterObjects, MetricRegistry) {
        let metrics = MetricRegistry()
        let hub = ClusterHub(clock: .system, metrics: metrics)
        return (
            ClusterObjects(ClusterAccess(server: server.url), hub, appender: memory, metrics: metrics, log: log),
            metrics
        )
    }

    @Test func followsWhatComesChangesAndGoes() async throws {
        let server = try KubeAPIStandIn(["--kubernetes", "1.20"])
        try await server.put("[\(pod("a")),\(pod("b"))]")
        try await server.put(
            #"{"kind":"Node","metadata":{"name":"w1","labels":{"node-role.kubernetes.io/master":""}},"spec":{"unschedulable":true},"#
                + #""status":{"capacity":{"cpu":"4","memory":"16Gi","hugepages-2Mi":"0"},"conditions":[{"type":"Ready","status":"Unknown"}]}}"#
        )
        try await server.put(
            #"{"kind":"CronJob","metadata":{"name":"c","namespace":"demo"},"spec":{"schedule":"* * * * *"}}"#)
        let memory = Memory()
        let (objects, metrics) = objects(server, memory)
        var time: Int64 = 1_795_473_300_000
        func beat() throws {
            time += 1000
            try objects.write(at: time)
        }
        try await eventually("everything is watched") {
            try beat()
            return memory.value("up", ["job": "kube-state-metrics"]) == 1
        }
        #expect(memory.value("kube_pod_status_phase", ["pod": "a", "phase": "Running"]) == 1)
        #expect(memory.value("kube_pod_status_phase", ["pod": "a", "phase": "Failed"]) == 0)
        #expect(
            memory.value("kube_pod_container_resource_requests", ["pod": "a", "resource": "cpu", "unit": "core"])
                == 0.25)
        #expect(memory.value("kube_node_status_capacity", ["resource": "memory", "unit": "byte"]) == 17_179_869_184)
        #expect(memory.value("kube_node_status_condition", ["condition": "Ready", "status": "unknown"]) == 1)
        #expect(memory.value("kube_node_spec_unschedulable", ["node": "w1"]) == 1)
        #expect(memory.value("kube_node_role", ["role": "master"]) == 1)
        // A server of 1.20 has CronJobs in v1beta1 only.
        #expect(memory.value("kube_cronjob_info", ["schedule": "* * * * *"]) == 1)
        #expect(memory.value("kube_pod_container_status_restarts_total", ["pod": "b"]) == 0)

        try await server.put(pod("b", restarts: 3))
        let client = KubernetesClient(ClusterAccess(server: server.url), http: HTTPClient(name: "test"))
        try await client.delete(Pod.self, "a", namespace: "demo")
        try await eventually("the change is written") {
            try beat()
            return memory.value("kube_pod_container_status_restarts_total", ["pod": "b"]) == 3
                && memory.now("kube_pod_info", ["pod": "a"]).isEmpty
        }
        // Whatever a pod that is gone had has ended.
        for name in ["kube_pod_status_phase", "kube_pod_container_info", "kube_pod_owner"] {
            #expect(memory.now(name, ["pod": "a"]).isEmpty, "\(name)")
        }

        // The server goes away: what was known stays, and `up` says that it is old.
        server.stop()
        try await eventually("the loss is told") {
            try beat()
            return memory.value("up", ["job": "kube-state-metrics"]) == 0
        }
        #expect(memory.value("kube_pod_container_status_restarts_total", ["pod": "b"]) == 3)
        #expect(memory.times("kube_pod_info", ["pod": "b"]).last == time)
        let own = String(decoding: metrics.expose(), as: UTF8.self)
        #expect(own.contains("kops_cluster_objects_up 0"))
        objects.end(at: time + 1)
        #expect(memory.now("kube_pod_info").isEmpty && memory.now("up").isEmpty)
    }

    @Test func countsTroubles() async throws {
        let server = try KubeAPIStandIn()
        // Was there before: not counted.
        try await server.put(pod("old", phase: "Failed", status: #","reason":"Evicted""#))
        try await server.put(pod("a"))
        func event(_ name: String, _ reason: String, _ pod: String, count: Int) -> String {
            #"{"kind":"Event","metadata":{"name":"\#(name)","namespace":"demo"},"type":"Warning","reason":"\#(reason)","#
                + #""count":\#(count),"involvedObject":{"kind":"Pod","namespace":"demo","name":"\#(pod)","uid":"u-\#(pod)"}}"#
        }
        try await server.put(event("e1", "FailedScheduling", "x", count: 5))
        let memory = Memory()
        let (objects, _) = objects(server, memory)
        var time: Int64 = 1_795_473_300_000
        func count(_ reason: String) throws -> Double? {
            time += 1000
            try objects.write(at: time)
            return memory.value("kops_cluster_pod_troubles_total", ["namespace": "demo", "reason": reason])
        }
        try await eventually("counters begin at zero") { try count("FailedScheduling") == 0 }
        #expect(try count("Evicted") == 0)
        try await server.put(event("e1", "FailedScheduling", "x", count: 7))
        try await server.put(event("e2", "FailedScheduling", "y", count: 1))
        // An eviction is told twice, by the pod and by an event, and counts once; a pod that ended well tells by its event only.
        try await server.put(pod("b", phase: "Failed", status: #","reason":"Evicted""#))
        try await server.put(event("e3", "Evicted", "b", count: 1))
        try await server.put(event("e4", "Evicted", "gone", count: 1))
        let killed =
            #"{"kind":"Pod","metadata":{"name":"a","namespace":"demo","uid":"u-a"},"status":{"containerStatuses":[{"name":"app","restartCount":1,"#
            + #""image":"","imageID":"","ready":true,"lastState":{"terminated":{"reason":"OOMKilled","exitCode":137,"containerID":"r1"}}}]}}"#
        try await server.put(killed)
        try await eventually("all are counted") {
            try count("FailedScheduling") == 3 && count("Evicted") == 2 && count("OOMKilled") == 1
        }
        // The same run seen again is the same.
        try await server.put(killed.replacing(#""restartCount":1"#, with: #""restartCount":1,"started":true"#))
        for _ in 0..<3 { #expect(try count("OOMKilled") == 1) }
    }

    @Test func seriesHaveABound() throws {
        let memory = Memory()
        var book = SeriesBook<Int>(limit: 3)
        func samples(_ names: [String]) -> [StateSample] {
            var maker = SampleMaker([])
            for name in names { maker.add(name, [], 1.0) }
            return maker.take()
        }
        try book.set(1, version: "1", samples(["a", "b"]), at: 1, appender: memory)
        try book.set(2, version: "1", samples(["c", "d"]), at: 1, appender: memory)
        #expect(book.seriesCount == 2)
        #expect(book.refused == 2)
        try book.set(1, version: "2", samples(["a"]), at: 2, appender: memory)
        try book.set(2, version: "2", samples(["c", "d"]), at: 2, appender: memory)
        _ = try book.write(at: 2, appender: memory)
        #expect(book.seriesCount == 3)
        #expect(memory.now("b").isEmpty)
        #expect(memory.value("d") == 1)
    }
}

@Suite(.enabled(if: KubeAPIStandIn.isPossible, "needs python3")) struct MetricsServerTests {
    @Test func writesWhatItSaysWhenItSaid() async throws {
        let server = try KubeAPIStandIn()
        func route(_ what: String, _ items: String, status: Int = 200) async throws {
            try await server.control(
                "route",
                #"{"path":"/apis/metrics.k8s.io/v1beta1/\#(what)","status":\#(status),"body":{"items":[\#(items)]}}"#)
        }
        let node =
            #"{"metadata":{"name":"w1"},"timestamp":"2026-11-23T22:44:59Z","window":"10.027s","usage":{"cpu":"83112791n","memory":"324800Ki"}}"#
        let web =
            #"{"metadata":{"name":"web","namespace":"demo"},"timestamp":"2026-11-23T22:44:52Z","window":"1m1s","containers":"#
            + #"[{"name":"app","usage":{"cpu":"100m","memory":"260Ki"}},{"name":"side","usage":{"cpu":"50m","memory":"40Ki"}}]}"#
        try await route("nodes", node)
        try await route("pods", web)
        let memory = Memory()
        let metrics = MetricRegistry()
        let client = KubernetesClient(ClusterAccess(server: server.url), http: HTTPClient(name: "test"))
        let collector = MetricsServer(client, server: server.url, appender: memory, metrics: metrics, log: log)
        let measured: Int64 = 1_795_473_899_000
        await collector.collect(at: measured + 5000)
        #expect(memory.value("kops_node_cpu_usage_cores", ["node": "w1"]) == 0.083112791)
        #expect(memory.value("kops_node_memory_working_set_bytes", ["node": "w1"]) == 332_595_200)
        #expect(memory.value("kops_node_usage_window_seconds") == 10.027)
        #expect(memory.times("kops_node_cpu_usage_cores") == [measured])
        #expect((memory.value("kops_pod_cpu_usage_cores", ["pod": "web"]) ?? 0) - 0.15 < 1e-12)
        #expect(memory.value("kops_container_memory_working_set_bytes", ["container": "side"]) == 40_960)
        #expect(memory.value("kops_pod_usage_window_seconds") == 61)
        // The same measurement is not written twice.
        await collector.collect(at: measured + 20_000)
        #expect(memory.times("kops_node_cpu_usage_cores") == [measured])
        // Its absence, as an API server tells it: text, not a Status object. Series end, and a metric says so.
        try await server.control(
            "route",
            #"{"path":"/apis/metrics.k8s.io/v1beta1/nodes","status":503,"type":"text/plain; charset=utf-8","body":"service unavailable\n"}"#
        )
        await collector.collect(at: measured + 30_000)
        #expect(memory.now("kops_node_cpu_usage_cores").isEmpty && memory.now("kops_pod_cpu_usage_cores").isEmpty)
        #expect(String(decoding: metrics.expose(), as: UTF8.self).contains("kops_metrics_server_up 0"))
        try await route("nodes", node)
        await collector.collect(at: measured + 40_000)
        #expect(String(decoding: metrics.expose(), as: UTF8.self).contains("kops_metrics_server_up 1"))
        // What a kubelet measured long ago is not passed off as now.
        await collector.collect(at: measured + MetricsServer.oldest + 1)
        #expect(memory.now("kops_node_cpu_usage_cores").isEmpty)
    }

    @Test func durations() {
        #expect(goDuration("10.027s") == 10.027)
        #expect(goDuration("1m1s") == 61)
        #expect(goDuration("1h0m0.5s") == 3600.5)
        for text in ["", "s", "10", "1y"] { #expect(goDuration(text) == nil, "\(text)") }
    }
}
