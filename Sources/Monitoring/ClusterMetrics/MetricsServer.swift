import FoundationEssentials
import Kubernetes
import Logging
import MetricModel
import Platform

/// An answer of metrics.k8s.io.
private struct UsageList: Decodable {
    struct Meta: Decodable {
        var name: String
        var namespace: String?
    }
    struct Container: Decodable {
        var name: String
        var usage: [String: Quantity]
    }
    struct Item: Decodable {
        var metadata: Meta
        var timestamp: Timestamp
        var window: String
        var usage: [String: Quantity]?
        var containers: [Container]?
    }
    var items: [Item]
}

/// Asks metrics-server at every beat and writes what it says at the times that it gives. A metrics-server that is not there
/// (404), or that does not answer (503), is `kops_metrics_server_up` 0 and one line of log, no more.
final class MetricsServer: Sendable {
    /// Usage older than this is not written: the kubelet behind it is gone.
    static let oldest: Int64 = 300_000
    static let seriesLimit = 200_000

    private struct Series {
        var ref: SeriesRef
        var time: Int64
    }

    private struct State {
        var series: [Labels: Series] = [:]
        var wasUp: Bool?
    }

    private let client: KubernetesClient
    private let appender: any SampleAppender
    private let instance: String
    private let log: Logger
    private let state = Lock(State())
    private let up: Gauge
    private let succeeded: Gauge
    private let failures: Counter

    init(
        _ client: KubernetesClient, server: String, appender: any SampleAppender, metrics: MetricRegistry, log: Logger
    ) {
        self.client = client
        self.appender = appender
        instance = String(server.drop { $0 != ":" }.drop { $0 == ":" || $0 == "/" })
        self.log = log
        up = metrics.gauge("kops_metrics_server_up", "Whether metrics-server (metrics.k8s.io) answered the last time.")
        succeeded = metrics.gauge(
            "kops_metrics_server_last_success_timestamp_seconds", "When metrics-server last answered.")
        failures = metrics.counter("kops_metrics_server_failures_total", "Requests to metrics-server that failed.")
    }

    /// One beat.
    func collect(at time: Int64) async {
        do throws(KubernetesError) {
            let nodes = try await ask("nodes")
            let pods = try await ask("pods")
            let samples = try await decode(nodes, pods, time)
            try write(samples, at: time)
            tell(up: true, nil)
            succeeded.set(Double(time) / 1000)
        } catch {
            if error.kind == .cancelled { return }
            failures.add()
            tell(up: false, error)
            end(at: time)
        }
    }

    private func ask(_ what: String) async throws(KubernetesError) -> [UInt8] {
        // One try: the next beat is near, and an absent metrics-server answers 503 each time.
        try await client.send("GET", "/apis/metrics.k8s.io/v1beta1/\(what)", repeatable: false).body
    }

    private struct Usage: Sendable {
        var labels: Labels
        var time: Int64
        var value: Double
    }

    private func decode(_ nodes: [UInt8], _ pods: [UInt8], _ now: Int64) async throws(KubernetesError) -> [Usage] {
        let instance = instance
        do {
            return try await WorkerPool.shared.run {
                let decoder = JSONDecoder()
                var out: [Usage] = []
                for item in try decoder.decode(UsageList.self, from: Data(nodes)).items {
                    Self.add(item, "node", [("node", item.metadata.name)], item.usage ?? [:], instance, &out)
                }
                for item in try decoder.decode(UsageList.self, from: Data(pods)).items {
                    let pod = [("namespace", item.metadata.namespace ?? ""), ("pod", item.metadata.name)]
                    var sum: [String: Double] = [:]
                    for container in item.containers ?? [] {
                        Self.add(
                            item, "container", pod + [("container", container.name)], container.usage, instance, &out,
                            window: false)
                        for (name, quantity) in container.usage { sum[name, default: 0] += quantity.value ?? 0 }
                    }
                    Self.add(item, "pod", pod, sum, instance, &out)
                }
                return out.filter { now - $0.time <= Self.oldest && $0.time <= now + 60_000 }
            }
        } catch {
            throw KubernetesError(.decoding, "metrics.k8s.io: \(error)")
        }
    }

    private static func add(
        _ item: UsageList.Item, _ what: String, _ labels: [(String, String)], _ usage: [String: Quantity],
        _ instance: String, _ out: inout [Usage], window: Bool = true
    ) {
        add(item, what, labels, usage.compactMapValues(\.value), instance, &out, window: window)
    }

    private static func add(
        _ item: UsageList.Item, _ what: String, _ labels: [(String, String)], _ usage: [String: Double],
        _ instance: String, _ out: inout [Usage], window: Bool = true
    ) {
        func put(_ name: String, _ value: Double?) {
            guard let value else { return }
            var builder = LabelsBuilder()
            builder.set(Labels.metricNameLabel, name)
            builder.set("job", "metrics-server")
            builder.set("instance", instance)
            for (label, text) in labels { builder.set(label, text) }
            out.append(Usage(labels: builder.labels(), time: item.timestamp.milliseconds, value: value))
        }
        put("kops_\(what)_cpu_usage_cores", usage["cpu"])
        put("kops_\(what)_memory_working_set_bytes", usage["memory"])
        if window { put("kops_\(what)_usage_window_seconds", goDuration(item.window)) }
    }

    private func write(_ usages: [Usage], at now: Int64) throws(KubernetesError) {
        do {
            try state.withLock { state in
                var batch = SampleBatch()
                var seen: [Labels: Series] = [:]
                for usage in usages.prefix(Self.seriesLimit) {
                    let known = state.series[usage.labels]
                    let ref = try known?.ref ?? appender.resolve([usage.labels])[0]
                    // The same measurement as the time before is not written again.
                    if usage.time > known?.time ?? 0 {
                        batch.append(ref: ref, timestamp: usage.time, value: usage.value)
                    }
                    seen[usage.labels] = Series(ref: ref, time: max(usage.time, known?.time ?? 0))
                }
                for (labels, series) in state.series where seen[labels] == nil {
                    batch.append(ref: series.ref, timestamp: now, value: .staleMarker)
                }
                let outcome = try appender.append(batch)
                // Series that the store dropped are resolved again at the next beat.
                let lost = Set(outcome.unknownRefs.map { batch.refs[$0] })
                state.series = lost.isEmpty ? seen : seen.filter { !lost.contains($0.value.ref) }
            }
        } catch {
            throw KubernetesError(.decoding, "the store refuses: \(error)")
        }
    }

    private func tell(up isUp: Bool, _ error: KubernetesError?) {
        up.set(isUp ? 1 : 0)
        let changed = state.withLock { state in
            defer { state.wasUp = isUp }
            return state.wasUp != isUp
        }
        guard changed else { return }
        if let error {
            log.info("metrics-server does not answer", metadata: ["error": "\(error)"])
        } else {
            log.info("metrics-server answers")
        }
    }

    /// Every series ends.
    func end(at time: Int64) {
        state.withLock { state in
            var batch = SampleBatch()
            for series in state.series.values {
                batch.append(ref: series.ref, timestamp: max(time, series.time + 1), value: .staleMarker)
            }
            state.series = [:]
            if batch.count > 0 { _ = try? appender.append(batch) }
        }
    }
}

/// Seconds of a duration as Go writes it, such as `1m10.5s`; nil where it is none.
func goDuration(_ text: String) -> Double? {
    var rest = text[...]
    var seconds = 0.0
    if rest.isEmpty { return nil }
    while !rest.isEmpty {
        let number = rest.prefix { $0.isNumber || $0 == "." }
        let unit = rest.dropFirst(number.count).prefix { !$0.isNumber && $0 != "." }
        guard let value = Double(number) else { return nil }
        switch unit {
        case "h": seconds += value * 3600
        case "m": seconds += value * 60
        case "s": seconds += value
        case "ms": seconds += value / 1e3
        case "us", "µs": seconds += value / 1e6
        case "ns": seconds += value / 1e9
        default: return nil
        }
        rest = rest.dropFirst(number.count + unit.count)
    }
    return seconds
}
