import Glibc
import Logging
import MetricModel
import Platform

/// The dead man's switches: for each receiver that has one, a request to a URL or a message through the receiver itself,
/// every so often. Whoever waits for it learns from its absence that the sidecar, its machine or its network is gone. Only
/// the sidecar that notifies sends them.
struct Heartbeats: Sendable {
    let service: NotificationService
    let client: HTTPClient
    let clock: WallClock
    let metrics: MetricRegistry
    let log: Logger

    /// Beats until the task is cancelled. `due` are the receivers with heartbeats, read anew each second, for the
    /// configuration may change.
    func run() async {
        var last: [String: Int64] = [:]
        while !Task.isCancelled {
            let now = clock.nowMilliseconds()
            let (leads, receivers) = service.read { ($0.isLeader, $0.config.receivers.filter { $0.heartbeat != nil }) }
            last = last.filter { name, _ in receivers.contains { $0.name == name } }
            for receiver in receivers where leads {
                guard let heartbeat = receiver.heartbeat else { continue }
                // A message is not said again because the process was started again.
                let before =
                    last[receiver.name] ?? (heartbeat.url == nil ? service.lastHeartbeat(receiver.name) : nil) ?? 0
                if now - before < heartbeat.interval, now >= before { continue }
                last[receiver.name] = now
                Task.detached { await beat(receiver, heartbeat, now) }
            }
            try? await Task.sleep(for: .milliseconds(500))
        }
    }

    private func beat(_ receiver: ReceiverConfig, _ heartbeat: HeartbeatConfig, _ now: Int64) async {
        let labels = [("receiver", receiver.name)]
        metrics.counter("kops_heartbeats_total", "Heartbeats of a receiver that were tried.", labels: labels).add()
        var problems: [String] = []
        if let url = heartbeat.url {
            if let problem = await ping(url, heartbeat) { problems.append(problem) }
        } else {
            for (index, integration) in receiver.integrations.enumerated() {
                if let problem = await service.tell(receiver, integration, index, heartbeatAlert(now)) {
                    problems.append("\(integration.kind.rawValue): \(problem)")
                }
            }
            if problems.isEmpty { service.recordHeartbeat(receiver.name, at: now) }
        }
        if problems.isEmpty {
            metrics.gauge(
                "kops_heartbeat_last_success_timestamp_seconds", "When a receiver's heartbeat last went out.",
                labels: labels
            ).set(Double(now) / 1000)
            return
        }
        metrics.counter(
            "kops_heartbeats_failed_total", "Heartbeats of a receiver that could not be sent.", labels: labels
        ).add()
        log.error(
            "a heartbeat could not be sent",
            metadata: ["receiver": "\(receiver.name)", "error": "\(problems.joined(separator: "; "))"])
    }

    private func ping(_ url: SecretValue, _ heartbeat: HeartbeatConfig) async -> String? {
        do {
            var request = HTTPRequest(heartbeat.method, try readSecret(url))
            request.headers = [("User-Agent", "kops-sidecar")]
            request.hidesPath = true
            request.timeout = .milliseconds(max(1000, min(30_000, heartbeat.interval)))
            request.maxBodyBytes = 1 << 20
            request = try await HTTPAuthorizer(heartbeat.http, client: client, clock: clock).prepare(request)
            let response = try await client.send(request)
            return (200..<300).contains(response.status) ? nil : "status \(response.status)"
        } catch {
            return "\(error)"
        }
    }

    private func heartbeatAlert(_ now: Int64) -> RoutedAlert {
        RoutedAlert(
            labels: Labels([("alertname", "Heartbeat"), ("severity", "none"), ("instance", machineName())]),
            annotations: Labels([
                (
                    "summary",
                    "The sidecar on \(machineName()) lives and reaches this channel; its silence would be the alarm"
                )
            ]), startsAt: now, endsAt: now + 60_000, generatorURL: "", updatedAt: now, timesOut: false)
    }
}

private func machineName() -> String {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "localhost" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
