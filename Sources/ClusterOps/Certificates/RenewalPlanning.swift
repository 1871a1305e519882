import Platform

/// What a renewal is asked to do.
package struct RenewalOptions: Sendable {
    package var layout = KubeadmLayout()
    /// Milliseconds before its end from which a certificate is renewed.
    package var renewBefore: Int64 = 30 * 86_400_000
    /// Whether static pods are restarted; without, somebody else has to.
    package var restart = true
    package var kubeadm = "kubeadm"
    /// kubeadm's own configuration file, for clusters that it cannot read it from.
    package var config: String?
    /// Files that are copies of admin.conf.
    package var copies: [String] = []
    /// Only these, by kubeadm's names.
    package var names: [String]?
    /// Also those that are not due.
    package var force = false
    /// How many copies of the Kubernetes directory are kept.
    package var keptCopies = 5

    package init() {}
}

/// What was found to be due, and what stands in its way.
package struct RenewalDecision: Sendable {
    package var plan: RenewalPlan
    /// Due, but not to be renewed by kubeadm: lines that say what to do.
    package var blocked: [String]
    /// What somebody has to know although the renewal goes on.
    package var notes: [String]
}

extension RenewalOptions {
    /// Looks at the node's files and decides. `nextRun` is when the renewal would next be asked to; what ends before is due
    /// now. Blocks.
    package func decide(now: Int64, nextRun: Int64? = nil) -> RenewalDecision {
        let findings = CertificateInventory(layout: layout).findings(now: now, warnBefore: renewBefore)
        var items: [RenewalPlan.Item] = []
        var blocked: [String] = []
        var expired = false
        let limit = max(now + renewBefore, nextRun ?? 0)
        for certificate in KubeadmCertificate.all where names?.contains(certificate.name) ?? true {
            let path = layout.path(certificate)
            // Damaged and missing ones are among the findings.
            guard let found = try? layout.certificate(certificate) else { continue }
            guard force || found.notAfter < limit else { continue }
            if !FileSystem.exists(layout.authorityKeyPath(certificate)) { continue }
            expired = expired || found.notAfter <= now
            items.append(
                RenewalPlan.Item(
                    name: certificate.name, path: path, oldSerial: found.serial, oldNotAfter: found.notAfter))
        }
        var notes: [String] = []
        for finding in findings {
            if finding.blocksRenewal { blocked.append(finding.line) } else { notes.append(finding.line) }
        }
        let components = restart ? holders(of: items.map(\.path), &blocked) : []
        if !restart, !items.isEmpty {
            notes.append("restart is off: restart the static pods, or they go on with the old ones")
        }
        let refreshed = items.contains { $0.name == "admin.conf" } ? copies : []
        return RenewalDecision(
            plan: RenewalPlan(
                id: formatRFC3339(now, fraction: false).filter { $0 != "-" && $0 != ":" }, items: items,
                components: components, copies: refreshed, canGoBack: !expired, renewBefore: renewBefore),
            blocked: blocked, notes: notes)
    }

    /// Static pods whose manifests name one of the files, etcd last.
    private func holders(of paths: [String], _ blocked: inout [String]) -> [String] {
        let order = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
        var found: [String] = []
        for manifest in StaticPodManifest.read(directory: layout.manifests) {
            guard let path = paths.first(where: manifest.names) else { continue }
            guard order.contains(manifest.component) || manifest.component == "etcd" else {
                blocked.append("\(manifest.component) uses \(path) and is none of kubeadm's pods: restart it by hand")
                continue
            }
            found.append(manifest.component)
        }
        return found.sorted { a, b in
            (order.firstIndex(of: a) ?? order.count) < (order.firstIndex(of: b) ?? order.count)
        }
    }
}
