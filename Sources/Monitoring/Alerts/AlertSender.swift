package import Logging
import MetricModel
package import Platform

/// Sends alerts to external Alertmanagers, as Prometheus does: from a bounded queue that loses its oldest alerts when it is
/// full, in batches, to all Alertmanagers at once; one that took a batch is enough. What none takes is counted and not tried
/// again: rules send a firing alert anew every minute. Thread-safe.
package final class AlertSender: Sendable {
    static let capacity = 10_000
    static let batch = 64

    private struct State {
        var config = AlertingConfig()
        var queue: [PostedAlert] = []
        /// By set of Alertmanagers, then by discovery.
        var groups: [Int: [Int: [TargetGroup]]] = [:]
        var urls: [Int: [String]] = [:]
        var dropped: [String] = []
        var discoveries: [Task<Void, Never>] = []
        var generation = 0
        var isRunning = false
        var known: Set<String> = []
    }

    private let state = Lock(State())
    private let discovery: DiscoveryEnvironment
    private let client: HTTPClient
    private let clock: WallClock
    private let metrics: MetricRegistry
    private let log: Logger
    private let wake: AsyncStream<Void>.Continuation
    private let wakes: AsyncStream<Void>

    package init(
        discovery: DiscoveryEnvironment, client: HTTPClient, clock: WallClock, metrics: MetricRegistry, log: Logger
    ) {
        self.discovery = discovery
        self.client = client
        self.clock = clock
        self.metrics = metrics
        self.log = log
        (wakes, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        metrics.onCollect { [weak self] writer in
            guard let self else { return }
            let (config, waiting, found) = state.withLock {
                ($0.config, $0.queue.count, Set($0.urls.values.joined()).count)
            }
            if config.alertmanagers.isEmpty { return }
            writer.write(
                "prometheus_notifications_queue_length", "Alerts that wait to be sent to Alertmanagers.",
                Double(waiting))
            writer.write(
                "prometheus_notifications_queue_capacity", "Alerts that may wait to be sent to Alertmanagers.",
                Double(AlertSender.capacity))
            writer.write(
                "prometheus_notifications_alertmanagers_discovered", "Alertmanagers found and sent to.", Double(found))
        }
    }

    private var droppedAlerts: Counter {
        metrics.counter(
            "prometheus_notifications_dropped_total",
            "Alerts that no Alertmanager was told of: the queue was full, or none took them.")
    }

    package func apply(_ config: AlertingConfig) {
        let old = state.withLock { state -> [Task<Void, Never>] in
            guard state.config != config else { return [] }
            state.config = config
            state.generation += 1
            state.groups = [:]
            state.urls = [:]
            state.dropped = []
            let old = state.discoveries
            state.discoveries = state.isRunning ? startDiscoveries(config, state.generation) : []
            return old
        }
        for task in old { task.cancel() }
    }

    private func startDiscoveries(_ config: AlertingConfig, _ generation: Int) -> [Task<Void, Never>] {
        config.alertmanagers.enumerated().flatMap { set, alertmanagers in
            alertmanagers.discovery.enumerated().map { index, one in
                Task { [self] in
                    await one.run(discovery) { groups in update(generation, set, index, groups) }
                }
            }
        }
    }

    private func update(_ generation: Int, _ set: Int, _ index: Int, _ groups: [TargetGroup]) {
        state.withLock { state in
            guard generation == state.generation, state.config.alertmanagers.indices.contains(set) else { return }
            state.groups[set, default: [:]][index] = groups
            var urls: Set<String> = []
            for group in (state.groups[set] ?? [:]).values.joined() {
                for target in group.targets {
                    let (url, discovered) = state.config.alertmanagers[set].address(target, group: group.labels)
                    if let url {
                        urls.insert(url)
                    } else if state.dropped.count < 1000 {
                        state.dropped.append(discovered["__address__"] ?? "")
                    }
                }
            }
            state.urls[set] = urls.sorted()
        }
        wake.yield()
    }

    package var snapshot: AlertmanagersSnapshot {
        state.withLock { AlertmanagersSnapshot(active: Set($0.urls.values.joined()).sorted(), dropped: $0.dropped) }
    }

    /// Takes alerts, external labels on them. Never blocks; nothing is kept where no Alertmanagers are configured.
    package func send(_ alerts: [PostedAlert]) {
        let lost = state.withLock { state -> Int in
            if state.config.alertmanagers.isEmpty { return 0 }
            for var alert in alerts {
                guard let labels = relabel(alert.labels, with: state.config.relabel), !labels.isEmpty else { continue }
                alert.labels = labels
                state.queue.append(alert)
            }
            let excess = max(0, state.queue.count - AlertSender.capacity)
            if excess > 0 { state.queue.removeFirst(excess) }
            return excess
        }
        if lost > 0 {
            droppedAlerts.add(Double(lost))
            log.warning("the queue of alerts for Alertmanagers is full", metadata: ["dropped": "\(lost)"])
        }
        wake.yield()
    }

    /// Sends until the task is cancelled.
    package func run() async throws {
        state.withLock { state in
            state.isRunning = true
            state.discoveries = startDiscoveries(state.config, state.generation)
        }
        for await _ in wakes {
            while !Task.isCancelled {
                let work = state.withLock { state -> (AlertingConfig, [Int: [String]], [PostedAlert])? in
                    // While nothing is found yet, alerts wait.
                    guard !state.queue.isEmpty, state.urls.values.contains(where: { !$0.isEmpty }) else { return nil }
                    let batch = Array(state.queue.prefix(AlertSender.batch))
                    state.queue.removeFirst(batch.count)
                    return (state.config, state.urls, batch)
                }
                guard let (config, urls, batch) = work else { break }
                await deliver(batch, config, urls)
            }
            if Task.isCancelled { break }
        }
        let tasks = state.withLock { state in
            state.isRunning = false
            return state.discoveries
        }
        for task in tasks { task.cancel() }
    }

    private func deliver(_ batch: [PostedAlert], _ config: AlertingConfig, _ urls: [Int: [String]]) async {
        let taken = await withTaskGroup(of: Bool.self) { group in
            for (index, set) in config.alertmanagers.enumerated() {
                let alerts = batch.compactMap { alert -> PostedAlert? in
                    guard let labels = relabel(alert.labels, with: set.alertRelabel), !labels.isEmpty else {
                        return nil
                    }
                    var alert = alert
                    alert.labels = labels
                    return alert
                }
                if alerts.isEmpty { continue }
                let body = postedAlertsBody(alerts)
                for url in urls[index] ?? [] {
                    group.addTask { [self] in await post(body, alerts.count, to: url, set) }
                }
            }
            var taken = false
            for await one in group { taken = one || taken }
            return taken
        }
        if !taken { droppedAlerts.add(Double(batch.count)) }
    }

    private func post(_ body: [UInt8], _ count: Int, to url: String, _ config: AlertmanagersConfig) async -> Bool {
        let labels = [("alertmanager", redactURL(url))]
        let start = monotonicNanoseconds()
        metrics.counter("prometheus_notifications_sent_total", "Alerts sent to an Alertmanager.", labels: labels).add(
            Double(count))
        var problem: String
        do {
            var request = HTTPRequest("POST", url)
            request.headers = [("User-Agent", "kops-sidecar"), ("Content-Type", "application/json")]
            request.body = body
            request.timeout = .milliseconds(config.timeout)
            request.maxBodyBytes = 1 << 20
            request = try await HTTPAuthorizer(config.http, client: client, clock: clock).prepare(request)
            let response = try await client.send(request)
            problem = (200..<300).contains(response.status) ? "" : "status \(response.status)"
        } catch {
            problem = "\(error)"
        }
        metrics.histogram(
            "prometheus_notifications_latency_seconds", "Time that sending a batch to an Alertmanager takes.",
            labels: labels, bounds: [0.01, 0.1, 0.5, 1, 5, 10]
        ).observe(Double(monotonicNanoseconds() - start) / 1e9)
        if problem.isEmpty { return true }
        metrics.counter(
            "prometheus_notifications_errors_total", "Alerts that an Alertmanager did not take.", labels: labels
        ).add(Double(count))
        log.error(
            "alerts could not be sent to an Alertmanager",
            metadata: ["alertmanager": "\(redactURL(url))", "alerts": "\(count)", "error": "\(problem)"])
        return false
    }
}

/// The body of Alertmanager's `POST /api/v2/alerts`.
func postedAlertsBody(_ alerts: [PostedAlert]) -> [UInt8] {
    var json = JSONText()
    json.array(alerts) { json, alert in
        json.object { json in
            json.labels("annotations", alert.annotations)
            if alert.endsAt != 0 { json.field("endsAt", formatRFC3339(alert.endsAt)) }
            if alert.startsAt != 0 { json.field("startsAt", formatRFC3339(alert.startsAt)) }
            json.field("generatorURL", alert.generatorURL)
            json.labels("labels", alert.labels)
        }
    }
    return json.bytes
}
