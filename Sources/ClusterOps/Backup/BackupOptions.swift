package import Platform

/// Section `etcd:` of the configuration.
package struct EtcdOptions: Sendable, Equatable, Codable {
    package var endpoints: [String] = ["https://127.0.0.1:2379"]
    package var ca: String? = "/etc/kubernetes/pki/etcd/ca.crt"
    package var cert: String? = "/etc/kubernetes/pki/etcd/healthcheck-client.crt"
    package var key: String? = "/etc/kubernetes/pki/etcd/healthcheck-client.key"
    package var insecureSkipVerify = false
    package var serverName: String?
    /// Of one call to one member.
    package var timeout: Int64 = 10_000
    package var defragment: DefragmentOptions?

    package init() {}

    package var tls: TLSSettings {
        var tls = TLSSettings()
        tls.caFile = ca
        tls.certFile = cert
        tls.keyFile = key
        tls.insecureSkipVerify = insecureSkipVerify
        tls.serverName = serverName
        return tls
    }
}

/// Which backups a destination keeps. A backup that any rule keeps is kept, and what an incremental one builds on with it;
/// the newest good one always. Without any rule all are kept.
package struct RetentionOptions: Sendable, Equatable {
    package var keepLast: Int?
    package var keepHourly: Int?
    package var keepDaily: Int?
    package var keepWeekly: Int?
    package var keepMonthly: Int?
    /// Milliseconds; backups older than that go, whatever the rules above keep.
    package var maxAge: Int64?
    /// Bytes; the oldest go until the rest fits.
    package var maxSize: Int64?
    /// Whether backups made by hand fall under these rules too.
    package var pruneOnDemand = false

    package init() {}
}

package struct LocalOptions: Sendable, Equatable {
    package var path: String
    package init(path: String) { self.path = path }
}

package struct S3Options: Sendable, Equatable {
    /// `https://host[:port]`, without the bucket.
    package var endpoint = ""
    package var bucket = ""
    /// Before each object's name; a slash is put behind it.
    package var prefix = ""
    package var region = "us-east-1"
    package var accessKeyFile: String?
    package var secretKeyFile: String?
    package var sessionTokenFile: String?
    /// `https://host/bucket/key` rather than `https://bucket.host/key`.
    package var pathStyle = true
    package var caFile: String?
    package var insecureSkipVerify = false
    package var proxy: String?
    /// `AES256` or `aws:kms`, with the key's identifier.
    package var serverSideEncryption: String?
    package var kmsKeyID: String?
    package var storageClass: String?
    /// Milliseconds for which uploaded objects are locked against removal (`GOVERNANCE` or `COMPLIANCE`).
    package var objectLockMode: String?
    package var objectLockFor: Int64?
    package var partSize: Int64 = 16 << 20
    /// Milliseconds without a byte after which an attempt is given up.
    package var timeout: Int64 = 60_000

    package init() {}
}

package struct SFTPOptions: Sendable, Equatable {
    package var host = ""
    package var port = 22
    package var user = ""
    /// Absolute on the server.
    package var path = ""
    package var privateKeyFile: String?
    package var passwordFile: String?
    package var passphraseFile: String?
    /// OpenSSH's format; the host's key must be there.
    package var knownHostsFile: String?
    /// SHA-256 of the host's key in base64, in place of a known_hosts file.
    package var hostKeySHA256: String?
    /// Milliseconds without a byte after which an attempt is given up.
    package var timeout: Int64 = 60_000

    package init() {}
}

package struct DestinationOptions: Sendable, Equatable {
    package enum Place: Sendable, Equatable {
        case local(LocalOptions)
        case s3(S3Options)
        case sftp(SFTPOptions)
    }

    package var name: String
    package var place: Place
    package var retention = RetentionOptions()

    package init(name: String, place: Place, retention: RetentionOptions = RetentionOptions()) {
        self.name = name
        self.place = place
        self.retention = retention
    }
}

/// What goes into the bundle beside the etcd snapshot.
package enum BundlePart: String, Sendable, CaseIterable {
    case pki
    case kubeconfigs
    case manifests
    case encryptionConfig = "encryption_config"
    case kubelet
    case versions
}

package struct SealingOptions: Sendable, Equatable {
    /// The key made by `backup key`: opens and seals.
    package var keyFile: String?
    /// Public keys (`kops-recipient-…`): backups are sealed to all of them; without `keyFile` they cannot be opened here.
    package var recipients: [String] = []

    package init() {}
}

/// Section `backup:` of the configuration.
package struct BackupOptions: Sendable, Equatable {
    /// Of file names and manifests.
    package var cluster = "kubernetes"
    /// As the scheduler reads it; nil for none.
    package var schedule: String?
    package var timezone: String?
    package var destinations: [DestinationOptions] = []
    package var include: Set<BundlePart> = [.pki, .kubeconfigs, .manifests, .encryptionConfig, .kubelet, .versions]
    /// Further files, directories and shell patterns.
    package var includePaths: [String] = []
    /// Where kubeadm keeps its files.
    package var kubernetesDirectory = "/etc/kubernetes"
    package var kubeletDirectory = "/var/lib/kubelet"
    package var sealing: SealingOptions?
    package var compressionLevel = 6
    package var drillSchedule: String?
    /// Where a snapshot is put together when no destination is a directory, and where drills work.
    package var workDirectory = "/var/lib/kops-sidecar"
    /// Incremental backups stand on each other up to this many deep; 0 makes every backup full.
    package var incrementalChain = 0
    /// Milliseconds between two segments of the log of changes; nil keeps none.
    package var logInterval: Int64?
    /// No scheduled backup where etcd's revision has not moved since the last good one.
    package var skipUnchanged = false
    /// Milliseconds without a byte from etcd after which a member is given up.
    package var idleLimit: Int64 = 60_000
    package var retries = 2

    package init() {}
}
