package import MetricModel
import Platform

/// Runs a sender for each destination of the configuration. Thread-safe.
package final class RemoteWriteManager: Sendable {
    private struct State {
        var senders: [RemoteWriteSender] = []
        var tasks: [String: Task<Void, Never>] = [:]
        var external = Labels.empty
        var isRunning = false
    }

    private let environment: RemoteWriteEnvironment
    private let state = Lock(State())

    package init(_ environment: RemoteWriteEnvironment) {
        self.environment = environment
        let log = environment.log
        environment.metrics.onCollect { [weak self] writer in
            guard let self, self.state.withLock({ !$0.senders.isEmpty }) else { return }
            writer.write(
                "prometheus_remote_storage_highest_timestamp_in_seconds",
                "Newest timestamp that came into the store.", Double(log.newestTimestamp ?? 0) / 1000)
            writer.write(
                "kops_remote_write_backlog_bytes", "Bytes of logs kept because a destination has not read them.",
                Double(log.keptLogBytes))
        }
    }

    /// Takes a new set of destinations; those that did not change go on undisturbed. Names are unique.
    package func apply(_ configs: [RemoteWriteConfig], external: Labels, maxBacklog: Int64) {
        let stopped = state.withLock { state -> [Task<Void, Never>] in
            let same = state.external == external
            var stopped: [Task<Void, Never>] = []
            var senders: [RemoteWriteSender] = []
            for config in configs {
                if same, let known = state.senders.first(where: { $0.config == config }) {
                    senders.append(known)
                } else {
                    if let task = state.tasks.removeValue(forKey: config.name) { stopped.append(task) }
                    senders.append(RemoteWriteSender(config, external: external, environment))
                }
            }
            for (name, task) in state.tasks where !configs.contains(where: { $0.name == name }) {
                stopped.append(task)
                state.tasks[name] = nil
            }
            state.senders = senders
            state.external = external
            if state.isRunning { start(&state, after: stopped) }
            return stopped
        }
        for task in stopped { task.cancel() }
        RemoteWritePositions.keep(configs.map(\.name), in: environment.directory)
        environment.log.keepLogs(maxBytes: maxBacklog) { [weak self] in
            self?.state.withLock { $0.senders.compactMap(\.lowestLog).min() }
        }
    }

    private func start(_ state: inout State, after stopped: [Task<Void, Never>]) {
        for sender in state.senders where state.tasks[sender.config.name] == nil {
            state.tasks[sender.config.name] = Task {
                for task in stopped { await task.value }
                await sender.run()
            }
        }
    }

    /// Sends until the task is cancelled. What has not been sent then is sent after the next start.
    package func run() async {
        state.withLock { state in
            state.isRunning = true
            start(&state, after: [])
        }
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
        let tasks = state.withLock { state in
            state.isRunning = false
            defer { state.tasks = [:] }
            return Array(state.tasks.values)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }
}
