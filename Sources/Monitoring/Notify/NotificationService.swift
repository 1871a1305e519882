import Glibc
package import Logging
import MetricModel
package import Platform

/// From alerts to messages: keeps the pipeline's state, makes it durable, sends what is due and tries again what failed.
/// Thread-safe.
///
/// Everything that happens goes to the `NotificationCore` under one lock; what it wants written is written in that order
/// before `post` returns. Each delivery is a task that ends at its deadline at the latest, when the group's next flush
/// takes over.
package final class NotificationService: Sendable {
    private struct State {
        var core: NotificationCore
        var templates: NotificationTemplates
        var externalURL: String
        var unsaved: [NotificationAction] = []
        /// By channel, in the order in which they came. At most one for each group and integration.
        var waiting: [Channel: [Delivery]] = [:]
        var active: [Channel: Int] = [:]
        var isRunning = false
        var tasks: [Int: Task<Void, Never>] = [:]
    }

    /// What a slow or dead receiver holds up: itself alone.
    private struct Channel: Hashable {
        let receiver: String
        let kind: String
        let index: Int

        init(_ key: LogKey) { (receiver, kind, index) = (key.receiver, key.kind, key.index) }
    }

    /// Messages of a channel that are under way at once; more wait their turn.
    private static let channelWidth = 8

    private let state: Lock<State>
    private let store: NotificationStore
    private let saving = Lock(())
    private let client: HTTPClient
    private let clock: WallClock
    private let metrics: MetricRegistry
    private let log: Logger
    /// First wait before another try; it grows to a minute. Milliseconds.
    private let firstRetry: Int64

    /// Opens the file of alerts, log and silences, and goes on from there. Throws where it cannot be used.
    package init(
        config: AlertmanagerConfig, templates: NotificationTemplates, storePath: String, externalURL: String,
        client: HTTPClient, clock: WallClock, metrics: MetricRegistry, log: Logger, firstRetry: Int64 = 500
    ) throws {
        let now = clock.nowMilliseconds()
        store = try NotificationStore(
            path: storePath, care: StateFile.Care(clock: clock, metrics: metrics, log: log))
        let stored = try store.load()
        state = Lock(
            State(
                core: NotificationCore(
                    config: config, alerts: stored.alerts, log: stored.log, silences: stored.silences, now: now),
                templates: templates, externalURL: externalURL))
        self.client = client
        self.clock = clock
        self.metrics = metrics
        self.log = log
        self.firstRetry = firstRetry
        metrics.onCollect { [weak self] writer in
            guard let self else { return }
            let (waiting, alerts) = state.withLock { ($0.core.deliveriesInFlight, $0.core.alerts.count) }
            writer.write(
                "kops_notification_queue_length", "Notifications that are being sent or wait for another try.",
                Double(waiting))
            writer.write("kops_alerts", "Alerts that the notification pipeline holds.", Double(alerts))
        }
    }

    // MARK: what comes in

    /// Takes alerts from rules or the API. Blocks while they are written.
    package func post(_ alerts: [PostedAlert]) { handle(.posted(alerts)) }

    /// Takes another configuration; alerts are grouped anew and nobody is told twice.
    package func apply(_ config: AlertmanagerConfig, templates: NotificationTemplates, externalURL: String) {
        state.withLock {
            $0.templates = templates
            $0.externalURL = externalURL
        }
        handle(.configured(config))
    }

    /// Whether this sidecar is the one that notifies.
    package func setLeader(_ leads: Bool) { handle(.leadership(leads)) }

    /// Makes or changes a silence and returns its id.
    package func setSilence(_ silence: Silence) throws(SilenceError) -> String {
        let now = clock.nowMilliseconds()
        let result = state.withLock { state -> Result<String, SilenceError> in
            do throws(SilenceError) {
                let (id, actions) = try state.core.setSilence(silence, newID: randomUUID, now: now)
                state.unsaved += actions
                return .success(id)
            } catch {
                return .failure(error)
            }
        }
        save()
        return try result.get()
    }

    /// False where there is no such silence.
    package func expireSilence(_ id: String) -> Bool {
        let now = clock.nowMilliseconds()
        let found = state.withLock { state -> Bool in
            guard let actions = state.core.expireSilence(id, now: now) else { return false }
            state.unsaved += actions
            return true
        }
        save()
        return found
    }

    /// Looks at the pipeline's state.
    package func read<R>(_ body: (NotificationCore) -> R) -> R { state.withLock { body($0.core) } }

    private func handle(_ event: NotificationEvent) {
        let now = clock.nowMilliseconds()
        state.withLock { state in
            for action in state.core.handle(event, now: now) {
                if case .deliver(let delivery) = action {
                    state.waiting[Channel(delivery.key), default: []].append(delivery)
                } else {
                    state.unsaved.append(action)
                }
            }
        }
        // What is sent need not wait for the disk: killed in between, a repeat is the worst that happens.
        startDeliveries()
        save()
    }

    /// Writes what is not written yet, in order. What cannot be written is tried again with the next.
    private func save() {
        saving.withLock { _ in
            let actions = state.withLock { state in
                let actions = state.unsaved
                state.unsaved = []
                return actions
            }
            if actions.isEmpty { return }
            do {
                try store.save(actions)
            } catch {
                log.error("notification state could not be written", metadata: ["error": "\(error)"])
                metrics.counter(
                    "kops_notification_state_write_failures_total", "Writes of the notification state that failed."
                ).add()
                // Bounded: when the disk is gone for long, the newest state is what matters.
                state.withLock { $0.unsaved = Array((actions + $0.unsaved).suffix(100_000)) }
            }
        }
    }

    // MARK: running

    /// Lets time go on until the task is cancelled, then waits a moment for messages under way.
    package func run() async throws {
        state.withLock { $0.isRunning = true }
        startDeliveries()
        let heartbeats = Heartbeats(service: self, client: client, clock: clock, metrics: metrics, log: log)
        let beating = Task.detached { await heartbeats.run() }
        defer { beating.cancel() }
        while !Task.isCancelled {
            let deadline = state.withLock { $0.core.nextDeadline }
            let now = clock.nowMilliseconds()
            if deadline <= now { try? await WorkerPool.blocking.run { [self] in handle(.tick) } }
            let wait = state.withLock { $0.core.nextDeadline } - clock.nowMilliseconds()
            try? await Task.sleep(for: .milliseconds(max(10, min(wait, 250))))
        }
        let tasks = state.withLock { state in
            state.isRunning = false
            return Array(state.tasks.values)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
        save()
        store.close()
    }

    private func startDeliveries() {
        state.withLock { state in
            guard state.isRunning else { return }
            for (channel, waiting) in state.waiting {
                let free = Self.channelWidth - state.active[channel, default: 0]
                guard free > 0 else { continue }
                for delivery in waiting.prefix(free) {
                    state.active[channel, default: 0] += 1
                    state.tasks[delivery.id] = Task.detached { [weak self] in await self?.deliver(delivery) }
                }
                state.waiting[channel] = waiting.count > free ? Array(waiting.dropFirst(free)) : nil
            }
        }
    }

    private func deliver(_ delivery: Delivery) async {
        let labels = [("receiver", delivery.key.receiver), ("integration", delivery.key.kind)]
        metrics.counter("kops_notifications_total", "Notifications attempted.", labels: labels).add()
        let failure = await attempts(delivery)
        if let (reason, message) = failure {
            metrics.counter(
                "kops_notifications_failed_total", "Notifications that could not be delivered.",
                labels: labels + [("reason", reason.rawValue)]
            ).add()
            log.error(
                "a notification could not be delivered",
                metadata: [
                    "receiver": "\(delivery.key.receiver)", "integration": "\(delivery.key.kind)",
                    "reason": "\(reason.rawValue)", "error": "\(message)",
                ])
        }
        state.withLock { state in
            state.tasks[delivery.id] = nil
            let channel = Channel(delivery.key)
            let left = state.active[channel, default: 1] - 1
            state.active[channel] = left > 0 ? left : nil
        }
        startDeliveries()
        let succeeded = failure == nil
        try? await WorkerPool.blocking.run { [self] in handle(.delivered(delivery.id, success: succeeded)) }
    }

    /// Tries until it is delivered, refused for good or too late; nil for delivered.
    private func attempts(_ delivery: Delivery) async -> (FailureReason, String)? {
        var wait = firstRetry
        if clock.nowMilliseconds() > delivery.deadline {
            return (.queueFull, "it waited its turn until the group's next flush was due")
        }
        while true {
            let reason: FailureReason
            let message: String
            var after: Int64?
            switch await attempt(delivery) {
            case .done: return nil
            case .failed(let why, let text): return (why, text)
            case .retry(let why, let text, let atLeast): (reason, message, after) = (why, text, atLeast)
            }
            let pause = max(wait, after ?? 0)
            if Task.isCancelled || clock.nowMilliseconds() + pause > delivery.deadline { return (reason, message) }
            metrics.counter(
                "kops_notification_retries_total", "Notifications tried again after a failure.",
                labels: [("receiver", delivery.key.receiver), ("integration", delivery.key.kind)]
            ).add()
            log.warning(
                "a notification is tried again",
                metadata: [
                    "receiver": "\(delivery.key.receiver)", "integration": "\(delivery.key.kind)",
                    "error": "\(message)", "wait": "\(pause)ms",
                ])
            try? await Task.sleep(for: .milliseconds(pause))
            wait = min(wait * 3 / 2, 60_000)
        }
    }

    private func attempt(_ delivery: Delivery) async -> DeliveryOutcome {
        let (templates, externalURL) = state.withLock { ($0.templates, $0.externalURL) }
        let messages: [Outgoing]
        let problems: [String]
        do {
            // Rendering a thousand alerts is work, and secrets come from files.
            (messages, problems) = try await WorkerPool.blocking.run {
                let builder = MessageBuilder(delivery, externalURL: externalURL) {
                    try templates.render($0, html: $1, $2)
                }
                return (try builder.messages(), builder.text.errors)
            }
        } catch {
            return .failed(reason: .configuration, message: "\(error)")
        }
        for error in problems {
            log.warning(
                "a template could not be rendered; its error stands in the message",
                metadata: ["receiver": "\(delivery.key.receiver)", "error": "\(error)"])
        }
        let sender = MessageSender(deadline: delivery.deadline, client: client, clock: clock, log: log)
        for message in messages {
            let outcome = await sender.send(message, oauth2: delivery.integration.http)
            if outcome != .done { return outcome }
        }
        return .done
    }
}

extension NotificationService {
    // MARK: heartbeats

    func lastHeartbeat(_ receiver: String) -> Int64? { read { $0.lastHeartbeat(receiver) } }

    func recordHeartbeat(_ receiver: String, at time: Int64) {
        state.withLock { state in
            let actions = state.core.recordHeartbeat(receiver, at: time)
            state.unsaved += actions
        }
        save()
    }

    /// Sends one alert to one integration, past routes and log; what went wrong, or nil.
    func tell(_ receiver: ReceiverConfig, _ integration: IntegrationConfig, _ index: Int, _ alert: RoutedAlert) async
        -> String?
    {
        let now = clock.nowMilliseconds()
        let key = LogKey(group: "heartbeat", receiver: receiver.name, kind: integration.kind.rawValue, index: index)
        let delivery = Delivery(
            id: 0, key: key, integration: integration, groupLabels: Labels([("alertname", "Heartbeat")]),
            alerts: [NotifiedAlert(alert: alert, resolved: false)], flushedAt: now, deadline: now + 30_000,
            entry: LogEntry(firing: [], resolved: [], at: now, expiresAt: now))
        return await attempts(delivery).map { "\($0.0.rawValue): \($0.1)" }
    }
}

/// A random identifier in the form of RFC 4122, version 4.
package func randomUUID() -> String {
    var bytes = (0..<16).map { _ in UInt8.random(in: 0...255) }
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    let hex = Array(hexadecimal(bytes))
    return [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(hex[$0]) }.joined(separator: "-")
}
