package import Platform

/// Looks at this node's certificates again and again, and tells what it saw as metrics. Thread-safe.
package final class CertificateWatch: Sendable {
    package struct Seen: Sendable {
        package var certificates: [WatchedCertificate] = []
        package var served: [ServedCertificateState] = []
        package var findings: [CertificateFinding] = []
        package var problems: [String] = []

        /// Looks at files, ports too where asked. Blocks.
        package static func look(
            _ inventory: CertificateInventory, atPorts: Bool, now: Int64, warnBefore: Int64
        ) -> Seen {
            let (certificates, problems) = inventory.scan()
            return Seen(
                certificates: certificates, served: atPorts ? inventory.served() : [],
                findings: inventory.findings(now: now, warnBefore: warnBefore), problems: problems)
        }
    }

    private let inventory: Lock<CertificateInventory>
    private let clock: WallClock
    /// Milliseconds before its end from which a certificate counts as due, as for renewal.
    private let warnBefore: Lock<Int64>
    private let seen = Lock(Seen())

    package init(_ inventory: CertificateInventory, metrics: MetricRegistry, clock: WallClock) {
        self.inventory = Lock(inventory)
        self.clock = clock
        warnBefore = Lock(30 * 86_400_000)
        metrics.onCollect { [seen] writer in Self.write(seen.withLock { $0 }, &writer) }
    }

    package func apply(_ inventory: CertificateInventory, warnBefore: Int64) {
        self.inventory.withLock { $0 = inventory }
        self.warnBefore.withLock { $0 = warnBefore }
    }

    package func current() -> Seen { seen.withLock { $0 } }

    /// Files once a minute, ports every five minutes: a handshake is a line in some components' logs.
    package func run() async {
        var round = 0
        while !Task.isCancelled {
            await look(atPorts: round % 5 == 0)
            round += 1
            try? await Task.sleep(for: .seconds(60))
        }
    }

    /// Looks now.
    package func look(atPorts: Bool) async {
        let inventory = inventory.withLock { $0 }
        let warnBefore = warnBefore.withLock { $0 }
        let now = clock.nowMilliseconds()
        let fresh = try? await WorkerPool.blocking.run {
            Seen.look(inventory, atPorts: atPorts, now: now, warnBefore: warnBefore)
        }
        guard let fresh else { return }
        seen.withLock { seen in
            let served = seen.served
            seen = fresh
            if !atPorts { seen.served = served }
        }
    }

    private static func write(_ seen: Seen, _ writer: inout MetricWriter) {
        func expiry(_ path: String, _ kind: String, _ certificate: Certificate) {
            writer.write(
                "kops_certificate_expiry_timestamp_seconds",
                "When a certificate of this node expires; kind served: what a port shows.",
                labels: [("path", path), ("subject", certificate.subject), ("kind", kind)],
                Double(certificate.notAfter) / 1000)
        }
        for watched in seen.certificates { expiry(watched.path, watched.kind, watched.certificate) }
        for state in seen.served {
            let labels = [("component", state.endpoint.component), ("address", state.endpoint.address)]
            if case .success(let certificate) = state.served { expiry(state.endpoint.address, "served", certificate) }
            if let showsFile = state.showsFile {
                writer.write(
                    "kops_certificate_served_is_current",
                    "Whether a port shows the certificate that is in its file (1) or another (0).",
                    labels: labels + [("path", state.endpoint.file ?? "")], showsFile ? 1 : 0)
            }
        }
        for finding in seen.findings {
            writer.write(
                "kops_certificate_finding",
                "Always 1: what renewal cannot put right by itself; `certs status` says what to do.",
                labels: [
                    ("path", finding.path), ("finding", finding.kind.rawValue), ("problem", finding.problem),
                    ("urgent", finding.isUrgent ? "true" : "false"),
                ], 1)
        }
        writer.write(
            "kops_certificate_unreadable_files",
            "Files of this node that should hold a certificate and cannot be read.",
            Double(seen.problems.count))
    }
}
