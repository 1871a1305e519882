import Etcd
import Platform

/// Has a restore bring the cluster's other members back too, over SSH.
package struct RemoteOptions: Sendable, Codable, Equatable {
    /// By member name: `[USER@]ADDRESS[:PORT]`. For the others the host of their peer URL is taken.
    package var addresses: [String: String] = [:]
    package var ssh = SSHOptions()
    /// What is copied where this version of the program is not installed; nil copies the running program.
    package var program: String?
    /// What `--version` of the program prints.
    package var version: String

    package init(version: String) { self.version = version }
}

/// The other members of a restore, as they stand in the journal.
struct RemoteMembers: Sendable, Codable, Equatable {
    struct Host: Sendable, Codable, Equatable {
        /// The member's name.
        var name: String
        var address: String
        var user: String?
        var port: Int?

        /// For people: the name, and where that is when it is not the same.
        var title: String { name == address ? name : "\(name) (\(address))" }
    }

    var hosts: [Host]
    var options: RemoteOptions
    /// Of this restore; tells its files on the other nodes from those of any other.
    var run: String

    /// Where the backup and, if it has to, the program are copied to: beside the data directory, where there is room.
    func directory(_ dataDirectory: String) -> String {
        "\(FileSystem.parent(of: dataDirectory))/.kops-restore-from-\(run)"
    }

    /// All members of the cluster but `own`, which is restored here.
    static func find(_ options: RemoteOptions, _ cluster: ClusterIdentity, own: String) throws -> RemoteMembers {
        let others = cluster.members.filter { $0.name != own }.sorted { $0.name < $1.name }
        let names = others.map(\.name)
        if let unknown = options.addresses.keys.sorted().first(where: { !names.contains($0) }) {
            throw BackupError(
                .invalid,
                "--ssh-host \(unknown)=…: the other members are \(names.joined(separator: ", "))")
        }
        guard !others.isEmpty else {
            throw BackupError(.invalid, "--ssh: \(own) is the only member of the restored cluster: leave it away")
        }
        let hosts = try others.map { member -> Host in
            if let text = options.addresses[member.name] { return try host(member.name, text) }
            guard let address = member.peerURLs.compactMap(hostOfURL).first else {
                throw BackupError(
                    .invalid, "no address of \(member.name) is known: say it with --ssh-host \(member.name)=ADDRESS")
            }
            return Host(name: member.name, address: address)
        }
        return RemoteMembers(
            hosts: hosts, options: options, run: hex16(UInt64.random(in: .min ... .max)))
    }

    private static func host(_ name: String, _ text: String) throws -> Host {
        var host = Host(name: name, address: "")
        var rest = text[...]
        if let at = rest.lastIndex(of: "@") {
            host.user = String(rest[..<at])
            rest = rest[rest.index(after: at)...]
        }
        // An IPv6 address has colons of its own: with a port it stands in brackets.
        let isBare = rest.filter { $0 == ":" }.count > 1 && !rest.hasPrefix("[")
        if !isBare, let colon = rest.lastIndex(of: ":"), !rest.hasSuffix("]") {
            guard let port = Int(rest[rest.index(after: colon)...]), (1...65_535).contains(port) else {
                throw BackupError(.invalid, "--ssh-host \(name)=\(text): the port is no number from 1 to 65535")
            }
            host.port = port
            rest = rest[..<colon]
        }
        host.address = String(rest.filter { $0 != "[" && $0 != "]" })
        guard !host.address.isEmpty, !host.address.hasPrefix("-"), host.user?.isEmpty != true else {
            throw BackupError(.invalid, "--ssh-host \(name)=\(text): it is NAME=[USER@]ADDRESS[:PORT]")
        }
        return host
    }

    /// `https://10.0.0.12:2380` is at 10.0.0.12.
    private static func hostOfURL(_ url: String) -> String? {
        let parts = url.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count >= 3, parts[0].hasSuffix(":"), parts[1].isEmpty else { return nil }
        let authority = parts[2]
        if authority.hasPrefix("[") { return authority.dropFirst().split(separator: "]").first.map(String.init) }
        let host = String(authority.prefix { $0 != ":" })
        return host.isEmpty ? nil : host
    }
}
