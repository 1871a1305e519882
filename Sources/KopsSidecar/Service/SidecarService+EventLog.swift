import ClusterOps
import Platform

extension SidecarService {
    /// Keeps the log of changes beside the newest backup, where the configuration asks for one; begins anew when the
    /// configuration is loaded again.
    func followChanges() async {
        var running: (service: BackupService, task: Task<Void, Never>)?
        while !Task.isCancelled {
            let wanted = current.withLock { $0.isReady ? $0.backup : nil }
            if running?.service !== wanted {
                running?.task.cancel()
                await running?.task.value
                running = wanted.flatMap { service in
                    service.options.logInterval.map { interval in
                        let logger = EventLogger(service: service, interval: interval, registry: metrics) { [jobs] in
                            _ = try? await jobs.trigger("backup")
                        }
                        return (service, Task { await logger.run() })
                    }
                }
            }
            try? await Task.sleep(for: .seconds(1))
        }
        running?.task.cancel()
        await running?.task.value
    }
}
