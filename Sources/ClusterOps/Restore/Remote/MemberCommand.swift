import Platform

/// The command that restores another member of the cluster from the same backup: printed for people, and run over SSH.
struct MemberCommand: Sendable {
    var record: RestorePlan.Record
    var member: String
    var program = "kops-sidecar"
    /// Where the backup is there, instead of where it is here.
    var from: String?
    /// The key's file there, instead of the one here.
    var keyFile: String?

    private var options: RestoreOptions { record.options }

    /// What says where to look; as it is typed here.
    private var place: [String] {
        if let from { return ["--from", from] }
        if let text = options.placeArguments { return text.split(separator: " ").map(String.init) }
        return options.from.map { ["--from", $0] } ?? []
    }

    private var backup: String {
        if let name = record.source.manifest?.name { return name }
        // A file without a manifest is named by its path.
        guard let from, let file = record.source.parts.last?.file else { return options.source }
        return from + "/" + file
    }

    private var key: [String] { (keyFile ?? options.keyFile).map { ["--key-file", $0] } ?? [] }
    private var dataDirectory: [String] {
        options.controlPlane ? ["--control-plane"] : ["--data-dir", options.dataDirectory]
    }

    /// Without `--dry-run` and the like.
    var arguments: [String] {
        var out = [program, "restore", backup] + place + key
        if let revision = options.atRevision {
            out += ["--revision", String(revision)]
        } else if let time = options.atTime {
            out += ["--at", time == .max ? "latest" : formatRFC3339(time)]
        }
        out += dataDirectory
        out += [
            "--set-aside", "--name", member, "--initial-cluster", record.initialCluster, "--initial-cluster-token",
            record.token,
        ]
        out += options.bumpRevision.map { ["--bump-revision", String($0)] } ?? ["--no-bump"]
        return out
    }

    /// What a plan says of the other members, and the command for one of them.
    static func note(members: Int) -> String {
        "this cluster has \(members) members: stop all of them, restore the same backup on each, and start them together; etcd serves once \(members / 2 + 1) run"
    }
    var note: String { "on \(member): " + arguments.map(quoteForShell).joined(separator: " ") }

    /// Whether a printed note is one of these: where SSH does it, nobody has to.
    static func isForOthers(note: String) -> Bool {
        note.hasPrefix("note: this cluster has ") || note.hasPrefix("note: on ")
    }

    /// With what was overridden here.
    var insisting: [String] {
        arguments + options.overrides.map(\.rawValue).sorted().flatMap { ["--force", $0] }
    }

    /// Goes on with it there.
    var resuming: [String] {
        [program, "restore", "--resume", "--data-dir", options.dataDirectory] + place + key
    }
}
