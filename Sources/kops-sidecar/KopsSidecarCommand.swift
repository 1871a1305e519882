import ArgumentParser

/// The command line's root. Each command has a file of its own.
@main
struct KopsSidecarCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kops-sidecar",
        abstract: "Watches, backs up, maintains and restores a kubeadm cluster from beside its control plane.",
        version: "0.1.0")
}
