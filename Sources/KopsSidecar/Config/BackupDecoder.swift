package import ClusterOps
import Platform

/// `etcd:`. Without it, the paths that kubeadm uses.
func decodeEtcdConfig(_ section: ConfigSection?) -> EtcdOptions {
    var options = EtcdOptions()
    guard let section else { return options }
    let file = section.node.file
    if let endpoints = section.strings("endpoints"), let at = section.node("endpoints") {
        options.endpoints = endpoints
        if endpoints.isEmpty { section.issues.add(at, "etcd.endpoints names no endpoint") }
        for endpoint in endpoints where !endpoint.hasPrefix("https://") && !endpoint.hasPrefix("http://") {
            section.issues.add(
                at, "etcd.endpoints: \"\(endpoint)\" must be a URL such as https://127.0.0.1:2379")
        }
    }
    let plain = options.endpoints.allSatisfy { $0.hasPrefix("http://") }
    func path(_ key: String, _ fallback: String?) -> String? {
        section.string(key).map { resolvePath($0, relativeTo: file) } ?? (plain ? nil : fallback)
    }
    options.ca = path("ca", options.ca)
    options.cert = path("cert", options.cert)
    options.key = path("key", options.key)
    options.insecureSkipVerify = section.bool("insecure_skip_verify") ?? false
    options.serverName = section.string("server_name")
    options.timeout = section.duration("timeout") ?? options.timeout
    section.finish()
    return options
}

/// `backup:`; nil where the section is missing, which means that no backups are made.
func decodeBackupConfig(
    _ section: ConfigSection?, cluster: String, workDirectory: String, _ issues: ConfigIssues
) -> BackupOptions? {
    guard let section else { return nil }
    let file = section.node.file
    var options = BackupOptions()
    options.cluster = cluster
    options.workDirectory = workDirectory
    options.schedule = section.string("schedule")
    options.timezone = section.string("timezone")
    checkSchedule(section, "schedule", zone: options.timezone)
    var names: Set<String> = []
    options.destinations = section.sections("destinations").compactMap { entry in
        let destination = decodeDestination(entry)
        if let destination, !names.insert(destination.name).inserted {
            issues.add(
                entry.node("name") ?? entry.node, "there are two destinations named \"\(destination.name)\"")
        }
        return destination
    }
    if options.destinations.isEmpty {
        issues.add(section.node, "backup.destinations names no destination, so a backup would have nowhere to go")
    }
    if let parts = section.strings("include"), let at = section.node("include") {
        options.include = []
        let known = BundlePart.allCases.map(\.rawValue)
        for part in parts {
            if let known = BundlePart(rawValue: part) {
                options.include.insert(known)
            } else {
                issues.add(
                    at,
                    "backup.include: \"\(part)\" is not one of \(known.joined(separator: ", "))"
                        + didYouMean(part, known))
            }
        }
    }
    options.kubernetesDirectory = section.string("kubernetes_directory") ?? options.kubernetesDirectory
    options.kubeletDirectory = section.string("kubelet_directory") ?? options.kubeletDirectory
    if let encryption = section.section("encryption") {
        var sealing = SealingOptions()
        sealing.keyFile = encryption.string("key_file").map { resolvePath($0, relativeTo: file) }
        sealing.recipients = encryption.strings("recipients") ?? []
        if sealing.keyFile == nil && sealing.recipients.isEmpty {
            issues.add(encryption.node, "backup.encryption needs key_file or recipients")
        }
        encryption.finish()
        options.sealing = sealing
    }
    if let compression = section.section("compression") {
        options.compressionLevel = compression.int("level", range: 1...9) ?? options.compressionLevel
        compression.finish()
    }
    if let drill = section.section("drill") {
        options.drillSchedule = drill.string("schedule")
        checkSchedule(drill, "schedule", zone: options.timezone)
        drill.finish()
    }
    if let incremental = section.section("incremental") {
        options.incrementalChain = incremental.int("chain", range: 0...100) ?? 0
        incremental.finish()
    }
    options.skipUnchanged = section.bool("skip_unchanged") ?? false
    options.idleLimit = section.duration("idle_timeout") ?? options.idleLimit
    options.retries = section.int("retries", range: 0...20) ?? options.retries
    section.finish()
    return options
}

/// Reports a schedule that cannot be read.
func checkSchedule(_ section: ConfigSection, _ key: String, zone: String?) {
    guard let text = section.string(key), let at = section.node(key) else { return }
    do {
        _ = try makeSchedule(text, zone: zone)
    } catch {
        section.issues.add(at, "\(at.path): \(error)")
    }
}

/// A schedule in a named time zone; UTC where none is named.
package func makeSchedule(_ text: String, zone: String?) throws -> Schedule {
    guard let name = zone else { return try Schedule(text) }
    guard let zone = ZoneInfo(name) else { throw UnknownZone(name: name) }
    return try Schedule(text, zone: zone)
}

private struct UnknownZone: Error, CustomStringConvertible {
    let name: String
    var description: String { "unknown time zone \"\(name)\"; name one as Europe/Berlin" }
}

private func decodeDestination(_ section: ConfigSection) -> DestinationOptions? {
    let name = section.required("name", section.string("name")) ?? ""
    let file = section.node.file
    let retention = decodeBackupRetention(section.section("retention"))
    defer { section.finish() }
    let places = ["path", "s3", "sftp"].filter(section.has)
    guard places.count == 1 else {
        section.issues.add(section.node, "\(section.node.path) needs exactly one of path, s3 and sftp")
        return nil
    }
    func secretFile(_ from: ConfigSection, _ key: String) -> String? {
        from.string(key).map { resolvePath($0, relativeTo: file) }
    }
    if let path = section.string("path") {
        return DestinationOptions(name: name, place: .local(LocalOptions(path: path)), retention: retention)
    }
    if let s3 = section.section("s3") {
        var options = S3Options()
        options.endpoint = s3.string("endpoint") ?? ""
        options.bucket = s3.required("bucket", s3.string("bucket")) ?? ""
        options.prefix = s3.string("prefix") ?? ""
        options.region = s3.string("region") ?? options.region
        options.accessKeyFile = secretFile(s3, "access_key_file")
        options.secretKeyFile = secretFile(s3, "secret_key_file")
        options.sessionTokenFile = secretFile(s3, "session_token_file")
        options.pathStyle = s3.bool("path_style") ?? options.pathStyle
        options.caFile = secretFile(s3, "ca_file")
        options.insecureSkipVerify = s3.bool("insecure_skip_verify") ?? false
        options.proxy = s3.string("proxy")
        options.serverSideEncryption = s3.string("server_side_encryption")
        options.kmsKeyID = s3.string("kms_key_id")
        options.storageClass = s3.string("storage_class")
        options.objectLockMode = s3.choice("object_lock_mode", ["GOVERNANCE", "COMPLIANCE"])
        options.objectLockFor = s3.duration("object_lock_for")
        options.partSize = s3.byteSize("part_size") ?? options.partSize
        options.timeout = s3.duration("timeout") ?? options.timeout
        s3.finish()
        return DestinationOptions(name: name, place: .s3(options), retention: retention)
    }
    guard let sftp = section.section("sftp") else { return nil }
    var options = SFTPOptions()
    options.host = sftp.required("host", sftp.string("host")) ?? ""
    options.port = sftp.int("port", range: 1...65535) ?? 22
    options.user = sftp.required("user", sftp.string("user")) ?? ""
    options.path = sftp.required("path", sftp.string("path")) ?? ""
    options.privateKeyFile = secretFile(sftp, "private_key_file")
    options.passwordFile = secretFile(sftp, "password_file")
    options.passphraseFile = secretFile(sftp, "passphrase_file")
    options.knownHostsFile = secretFile(sftp, "known_hosts_file")
    options.hostKeySHA256 = sftp.string("host_key_sha256")
    options.timeout = sftp.duration("timeout") ?? options.timeout
    sftp.finish()
    return DestinationOptions(name: name, place: .sftp(options), retention: retention)
}

private func decodeBackupRetention(_ section: ConfigSection?) -> RetentionOptions {
    var options = RetentionOptions()
    guard let section else { return options }
    func count(_ key: String) -> Int? { section.int(key, range: 0...1_000_000) }
    options.keepLast = count("keep_last")
    options.keepHourly = count("keep_hourly")
    options.keepDaily = count("keep_daily")
    options.keepWeekly = count("keep_weekly")
    options.keepMonthly = count("keep_monthly")
    options.maxAge = section.duration("max_age")
    options.maxSize = section.byteSize("max_size")
    options.pruneOnDemand = section.bool("prune_on_demand") ?? false
    section.finish()
    return options
}
