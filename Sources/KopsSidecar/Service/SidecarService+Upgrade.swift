import ClusterOps
import MetricModel
import Monitoring
import Platform

extension SidecarService {
    func upgradeJobs(_ config: SidecarConfig) -> [Job] { config.upgrade == nil ? [] : [upgrade.job] }

    /// A run that this service was at when it ended goes on. Returns when the task is cancelled.
    func goOnWithUpgrade() async {
        if (try? await WorkerPool.blocking.run { [upgrade] in upgrade.isUnfinished }) ?? false {
            _ = try? await jobs.trigger(UpgradeService.jobName)
        }
        // A part that ends would end the service.
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    }
}

/// Names of alerts that fire with one of these severities: the gate of an upgrade.
func firingAlerts(_ rules: RuleManager) -> UpgradeService.Firing {
    { severities in
        rules.status().flatMap(\.rules).flatMap(\.alerts)
            .filter { $0.state == .firing && severities.contains($0.labels["severity"] ?? "") }
            .map { $0.labels["alertname"] ?? "?" }
    }
}
