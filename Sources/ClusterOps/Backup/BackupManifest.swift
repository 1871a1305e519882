import FoundationEssentials
import Platform

/// What a backup is, beside its files as `<name>.json`; docs/backup-format.md describes each field. A manifest is written
/// last: files without one are no backup.
package struct BackupManifest: Sendable, Codable, Equatable {
    package enum Kind: String, Sendable, Codable {
        case full
        /// Pages that changed since `parent`.
        case incremental
    }

    package enum Role: String, Sendable, Codable {
        /// The etcd snapshot, gzip.
        case snapshot
        /// Changed pages of one, gzip.
        case delta
        /// Files of the node that an etcd snapshot does not hold, a gzip tar archive.
        case bundle
    }

    package struct File: Sendable, Codable, Equatable {
        package var role: Role
        package var name: String
        package var bytes: Int64
        /// Lower-case hexadecimal, of the file as it lies there.
        package var sha256: String

        package init(role: Role, name: String, bytes: Int64, sha256: String) {
            self.role = role
            self.name = name
            self.bytes = bytes
            self.sha256 = sha256
        }
    }

    package struct HashKV: Sendable, Codable, Equatable {
        package var hash: UInt32
        package var revision: Int64
        package var compactRevision: Int64

        package init(hash: UInt32, revision: Int64, compactRevision: Int64) {
            self.hash = hash
            self.revision = revision
            self.compactRevision = compactRevision
        }

        enum CodingKeys: String, CodingKey {
            case hash, revision
            case compactRevision = "compact_revision"
        }
    }

    package struct Member: Sendable, Codable, Equatable {
        package var id: String
        package var name: String
        package var peerURLs: [String]
        package var clientURLs: [String]

        package init(id: String, name: String, peerURLs: [String], clientURLs: [String]) {
            self.id = id
            self.name = name
            self.peerURLs = peerURLs
            self.clientURLs = clientURLs
        }

        enum CodingKeys: String, CodingKey {
            case id, name
            case peerURLs = "peer_urls"
            case clientURLs = "client_urls"
        }
    }

    package struct Sealing: Sendable, Codable, Equatable {
        package var format: String
        /// Fingerprints of the keys that can open it.
        package var recipients: [String]

        package init(format: String, recipients: [String]) {
            self.format = format
            self.recipients = recipients
        }
    }

    package static let currentFormat = 1

    package var formatVersion = BackupManifest.currentFormat
    package var name = ""
    package var kind = Kind.full
    /// RFC 3339, UTC.
    package var created = ""
    package var cluster = ""
    /// Identifiers of etcd, 16 hexadecimal digits.
    package var clusterID = ""
    package var memberID = ""
    package var memberName = ""
    /// Whose files are in the bundle: the node that made the backup, by its etcd member's name. Who gave the snapshot may be
    /// another. Nil in backups of before it was written.
    package var node: String?
    package var endpoint = ""
    package var members: [Member] = []
    package var etcdVersion = ""
    package var toolVersion = ""
    package var revision: Int64 = 0
    /// Entries of all buckets, as etcdutl 3.5 counts.
    package var totalKeys: Int64 = 0
    /// What `etcdutl snapshot status` prints, 8 hexadecimal digits.
    package var statusHash = ""
    /// etcd's own hash of the keys at the snapshot's revision, where it could still be asked for.
    package var hashKV: HashKV?
    package var databaseBytes: Int64 = 0
    /// Bytes of the snapshot file as etcdutl takes it; SHA-256 of the database in it, which is the file without its last 32 bytes.
    package var snapshotBytes: Int64 = 0
    package var databaseSHA256 = ""
    package var pageSize = 0
    package var onDemand = false
    /// Of an incremental: the backup it builds on, and how many stand between it and its full one, that one included.
    package var parent: String?
    package var chainLength = 0
    package var files: [File] = []
    package var sealing: Sealing?
    /// Paths in the bundle.
    package var bundle: [String] = []
    package var durationMilliseconds: Int64 = 0
    /// When the files were read back and found right.
    package var verified: String?
    /// SHA-256 of this manifest with this field empty.
    package var manifestSHA256 = ""

    package init() {}

    enum CodingKeys: String, CodingKey {
        case formatVersion = "format_version"
        case name, kind, created, cluster
        case clusterID = "cluster_id"
        case memberID = "member_id"
        case memberName = "member_name"
        case node, endpoint, members
        case etcdVersion = "etcd_version"
        case toolVersion = "tool_version"
        case revision
        case totalKeys = "total_keys"
        case statusHash = "status_hash"
        case hashKV = "hash_kv"
        case databaseBytes = "database_bytes"
        case snapshotBytes = "snapshot_bytes"
        case databaseSHA256 = "database_sha256"
        case pageSize = "page_size"
        case onDemand = "on_demand"
        case parent
        case chainLength = "chain_length"
        case files, sealing, bundle
        case durationMilliseconds = "duration_milliseconds"
        case verified
        case manifestSHA256 = "manifest_sha256"
    }

    /// Milliseconds since 1970 UTC.
    package var time: Int64 { BackupName(name)?.time ?? 0 }

    package func file(_ role: Role) -> File? { files.first { $0.role == role } }

    /// Bytes of all its files.
    package var storedBytes: Int64 { files.reduce(0) { $0 + $1.bytes } }

    // MARK: JSON

    /// The manifest file: JSON with sorted keys, its own hash filled in.
    package func encoded() throws -> [UInt8] {
        var copy = self
        copy.manifestSHA256 = ""
        copy.manifestSHA256 = hexadecimal(Digest.hash(.sha256, try copy.json()))
        return try copy.json()
    }

    private func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        return Array(try encoder.encode(self)) + [10]
    }

    /// Reads a manifest and checks that not a byte of it changed. Fields that a later version adds are passed over.
    package static func decode(_ bytes: [UInt8], path: String) throws -> BackupManifest {
        struct Version: Codable {
            var formatVersion: Int
            enum CodingKeys: String, CodingKey { case formatVersion = "format_version" }
        }
        let data = Data(bytes)
        guard let version = try? JSONDecoder().decode(Version.self, from: data) else {
            throw BackupError(.damaged, "\(path) is no manifest of a backup, or is damaged")
        }
        guard version.formatVersion == currentFormat else {
            throw BackupError(
                .invalid,
                "\(path) has format version \(version.formatVersion); this program reads \(currentFormat): use a newer one"
            )
        }
        guard let manifest = try? JSONDecoder().decode(BackupManifest.self, from: data) else {
            throw BackupError(.damaged, "\(path) is damaged: it does not have the fields of a manifest")
        }
        guard isWhole(bytes, manifest.manifestSHA256) else {
            throw BackupError(.damaged, "\(path) is damaged: it does not match its own hash")
        }
        return manifest
    }

    /// Whether the text has the hash that stands in it, which is made with nothing in its place.
    private static func isWhole(_ bytes: [UInt8], _ hash: String) -> Bool {
        let field = Array("\"manifest_sha256\" : \"".utf8)
        guard hash.utf8.count == 64, let start = bytes.firstRange(of: field)?.upperBound,
            bytes[start...].starts(with: Array(hash.utf8) + [UInt8(ascii: "\"")])
        else { return false }
        return hexadecimal(Digest.hash(.sha256, Array(bytes[..<start] + bytes[(start + 64)...]))) == hash
    }
}
