import ArgumentParser
import KopsSidecar

/// The root of the command line; one file per command beside this one.
struct KopsSidecarCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kops-sidecar",
        abstract: "Watches, backs up, maintains and restores a kubeadm cluster from beside its control plane.",
        version: productVersion,
        subcommands: [
            RunCommand.self, CheckCommand.self, TestCommand.self, QueryCommand.self, AlertsCommand.self,
            SilenceCommand.self, BackupCommand.self, RestoreCommand.self, CertsCommand.self, JobsCommand.self,
            StoreCommand.self, DoctorCommand.self, EtcdCommand.self, UpgradeCommand.self,
            AuditCommand.self, EventsCommand.self,
        ])
}
