package import ClusterOps
import Kubernetes
import Platform

/// Looks this machine over, and the cluster where a kubeconfig is named and there.
package func examineNode(kubeconfig: String?) async throws -> DoctorReport {
    let facts = try await WorkerPool.blocking.run { HostFactsReader().read() }
    guard let kubeconfig, FileSystem.exists(kubeconfig) else {
        var report = Doctor.examine(facts)
        if let kubeconfig { report.notes.append("the cluster is not looked at: there is no \(kubeconfig)") }
        return report
    }
    do {
        let http = HTTPClient(name: "kops-doctor")
        defer { http.shutdown() }
        let client = KubernetesClient(try Kubeconfig.load(path: kubeconfig), http: http)
        let cluster = try await ClusterFactsReader(client).read()
        return Doctor.examine(facts, cluster: cluster, now: WallClock.system.nowMilliseconds())
    } catch {
        var report = Doctor.examine(facts)
        report.notes.append("the cluster is not looked at: \(error)")
        return report
    }
}
