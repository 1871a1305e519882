import ArgumentParser
import ClusterOps
import KopsSidecar
import MetricModel
import Platform

/// `certs status`: reads this node's files, whatever is alive.
struct CertsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certs", abstract: "Tell when this node's certificates expire.",
        subcommands: [CertsStatusCommand.self])
}

struct CertsStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "List all kubeadm certificates and kubeconfigs, the first to expire first.",
        discussion: "Exit status 1 where one has expired or cannot be read.")

    @Option(help: ArgumentHelp("Where kubeadm keeps its files.", valueName: "directory"))
    var kubernetesDir = "/etc/kubernetes"

    @Option(help: ArgumentHelp("Where kubelet keeps its files.", valueName: "directory"))
    var kubeletDir = "/var/lib/kubelet"

    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let inventory = CertificateInventory(kubernetesDirectory: kubernetesDir, kubeletDirectory: kubeletDir)
        let (certificates, problems) = inventory.scan()
        let now = WallClock.system.nowMilliseconds()
        if certificates.isEmpty, problems.isEmpty {
            throw CommandFailure.failed("there are no certificates below \(kubernetesDir) and \(kubeletDir)")
        }
        try printListing(
            listing, columns: ["DAYS", "EXPIRES", "KIND", "SUBJECT", "PATH"],
            rows: certificates.map {
                [
                    String($0.daysLeft(at: now)), formatRFC3339($0.certificate.notAfter, fraction: false), $0.kind,
                    $0.certificate.subject, $0.path,
                ]
            }
        ) { writer in
            writer.array(certificates) { writer, watched in writeCertificate(&writer, watched, now: now) }
        }
        let expired = certificates.filter { $0.certificate.notAfter <= now }.map { "\($0.path) has expired" }
        if !(expired + problems).isEmpty { throw CommandFailure.failed(expired + problems) }
    }
}
