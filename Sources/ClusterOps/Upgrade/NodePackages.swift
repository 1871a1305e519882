/// What one node's package manager says, and how to make it do what is wanted. Commands and their texts only.
struct NodePackages: Sendable {
    /// `apt`, `dnf` or `command`; never `auto`.
    let manager: UpgradeOptions.PackageManager
    let options: UpgradeOptions.Packages
    let timeout: Int64

    /// Which manager the node has; nil where none is known.
    static let detection = HostCommand(["sh", "-c", "command -v apt-get || command -v dnf || command -v yum"])

    static func manager(detected output: String) -> UpgradeOptions.PackageManager? {
        let word = output.split(whereSeparator: \.isWhitespace).first.map(String.init) ?? ""
        if word.hasSuffix("/apt-get") { return .apt }
        return word.hasSuffix("/dnf") || word.hasSuffix("/yum") ? .dnf : nil
    }

    private func command(_ arguments: [String], changes: Bool = false, timeout: Int64? = nil) -> HostCommand {
        var command = HostCommand(arguments, timeout: timeout ?? self.timeout)
        command.isExclusive = changes
        return command
    }

    /// Fetches the lists of packages; nil where nothing need be fetched.
    var refresh: HostCommand? {
        switch manager {
        case .apt:
            command(
                ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Update::Error-Mode=any", "update"],
                changes: true)
        case .dnf, .command, .auto: nil
        }
    }

    /// Lists the versions of a package that are to be had.
    func available(_ package: String, _ version: KubernetesVersion) -> HostCommand {
        switch manager {
        case .dnf:
            command(["dnf", "-q", "list", "--showduplicates", "--disableexcludes=all", package])
        case .command: command(filled(options.check, package, version.plain))
        case .apt, .auto: command(["apt-cache", "madison", package])
        }
    }

    /// The manager's own version of the package for `version`; nil where it has none.
    func found(_ result: CommandResult, _ package: String, _ version: KubernetesVersion) -> String? {
        switch manager {
        case .command: return result.isSuccess ? version.plain : nil
        case .apt, .auto:
            // " kubeadm | 1.31.4-1.1 | https://pkgs.k8s.io/... Packages", the newest first.
            for line in result.output.split(separator: "\n") {
                let parts = line.split(separator: "|").map { $0.filter { !$0.isWhitespace } }
                if parts.count >= 3, parts[0] == package, Self.isOf(parts[1], version) { return parts[1] }
            }
            return nil
        case .dnf:
            // "kubeadm.x86_64    1.31.4-150500.1.1    kubernetes", the oldest first.
            var found: String?
            for line in result.output.split(separator: "\n") {
                let words = line.split(whereSeparator: \.isWhitespace)
                if words.count >= 2, words[0].split(separator: ".").first.map(String.init) == package,
                    Self.isOf(String(words[1]), version)
                {
                    found = String(words[1])
                }
            }
            return found
        }
    }

    /// Whether a package's version is of that release: `1.31.4-1.1` is of 1.31.4, `1.31.40-1` is not.
    static func isOf(_ package: String, _ version: KubernetesVersion) -> Bool {
        var text = Substring(package)
        // An epoch.
        if let colon = text.firstIndex(of: ":") { text = text[text.index(after: colon)...] }
        // Pre-releases are written with ~ by Debian and RPM.
        let plain = version.plain.replacing("-", with: "~")
        guard text.hasPrefix(version.plain) || text.hasPrefix(plain) else { return false }
        let rest = text.dropFirst(version.plain.utf8.count)
        return rest.isEmpty || rest.hasPrefix("-")
    }

    /// Which of the packages are held back on purpose.
    var held: HostCommand? {
        manager == .apt ? command(["apt-mark", "showhold"]) : nil
    }

    /// Installs packages at the manager's own version.
    func install(_ packages: [(name: String, version: String)]) -> [HostCommand] {
        switch manager {
        case .apt, .auto:
            [
                // After a kill in the midst of an installation.
                command(["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--configure", "-a"], changes: true),
                command(
                    [
                        "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300",
                        "-o", "Dpkg::Options::=--force-confold", "--allow-change-held-packages", "install",
                    ] + packages.map { "\($0.name)=\($0.version)" }, changes: true),
            ]
        case .dnf:
            [
                command(
                    ["dnf", "-q", "-y", "--disableexcludes=all", "install"]
                        + packages.map { "\($0.name)-\($0.version)" }, changes: true)
            ]
        case .command:
            packages.map { command(filled(options.install, $0.name, $0.version), changes: true) }
        }
    }

    /// Holds packages back again that were held before.
    func hold(_ packages: [String]) -> HostCommand? {
        manager == .apt && !packages.isEmpty ? command(["apt-mark", "hold"] + packages, changes: true) : nil
    }

    private func filled(_ command: [String], _ package: String, _ version: String) -> [String] {
        command.map { $0.replacing("{package}", with: package).replacing("{version}", with: version) }
    }
}
