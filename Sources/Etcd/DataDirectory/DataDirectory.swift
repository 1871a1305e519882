import Glibc
import Platform

/// etcd's data directory of one member: what there is in one, and making a new one from a snapshot as `etcdutl snapshot
/// restore` does, without etcd's tools.
package enum DataDirectory {
    /// What a new directory is to be.
    package struct Request: Sendable {
        package var cluster: ClusterIdentity
        package var local: SeedMember
        /// Added to the newest revision, so that clients that saw later ones of before do not miss changes; the old
        /// revisions are then marked compacted, which makes them read everything anew. Nil leaves revisions as they are.
        package var bumpRevision: Int64?

        package init(cluster: ClusterIdentity, local: SeedMember, bumpRevision: Int64? = 1_000_000_000) {
            self.cluster = cluster
            self.local = local
            self.bumpRevision = bumpRevision
        }
    }

    package struct Result: Sendable {
        package var clusterID: UInt64
        package var memberID: UInt64
        /// Newest revision of the snapshot and of the directory made of it.
        package var snapshotRevision: Int64
        package var revision: Int64
    }

    package static func databasePath(_ directory: String) -> String { directory + "/member/snap/db" }

    /// Makes the directory. It must not exist; make it under another name and rename it when it is whole. `database` is called
    /// once with the path where it is to put the snapshot's database (without the trailing checksum), checked by it.
    package static func make(
        _ directory: String, _ request: Request, database: (_ path: String) throws -> Void
    ) throws -> Result {
        for path in [directory, directory + "/member", directory + "/member/snap", directory + "/member/wal"] {
            if mkdir(path, 0o700) != 0 { throw FileError("make directory", path) }
        }
        let databasePath = databasePath(directory)
        try database(databasePath)
        if chmod(databasePath, 0o600) != 0 { throw FileError("set the mode of", databasePath) }
        let (old, new, form) = try edit(databasePath, request)
        let wal = directory + "/member/wal/" + WriteAheadLog.fileName
        try writeLog(wal, WriteAheadLog.records(request.cluster, local: request.local))
        let snap = directory + "/member/snap/" + RaftSnapshot.fileName(request.cluster)
        try writeFile(snap, RaftSnapshot.file(request.cluster, form: form), mode: 0o644)
        for path in ["/member/wal", "/member/snap", "/member", ""] { try AtomicFile.syncDirectory(directory + path) }
        return Result(
            clusterID: request.cluster.clusterID, memberID: request.local.id, snapshotRevision: old, revision: new)
    }

    /// Gives the database its new members and, where asked, its new revision; returns the revisions before and after, and how
    /// the etcd that it comes from writes raft's snapshot.
    private static func edit(_ path: String, _ request: Request) throws -> (Int64, Int64, RaftSnapshot.Form) {
        let file = try BoltFile(path, writable: true)
        // Only 3.6 and later write the version of their storage into the database.
        let bucket = try file.buckets().first { $0.name == Array("meta".utf8) }
        let isLater = try bucket.map { try file.entries($0).contains { $0.key == Array("storageVersion".utf8) } }
        let edit = try BoltEdit(file)
        let old = try file.revision()
        var new = old
        var meta: [BoltEdit.Entry] = [
            (Array("consistent_index".utf8), bigEndian(UInt64(request.cluster.members.count))),
            (Array("term".utf8), bigEndian(1)),
        ]
        if let bump = request.bumpRevision {
            let (sum, overflow) = old.addingReportingOverflow(bump)
            guard bump >= 0, !overflow else {
                throw EtcdError(.invalidArgument, "revision \(old) cannot be bumped by \(bump)")
            }
            new = sum
            let key = bigEndian(UInt64(new)) + [UInt8(ascii: "_")] + bigEndian(0)
            // A bump of nothing would write over the newest entry.
            if bump > 0 { try edit.append("key", key, []) }
            meta.append((Array("scheduledCompactRev".utf8), key))
        }
        try edit.set("meta", meta)
        try edit.replace(
            "members",
            request.cluster.members.map { (Array(String($0.id, radix: 16).utf8), Array($0.json.utf8)) })
        try edit.replace("members_removed", [])
        try edit.ensure("cluster")
        try edit.commit()
        return (old, new, isLater == true ? .v36 : .untilV35)
    }

    private static func writeLog(_ path: String, _ records: [UInt8]) throws {
        let fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard fd >= 0 else { throw FileError("write", path) }
        defer { close(fd) }
        // Allocated as etcd does, so that its first writes do not find the disk full.
        let code = posix_fallocate(fd, 0, off_t(WriteAheadLog.segmentBytes))
        if code == ENOSPC || code == EDQUOT { throw FileError("write", path, code) }
        if code != 0, ftruncate(fd, off_t(WriteAheadLog.segmentBytes)) != 0 { throw FileError("write", path) }
        try AtomicFile.writeAll(records, to: fd, path: path)
        if fsync(fd) != 0 { throw FileError("sync", path) }
    }

    private static func writeFile(_ path: String, _ bytes: [UInt8], mode: mode_t) throws {
        let fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard fd >= 0 else { throw FileError("write", path) }
        defer { close(fd) }
        if fchmod(fd, mode) != 0 { throw FileError("set the mode of", path) }
        try AtomicFile.writeAll(bytes, to: fd, path: path)
        if fsync(fd) != 0 { throw FileError("sync", path) }
    }

    // MARK: looking into one

    package struct Survey: Sendable {
        /// Nil where the directory holds no readable log.
        package var memberID: UInt64?
        package var clusterID: UInt64?
        /// Newest revision in the database, without what only the log has; nil where there is no readable database.
        package var revision: Int64?
        package var members: [StoredMember] = []
    }

    /// A member as the database has it.
    package struct StoredMember: Sendable {
        package var id: UInt64
        /// The JSON text, which holds name and URLs.
        package var json: [UInt8]
    }

    /// What a directory that no etcd uses holds. Nothing here is an error: what cannot be read is left out.
    package static func survey(_ directory: String) -> Survey {
        var survey = Survey()
        let logs = directory + "/member/wal"
        for name in (try? FileSystem.list(logs)) ?? [] where name.hasSuffix(".wal") {
            if let id = WriteAheadLog.identity(head(logs + "/" + name)) {
                survey.memberID = id.member
                survey.clusterID = id.cluster
                break
            }
        }
        if let file = try? BoltFile(databasePath(directory)) {
            survey.revision = try? file.revision()
            if let bucket = try? file.buckets().first(where: { $0.name == Array("members".utf8) }),
                let entries = try? file.entries(bucket)
            {
                survey.members = entries.compactMap { key, value in
                    UInt64(String(decoding: key, as: UTF8.self), radix: 16).map { StoredMember(id: $0, json: value) }
                }
            }
        }
        return survey
    }

    private static func head(_ path: String) -> [UInt8] {
        let fd = open(path, O_RDONLY | O_CLOEXEC)
        guard fd >= 0 else { return [] }
        defer { close(fd) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let n = read(fd, &bytes, bytes.count)
        return Array(bytes.prefix(max(0, n)))
    }
}
