/// What stands between a user and a mistake; each can be overridden by name.
package enum RestoreOverride: String, Sendable, Codable, CaseIterable {
    /// Members of the cluster still form a quorum.
    case liveQuorum = "live-quorum"
    /// The data directory holds later revisions than the backup.
    case older
    /// The backup is one of another cluster than the data directory's.
    case otherCluster = "other-cluster"
    /// The file carries no checksum or hash to check it by (a plain copy of a database).
    case unchecked
}

/// What `restore` is asked for.
package struct RestoreOptions: Sendable, Codable, Equatable {
    /// `latest`, the name of a backup, or the path of a snapshot file, compressed or not.
    package var source = "latest"
    /// A directory, or a destination's name; nil looks in all destinations.
    package var from: String?
    /// How `from` is written for another node's command line, with what belongs to it; nil where `from` says it all.
    package var placeArguments: String?
    package var cluster: String?
    /// The last state not later than this, milliseconds since 1970 UTC; and not beyond this revision.
    package var atTime: Int64?
    package var atRevision: Int64?

    package var dataDirectory = "/var/lib/etcd"
    package var name: String?
    package var initialCluster: String?
    package var initialClusterToken: String?
    /// Comma-separated.
    package var initialAdvertisePeerURLs: String?
    /// The restored cluster has this member only, whoever else the backup knows.
    package var singleMember = false
    package var bumpRevision: Int64? = 1_000_000_000
    /// A data directory that is not empty is renamed; without this it is a reason to refuse.
    package var setAside = false
    package var overrides: Set<RestoreOverride> = []
    package var keyFile: String?
    /// The whole node, not only etcd.
    package var controlPlane = false
    package var kubernetesDirectory = "/etc/kubernetes"
    package var kubeletDirectory = "/var/lib/kubelet"
    /// Asked whether a quorum is alive, beside those that the old data directory and the backup name.
    package var etcd = EtcdOptions()
    /// Nil restores this member only, and the plan prints the commands for the others.
    package var remote: RemoteOptions?
    /// For what has to be brought here first; nil takes the data directory's parent.
    package var workDirectory: String?
    /// Follows the newest backup's own log of changes, even where another backup's reaches further: for who wants to know
    /// what that very backup is worth.
    package var ownLogOnly: Bool?

    package init() {}
}
