/// Looks a machine over. Pure: what it looks at is handed in.
package enum Doctor {
    /// All findings on the machine, the most severe first.
    package static func examine(_ facts: HostFacts) -> DoctorReport {
        let checks = (HostChecks.all + PostureChecks.all).filter { $0.applies(to: facts) }
        var report = DoctorReport(
            host: facts.hostName, role: facts.role, checks: checks.count, findings: checks.flatMap { $0.run(facts) },
            notes: facts.notes)
        if facts.role == .none {
            report.notes.insert(
                "this machine is no kubeadm node: it is looked at as one that is to become one", at: 0)
        }
        report.sort()
        return report
    }

    /// The machine and its cluster. `now` in milliseconds since 1970 UTC.
    package static func examine(_ facts: HostFacts, cluster: ClusterFacts, now: Int64) -> DoctorReport {
        var report = examine(facts)
        report.checks += ClusterChecks.all.count
        report.findings += ClusterChecks.all.flatMap { $0(cluster, now) }
        report.notes += cluster.notes
        report.sort()
        return report
    }
}

extension DoctorReport {
    /// The most severe first, then by area as declared, then in the order found.
    mutating func sort() {
        let order = Finding.Area.allCases
        findings = findings.enumerated().sorted { a, b in
            let (x, y) = (a.element, b.element)
            if x.severity != y.severity { return x.severity > y.severity }
            let (i, j) = (order.firstIndex(of: x.area) ?? 0, order.firstIndex(of: y.area) ?? 0)
            return i != j ? i < j : a.offset < b.offset
        }.map(\.element)
    }
}
