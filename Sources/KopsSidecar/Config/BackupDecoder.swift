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
        let path = section.string(key).map { resolvePath($0, relativeTo: file) }
        if let path, let at = section.node(key) { section.issues.willBeRead(path, at) }
        return path ?? (plain ? nil : fallback)
    }
    options.ca = path("ca", options.ca)
    options.cert = path("cert", options.cert)
    options.key = path("key", options.key)
    options.insecureSkipVerify = section.bool("insecure_skip_verify") ?? false
    options.serverName = section.string("server_name")
    options.timeout = section.duration("timeout") ?? options.timeout
    options.defragment = section.section("defragment").map(decodeDefragment)
    section.finish()
    return options
}

/// `backup:`; nil where the section is missing, which means that no backups are made.
func decodeBackupConfig(
    _ section: ConfigSection?, cluster: String, workDirectory: String, _ issues: ConfigIssues
) -> BackupOptions? {
    guard let section else { return nil }
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
    decodeInclude(section, &options)
    options.kubernetesDirectory = section.string("kubernetes_directory") ?? options.kubernetesDirectory
    options.kubeletDirectory = section.string("kubelet_directory") ?? options.kubeletDirectory
    options.sealing = decodeSealing(section.section("encryption"))
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
        options.incrementalChain = incremental.int("max_chain", range: 1...1000) ?? 24
        incremental.finish()
    }
    if let log = section.section("point_in_time") {
        let interval = log.duration("interval") ?? 10_000
        if !(1000...3_600_000).contains(interval), let at = log.node("interval") {
            log.issues.add(at, "backup.point_in_time.interval must be between 1s and 1h")
        }
        options.logInterval = interval
        log.finish()
    }
    options.skipUnchanged = section.bool("skip_unchanged") ?? false
    options.idleLimit = section.duration("idle_timeout") ?? options.idleLimit
    options.retries = section.int("retries", range: 0...20) ?? options.retries
    section.finish()
    return options
}

/// `include` and `include_paths`: what goes beside the snapshot.
private func decodeInclude(_ section: ConfigSection, _ options: inout BackupOptions) {
    if let names = section.strings("include"), let at = section.node("include") {
        options.include = []
        for name in names {
            if let part = BundlePart(rawValue: name) {
                options.include.insert(part)
            } else {
                let known = BundlePart.allCases.map(\.rawValue)
                section.issues.add(
                    at,
                    "backup.include: \"\(name)\" is none of \(known.joined(separator: ", "))"
                        + didYouMean(name, known))
            }
        }
    }
    if let paths = section.strings("include_paths"), let at = section.node("include_paths") {
        options.includePaths = paths
        for path in paths where !path.hasPrefix("/") {
            section.issues.add(at, "backup.include_paths: \"\(path)\" must be an absolute path")
        }
    }
}

/// `encryption:`; nil where the section is missing, which means that backups are not sealed.
private func decodeSealing(_ section: ConfigSection?) -> SealingOptions? {
    guard let section else { return nil }
    var options = SealingOptions()
    options.keyFile = section.string("key_file").map { resolvePath($0, relativeTo: section.node.file) }
    if let recipients = section.strings("recipients"), let at = section.node("recipients") {
        options.recipients = recipients
        for text in recipients {
            do { _ = try SealRecipient(text) } catch {
                section.issues.add(at, "backup.encryption.recipients: \(error)")
            }
        }
    }
    if options.keyFile == nil && options.recipients.isEmpty {
        section.issues.add(section.node, "backup.encryption needs key_file or recipients: make a key with backup key")
    }
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
