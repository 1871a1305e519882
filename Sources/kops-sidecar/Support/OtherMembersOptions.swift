import ArgumentParser
import ClusterOps
import KopsSidecar

/// Whether and how a restore reaches the cluster's other members.
struct OtherMembersOptions: ParsableArguments {
    @Flag(
        help:
            "Restore the other members too, over SSH: the backup, and where it is missing this program, are copied there."
    )
    var ssh = false

    @Option(
        help: ArgumentHelp(
            "Where a member is, in place of its peer URL's host; may be given several times.",
            valueName: "NAME=[USER@]ADDRESS[:PORT]"))
    var sshHost: [String] = []

    @Option(help: ArgumentHelp("As whom: root, or a user who may sudo without a password.", valueName: "user"))
    var sshUser: String?

    @Option(help: ArgumentHelp("The private key, in place of ssh's own choice.", valueName: "file"))
    var sshIdentity: String?

    @Option(help: ArgumentHelp("Where the machines' keys stand, in place of ssh's own files.", valueName: "file"))
    var sshKnownHosts: String?

    @Option(help: ArgumentHelp("ssh's configuration, in place of its own files.", valueName: "file"))
    var sshConfig: String?

    @Option(
        help: ArgumentHelp(
            "What to copy where this version is not installed, in place of the running program.", valueName: "file"))
    var sshBinary: String?

    /// Nil where only this node is to be restored.
    func options() throws -> RemoteOptions? {
        guard ssh else {
            guard sshHost.isEmpty else { throw CommandFailure.unusable("--ssh-host needs --ssh") }
            return nil
        }
        var options = RemoteOptions(version: productVersion)
        for text in sshHost {
            guard let equals = text.firstIndex(of: "="), equals > text.startIndex else {
                throw CommandFailure.unusable("--ssh-host \(text): it is NAME=[USER@]ADDRESS[:PORT]")
            }
            options.addresses[String(text[..<equals])] = String(text[text.index(after: equals)...])
        }
        options.ssh.user = sshUser
        options.ssh.identityFile = sshIdentity
        options.ssh.knownHostsFile = sshKnownHosts
        options.ssh.configFile = sshConfig
        options.program = sshBinary
        return options
    }
}
