import ArgumentParser
import ClusterOps
import FoundationEssentials
import KopsSidecar
import Platform

extension Finding.Severity: ExpressibleByArgument {}

/// `doctor`: what is wrong with this machine and its cluster, with what shows it and what to do.
struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Look this machine and its cluster over; tell each finding with evidence and fix.",
        discussion: "Changes nothing. Exit status 1 where a finding is as severe as --fail-on or more.")

    @Option(help: "Exit with 1 for findings of this severity and above: info, warning or critical.")
    var failOn = Finding.Severity.critical

    @Option(help: "Show findings of this severity and above.")
    var show = Finding.Severity.info

    @Option(help: ArgumentHelp("Who asks the cluster's API.", valueName: "file"))
    var kubeconfig = "/etc/kubernetes/admin.conf"

    @Flag(help: "Look at this machine alone.")
    var hostOnly = false

    @OptionGroup var listing: OutputOptions

    func run() async throws {
        let report = try await examineNode(kubeconfig: hostOnly ? nil : kubeconfig)
        if listing.output == .table {
            printTable(report)
        } else {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            try printJSON(Array(try encoder.encode(report)), listing)
        }
        let found = report.findings.count { $0.severity >= failOn }
        if found > 0 {
            throw CommandFailure.failed("\(found) finding\(found == 1 ? "" : "s") at or above \(failOn.rawValue)")
        }
    }

    private func printTable(_ report: DoctorReport) {
        let role = report.role == .none ? "no kubeadm node" : report.role.rawValue
        print("\(report.host) (\(role)): \(report.checks) checks")
        for note in report.notes { print("note: \(note)") }
        for finding in report.findings where finding.severity >= show {
            print("")
            print(
                "\(finding.severity.rawValue.uppercased())  [\(finding.area.rawValue)/\(finding.id)] \(finding.title)")
            print("  seen: \(finding.evidence)")
            print("  fix:  \(finding.fix)")
        }
        print("")
        print(
            Finding.Severity.allCases.reversed().map { "\(report.count($0)) \($0.rawValue)" }.joined(separator: ", "))
    }
}
