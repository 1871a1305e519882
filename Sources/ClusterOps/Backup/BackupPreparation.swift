import Etcd
import Glibc
import Logging
import Platform

/// What is looked at before a backup is begun.
extension BackupService {
    /// etcd only closes the connection on a certificate it does not like, so that it is looked at first.
    func checkCertificates(now: Int64) throws {
        guard etcd.endpoints.contains(where: { $0.hasPrefix("https:") }) else { return }
        for (key, file) in [("etcd.ca", etcd.ca), ("etcd.cert", etcd.cert)] {
            guard let file else { continue }
            let pem: [UInt8]
            do { pem = try FileSystem.read(file, maxBytes: 1 << 20) } catch {
                throw BackupError(.etcd, "\(error): \(key) names it")
            }
            guard let certificate = Certificate.read(pem: pem)?.first else {
                throw BackupError(.etcd, "\(file) holds no certificate: \(key) names it")
            }
            if certificate.notAfter < now {
                throw BackupError(
                    .etcd,
                    "\(file) expired \(formatRFC3339(certificate.notAfter, fraction: false)) (\(key)): renew it, as with kubeadm certs renew healthcheck-client"
                )
            }
        }
        if let key = etcd.key, access(key, R_OK) != 0 {
            throw BackupError(.etcd, "\(FileError("read", key)): etcd.key names it")
        }
    }

    func checkRoom(_ directory: String, databaseBytes: Int64) throws {
        let free = try FileSystem.freeBytes(directory)
        // Compressed, Kubernetes' objects take a quarter; half leaves room for those that compress worse.
        let needed = databaseBytes / 2 + (16 << 20)
        guard free >= needed else {
            throw BackupError(
                .noSpace,
                "\(directory) has \(free >> 20) MiB free and the backup may need \(needed >> 20): make room there, or name another destination"
            )
        }
    }

    /// What lies at a destination; an error where it cannot be read.
    struct Survey: Sendable {
        var destination: any Destination
        var entries: Result<[BackupEntry], any Error>

        var all: [BackupEntry] { (try? entries.get()) ?? [] }
        var newest: BackupEntry? { all.last { $0.isGood } }
    }

    func survey() async -> [Survey] {
        var surveys: [Survey] = []
        for destination in destinations {
            do {
                let entries = try await BackupCatalogue.read(destination, cluster: options.cluster)
                surveys.append(Survey(destination: destination, entries: .success(entries)))
            } catch {
                surveys.append(Survey(destination: destination, entries: .failure(error)))
            }
        }
        return surveys
    }

    /// Backups of two clusters under one name would be restored for each other.
    func checkCluster(_ status: EtcdStatus, _ known: [Survey]) {
        let own = hex16(status.header.clusterID)
        guard let newest = known.compactMap(\.newest).max(by: { $0.name < $1.name }), let manifest = newest.manifest,
            manifest.clusterID != own
        else { return }
        // A restored cluster has a new identity and goes on from the old one's keys: that is said, not refused.
        logger.warning(
            "etcd has another cluster identifier than the newest backup: restored since, or another cluster under this name",
            metadata: ["cluster": "\(options.cluster)", "etcd": "\(own)", "backup": "\(manifest.clusterID)"])
        metrics.clusterChanged()
    }

    /// Names carry the time: with a clock far back, the new backup would look like the oldest one.
    func checkClock(_ now: Int64, _ known: [Survey]) {
        guard let newest = known.compactMap(\.newest).map(\.name.time).max(), newest > now + 60_000 else {
            return metrics.clockBehind(seconds: 0)
        }
        logger.warning(
            "the clock is behind the newest backup: it is named by the clock all the same",
            metadata: [
                "clock": "\(formatRFC3339(now, fraction: false))",
                "newest": "\(formatRFC3339(newest, fraction: false))",
            ])
        metrics.clockBehind(seconds: Double(newest - now) / 1000)
    }

    /// The newest backup of this node where etcd's revision and the node's files are still what they were, at every
    /// destination.
    func unchanged(_ status: EtcdStatus, _ known: [Survey], _ found: NodeFiles.Found, now: Int64)
        -> (manifest: BackupManifest, location: String)?
    {
        let node = StaticPod.nodeName(options.kubernetesDirectory)
        func own(_ survey: Survey) -> BackupEntry? {
            survey.all.last { $0.isGood && ($0.manifest?.node ?? node) == node }
        }
        guard let newest = known.first.flatMap(own), let manifest = newest.manifest,
            manifest.revision == status.header.revision, manifest.clusterID == hex16(status.header.clusterID),
            known.allSatisfy({ survey in own(survey)?.name == newest.name })
        else { return nil }
        let paths = found.items.filter { !$0.status.isDirectory }.map { String($0.path.drop { $0 == "/" }) }
        guard Set(paths) == Set(manifest.bundle).subtracting([BundleWriter.versionsPath]),
            found.items.allSatisfy({ $0.status.modified < manifest.time })
        else { return nil }
        let file = manifest.file(.snapshot) ?? manifest.file(.delta)
        return (manifest, destinations[0].location + "/" + (file?.name ?? manifest.name))
    }

    /// The backup that an incremental one may build on: the one that the page hashes are of, whole at every destination, with a
    /// chain that is neither too long nor, all increments together, half as large as its full one. Other control planes may
    /// have made newer ones at the same places.
    func incrementalParent(_ indexPath: String, _ status: EtcdStatus, _ known: [Survey]) -> BackupManifest? {
        guard let index = PageIndexReader(indexPath), index.pageSize == SnapshotWriter.pageSize else { return nil }
        let sum = hexadecimal(index.databaseSHA256)
        let own = known.first?.all.last { $0.isGood && $0.manifest?.databaseSHA256 == sum }
        guard let manifest = own?.manifest, manifest.clusterID == hex16(status.header.clusterID),
            manifest.chainLength < options.incrementalChain,
            known.allSatisfy({ survey in survey.all.contains { $0.isGood && "\($0.name)" == manifest.name } })
        else { return nil }
        let byName = Dictionary(known[0].all.map { ("\($0.name)", $0.manifest) }, uniquingKeysWith: { a, _ in a })
        var increments: Int64 = 0
        var next: BackupManifest? = manifest
        for _ in 0...options.incrementalChain {
            guard let at = next else { return nil }
            if at.kind == .full {
                return increments * 2 <= (at.file(.snapshot)?.bytes ?? 0) ? manifest : nil
            }
            increments += at.file(.delta)?.bytes ?? 0
            next = at.parent.flatMap { byName[$0] ?? nil }
        }
        return nil
    }

    /// What lies there now is what was brought there: two machines that upload under the same name at the same time leave one
    /// backup or a mixture, and must not both take it for theirs.
    func isOurs(_ manifest: BackupManifest, at destination: any Destination) async throws {
        let name = manifest.name + BackupCatalogue.manifestSuffix
        // Who may write there may not be allowed to read.
        guard let bytes = try? await destination.read(name, limit: BackupCatalogue.manifestLimit),
            let files = try? await destination.list()
        else { return }
        guard try bytes == manifest.encoded(), let own = BackupName(manifest.name),
            BackupCatalogue.check(manifest, own, files) == nil
        else {
            throw BackupError(
                .destination,
                "another backup of the name \(manifest.name) came there at the same time: make the backup again")
        }
    }

    /// Looked up once more when the snapshot is there: a sidecar of another machine may have begun in the same second and been
    /// quicker. A destination that cannot be read has nothing to say here.
    func freeName(_ name: BackupName, _ known: [Survey]) async throws -> BackupName {
        var name = name
        var taken = Set(known.flatMap { $0.all.map(\.name) })
        for destination in destinations {
            let files = (try? await destination.list()) ?? []
            taken.formUnion(files.compactMap { BackupCatalogue.backupName(ofFile: $0.name) })
        }
        while taken.contains(name) { name.number += 1 }
        return name
    }
}

/// The keys of `backup.encryption`, read from their files.
struct SealingSetup: Sendable {
    var recipients: [SealRecipient] = []
    /// Nil where backups are not sealed, or this machine may only write them.
    var keys: SealingKeys?

    init(_ options: SealingOptions?) throws {
        guard let options else { return }
        if let file = options.keyFile {
            let keys = try SealingKeys(file: file)
            self.keys = keys
            recipients = keys.recipients
        }
        for text in options.recipients {
            let recipient = try SealRecipient(text)
            if !recipients.contains(recipient) { recipients.append(recipient) }
        }
    }
}
