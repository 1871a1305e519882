import ArgumentParser
import ClusterOps
import Glibc
import KopsSidecar
import MetricModel
import Platform

/// `certs status|renew`: works on this node's files, whatever is alive.
struct CertsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "certs", abstract: "Tell when this node's certificates expire, and renew them.",
        subcommands: [CertsStatusCommand.self, CertsRenewCommand.self])
}

struct KubeadmDirectories: ParsableArguments {
    @Option(help: ArgumentHelp("Where kubeadm keeps its files.", valueName: "directory"))
    var kubernetesDir = "/etc/kubernetes"

    @Option(help: ArgumentHelp("Where kubelet keeps its files.", valueName: "directory"))
    var kubeletDir = "/var/lib/kubelet"

    var layout: KubeadmLayout {
        KubeadmLayout(kubernetesDirectory: absolutePath(kubernetesDir), kubeletDirectory: absolutePath(kubeletDir))
    }
}

struct CertsStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "List all kubeadm certificates and kubeconfigs and what each port shows, the first to expire first.",
        discussion: """
            Exit status 1 where one has expired or cannot be read, or a port shows another than its file. What renewal cannot \
            put right by itself is told on standard error with what to do.
            """)

    @OptionGroup var directories: KubeadmDirectories
    @OptionGroup var listing: OutputOptions

    @Flag(help: "Do not ask the ports.")
    var filesOnly = false

    func run() async throws {
        let inventory = CertificateInventory(layout: directories.layout)
        let filesOnly = filesOnly
        let now = WallClock.system.nowMilliseconds()
        let (rows, seen) = try await WorkerPool.blocking.run { () -> ([WatchedCertificate], CertificateWatch.Seen) in
            var seen = CertificateWatch.Seen.look(
                inventory, atPorts: !filesOnly, now: now, warnBefore: 30 * 86_400_000)
            var rows = seen.certificates
            for state in seen.served {
                let (row, problem) = state.told
                if let row { rows.append(row) }
                if let problem { seen.problems.append(problem) }
            }
            rows.sort { ($0.certificate.notAfter, $0.path) < ($1.certificate.notAfter, $1.path) }
            return (rows, seen)
        }
        if rows.isEmpty, seen.problems.isEmpty {
            throw CommandFailure.failed(
                "there are no certificates below \(directories.kubernetesDir) and \(directories.kubeletDir)")
        }
        try printListing(
            listing, columns: ["DAYS", "EXPIRES", "KIND", "SUBJECT", "PATH", "NOTE"],
            rows: rows.map {
                [
                    String($0.daysLeft(at: now)), formatRFC3339($0.certificate.notAfter, fraction: false), $0.kind,
                    $0.certificate.subject, $0.path, $0.note,
                ]
            }
        ) { writer in writeCertificates(&writer, seen, now: now) }
        for finding in seen.findings { printError(finding.line) }
        let expired = rows.filter { $0.certificate.notAfter <= now }.map { "\($0.path) has expired" }
        if !(expired + seen.problems).isEmpty { throw CommandFailure.failed(expired + seen.problems) }
    }
}

struct CertsRenewCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "renew",
        abstract: "Renew what is due, restart the static pods that hold it one at a time, and prove what they serve.",
        discussion: """
            Copies the Kubernetes directory first. Where a step fails the old certificates come back. A renewal that was cut \
            off is finished first. Names are kubeadm's: apiserver, etcd-server, admin.conf and so on.
            """)

    @Argument(help: "Only these.")
    var names: [String] = []

    @OptionGroup var directories: KubeadmDirectories

    @Option(help: "Renew what ends within this time.")
    var renewBefore = "30d"

    @Flag(help: "Renew also what is not due.")
    var force = false

    @Flag(help: "Say what would be done, and do nothing.")
    var dryRun = false

    @Flag(inversion: .prefixedNo, help: "Restart the static pods that hold renewed certificates.")
    var restart = true

    @Option(
        help: ArgumentHelp("kubeadm's configuration file, where it cannot read it from the cluster.", valueName: "file")
    )
    var config: String?

    @Option(help: ArgumentHelp("The kubeadm program.", valueName: "program"))
    var kubeadm = "kubeadm"

    @Option(
        name: .customLong("copy"),
        help: ArgumentHelp("A copy of admin.conf to refresh; may be repeated.", valueName: "file"))
    var copies: [String] = []

    func validate() throws {
        for name in names where KubeadmCertificate.named(name) == nil {
            let known = KubeadmCertificate.all.map(\.name).joined(separator: ", ")
            throw ValidationError("there is no certificate \"\(name)\"; there are: \(known)")
        }
        guard parseDuration(renewBefore) != nil else {
            throw ValidationError("--renew-before must be a duration such as 30d, not \"\(renewBefore)\"")
        }
    }

    func run() async throws {
        if dryRun { return try await renew(CommandNote()) }
        try await audited("certs renew", subject: names.joined(separator: " ")) { try await renew($0) }
    }

    private func renew(_ note: CommandNote) async throws {
        var options = RenewalOptions()
        options.layout = directories.layout
        options.renewBefore = parseDuration(renewBefore) ?? options.renewBefore
        options.restart = restart
        options.kubeadm = kubeadm
        options.config = config.map(absolutePath)
        options.copies = copies.map(absolutePath)
        options.names = names.isEmpty ? nil : names
        options.force = force
        guard options.layout.isControlPlane || FileSystem.exists(options.layout.kubernetesDirectory + "/pki") else {
            throw CommandFailure.failed(
                "\(options.layout.kubernetesDirectory) is no control plane's: nothing to renew here")
        }
        var renewal = CertificateRenewal(options)
        renewal.announce = { printError("\($0)") }
        renewal.tell = { printError($0) }
        renewal.turn = RestartTurn(
            node: hostName(), kubeconfig: options.layout.kubernetesDirectory + "/admin.conf")
        if !dryRun {
            do {
                if let resumed = try await renewal.resume() {
                    printError("the renewal of \(resumed.plan.id) was cut off and has been finished")
                    try report(resumed, note)
                }
            } catch let error as RenewalError {
                throw CommandFailure.failed("\(error)")
            }
        }
        let prepared = options
        let now = WallClock.system.nowMilliseconds()
        let decision = try await WorkerPool.blocking.run { prepared.decide(now: now) }
        for note in decision.notes { printError(note) }
        if decision.plan.items.isEmpty {
            note.detail = [note.detail, "nothing is due"].filter { !$0.isEmpty }.joined(separator: "; ")
            print("nothing is due")
        } else if dryRun {
            for step in RenewalMachine(decision.plan).steps.all { print("\(step)") }
        } else {
            do {
                try report(await renewal.run(decision.plan), note)
            } catch let error as RenewalError {
                throw CommandFailure.failed("\(error)")
            }
        }
        if !decision.blocked.isEmpty { throw CommandFailure.failed(decision.blocked) }
    }

    private func report(_ machine: RenewalMachine, _ note: CommandNote) throws {
        for line in machine.notes { printError(line) }
        do {
            let summary = try CertificateJob.summary(machine)
            note.detail = [note.detail, summary].filter { !$0.isEmpty }.joined(separator: "; ")
            print(summary)
        } catch let error as JobError {
            throw CommandFailure.failed(error.description)
        }
    }
}

/// The path from the root: kubeadm and manifests are compared with it.
private func absolutePath(_ path: String) -> String {
    if path.hasPrefix("/") { return path.count > 1 && path.hasSuffix("/") ? String(path.dropLast()) : path }
    guard let directory = getcwd(nil, 0) else { return path }
    defer { free(directory) }
    return "\(String(cString: directory))/\(path)"
}
