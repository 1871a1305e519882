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
    options.include = []
    section.refuse(
        "include", "a backup holds etcd alone in this version: keep a copy of /etc/kubernetes/pki beside it")
    options.kubernetesDirectory = section.string("kubernetes_directory") ?? options.kubernetesDirectory
    options.kubeletDirectory = section.string("kubelet_directory") ?? options.kubeletDirectory
    section.refuse("encryption", "backups are not encrypted in this version: keep them where only root reads")
    if let compression = section.section("compression") {
        options.compressionLevel = compression.int("level", range: 1...9) ?? options.compressionLevel
        compression.finish()
    }
    if let drill = section.section("drill") {
        options.drillSchedule = drill.string("schedule")
        checkSchedule(drill, "schedule", zone: options.timezone)
        drill.finish()
    }
    section.refuse("incremental", "every backup is a full one in this version")
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
