import ArgumentParser
import ClusterOps
import FoundationEssentials
import Platform

/// Where backups are, said on the command line alone: on the worst day there is no configuration.
struct PlaceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Where to look: a directory, a destination of the configuration, s3://BUCKET/PREFIX or sftp://USER@HOST[:PORT]/DIRECTORY.",
            valueName: "place"))
    var from: String?

    @Option(help: ArgumentHelp("With s3://: the store, as https://s3.example.com.", valueName: "url"))
    var s3Endpoint: String?

    @Option(help: ArgumentHelp("With s3://: its region.", valueName: "region"))
    var s3Region = "us-east-1"

    @Option(help: ArgumentHelp("With s3://: a file with the access key's identifier.", valueName: "file"))
    var s3AccessKeyFile: String?

    @Option(help: ArgumentHelp("With s3://: a file with the secret key.", valueName: "file"))
    var s3SecretKeyFile: String?

    @Option(help: ArgumentHelp("With s3://: whom to trust instead of the system's authorities.", valueName: "file"))
    var s3CaFile: String?

    @Option(help: ArgumentHelp("With sftp://: the private key.", valueName: "file"))
    var sftpKeyFile: String?

    @Option(help: ArgumentHelp("With sftp://: a file with the password.", valueName: "file"))
    var sftpPasswordFile: String?

    @Option(help: ArgumentHelp("With sftp://: where the server's key stands.", valueName: "file"))
    var sftpKnownHosts = "~/.ssh/known_hosts"

    /// The destination that `from` describes by itself; nil where it is a directory or a name.
    func destination() throws -> (any Destination)? {
        guard let from else { return nil }
        if from.hasPrefix("s3://") { return try s3(from) }
        if from.hasPrefix("sftp://") { return try sftp(from) }
        if from.contains("://") {
            throw CommandFailure.unusable("--from \(from): places are directories, s3://… and sftp://…")
        }
        return nil
    }

    /// As it is written on another node, where files lie under the same names.
    var arguments: String? {
        guard let from, from.contains("://") else { return nil }
        let flags = [
            ("--from", from), ("--s3-endpoint", s3Endpoint), ("--s3-region", s3AccessKeyFile == nil ? nil : s3Region),
            ("--s3-access-key-file", s3AccessKeyFile), ("--s3-secret-key-file", s3SecretKeyFile),
            ("--s3-ca-file", s3CaFile), ("--sftp-key-file", sftpKeyFile), ("--sftp-password-file", sftpPasswordFile),
            ("--sftp-known-hosts", from.hasPrefix("sftp://") ? sftpKnownHosts : nil),
        ]
        return flags.compactMap { flag, value in value.map { " \(flag) \($0)" } }.joined()
    }

    private func s3(_ url: String) throws -> any Destination {
        var options = S3Options()
        let rest = url.dropFirst("s3://".count)
        let bucket = rest.prefix { $0 != "/" }
        guard !bucket.isEmpty else { throw CommandFailure.unusable("--from \(url): no bucket is named") }
        options.bucket = String(bucket)
        options.prefix = String(rest.dropFirst(bucket.count).drop { $0 == "/" })
        options.region = s3Region
        options.endpoint = s3Endpoint ?? "https://s3.\(s3Region).amazonaws.com"
        guard let access = s3AccessKeyFile, let secret = s3SecretKeyFile else {
            throw CommandFailure.unusable("--from \(url) needs --s3-access-key-file and --s3-secret-key-file")
        }
        options.accessKeyFile = access
        options.secretKeyFile = secret
        options.caFile = s3CaFile
        return DestinationOptions(name: url, place: .s3(options)).make()
    }

    private func sftp(_ url: String) throws -> any Destination {
        var options = SFTPOptions()
        let rest = url.dropFirst("sftp://".count)
        let authority = rest.prefix { $0 != "/" }
        guard let at = authority.lastIndex(of: "@") else {
            throw CommandFailure.unusable("--from \(url): say as whom: sftp://USER@HOST/DIRECTORY")
        }
        options.user = String(authority[..<at])
        var host = authority[authority.index(after: at)...]
        if let colon = host.lastIndex(of: ":"), !host.hasSuffix("]"), let port = Int(host[host.index(after: colon)...])
        {
            options.port = port
            host = host[..<colon]
        }
        options.host = String(host.filter { $0 != "[" && $0 != "]" })
        options.path = String(rest.dropFirst(authority.count))
        guard !options.host.isEmpty, !options.path.isEmpty else {
            throw CommandFailure.unusable("--from \(url): places are sftp://USER@HOST/DIRECTORY")
        }
        guard sftpKeyFile != nil || sftpPasswordFile != nil else {
            throw CommandFailure.unusable("--from \(url) needs --sftp-key-file or --sftp-password-file")
        }
        options.privateKeyFile = sftpKeyFile
        options.passwordFile = sftpPasswordFile
        options.knownHostsFile =
            sftpKnownHosts.hasPrefix("~/")
            ? (ProcessInfo.processInfo.environment["HOME"] ?? "/root") + sftpKnownHosts.dropFirst() : sftpKnownHosts
        return DestinationOptions(name: url, place: .sftp(options)).make()
    }
}
