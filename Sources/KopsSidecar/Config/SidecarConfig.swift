package import ClusterOps
import MetricModel
package import Monitoring
import Platform

/// `cluster:`
package struct ClusterConfig: Sendable, Equatable {
    package var name = "kubernetes"
    package var kubeconfig = "/etc/kubernetes/admin.conf"
    /// Milliseconds; nil: not collected.
    package var objectsInterval: Int64?
    package var metricsServerInterval: Int64?
    /// Nil: events are not kept.
    package var events: ClusterEventsConfig?

    /// What is collected of the cluster; nil: nothing.
    var collector: ClusterCollectorOptions? {
        if objectsInterval == nil, metricsServerInterval == nil { return nil }
        var options = ClusterCollectorOptions(kubeconfig: kubeconfig)
        options.objectsInterval = objectsInterval
        options.metricsServerInterval = metricsServerInterval
        return options
    }
}

/// The whole configuration file with what it names: rule files, the notifications' file, the web configuration file.
package struct SidecarConfig: Sendable {
    /// The file, or the name of the built-in default.
    package var path: String
    package var global = GlobalConfig()
    package var scrapeConfigs: [ScrapeConfig] = []
    package var ruleGroups: [RuleGroupDefinition] = []
    package var storage: StorageConfig
    package var http = HTTPConfig()
    package var log = LogConfig()
    package var cluster = ClusterConfig()
    package var etcd = EtcdOptions()
    package var etcdIsNamed = false
    package var backup: BackupOptions?
    package var upgrade: UpgradeConfig?
    package var doctor: DoctorConfig?
    package var certificates: CertificateOptions?
    package var jobs = JobsConfig()
    package var audit = AuditConfig()
    package var notifications: NotificationsConfig?
    /// External Alertmanagers that get every alert too.
    package var alerting: AlertingConfig?
    package var remoteWrite: [RemoteWriteConfig] = []
    package var remoteRead: [RemoteReadConfig] = []
    /// The file's YAML, secrets replaced.
    package var redacted = ""
    /// What is allowed and yet may be a mistake, such as a pattern that no file matches.
    package var warnings: [String] = []
    /// Files with secrets, keys or certificates that are named and cannot be read now: where, and why.
    package var unreadableFiles: [ConfigIssue] = []

    init(path: String) {
        self.path = path
        storage = StorageConfig(of: path)
    }

    /// What runs when no file is named and the default one is not there.
    static let builtIn = """
        global: {scrape_interval: 15s, evaluation_interval: 15s}
        scrape_configs:
          - job_name: kops-sidecar
            honor_labels: true
            static_configs: [{targets: [self]}]
        storage: {path: ./data}
        """
}

/// Everything that is wrong with a configuration, in the order of the file.
package struct ConfigProblems: Error, Sendable, CustomStringConvertible {
    package let issues: [ConfigIssue]
    package var lines: [String] { issues.map(\.description) }
    package var description: String { lines.joined(separator: "\n") }
}

extension SidecarConfig {
    /// Reads and checks a file and all it names; nil reads the built-in default. Throws with every finding, not only the
    /// first.
    package static func load(_ path: String?) throws(ConfigProblems) -> SidecarConfig {
        let issues = ConfigIssues()
        let bytes: [UInt8]
        let file = path ?? "<built-in>"
        do {
            bytes =
                try path.map { (p) throws(FileError) in try FileSystem.read(p, maxBytes: 16 << 20) }
                ?? Array(builtIn.utf8)
        } catch {
            throw ConfigProblems(issues: [ConfigIssue(file: file, line: 0, column: 0, message: "\(error)")])
        }
        var config = SidecarConfig(path: file)
        do {
            guard let node = try ConfigNode.parse(bytes, file: file) else {
                // An empty file is a valid one, as for Prometheus.
                return config
            }
            guard let root = ConfigSection(node, issues) else { throw ConfigProblems(issues: issues.all) }
            config.decode(root, issues)
        } catch let issue as ConfigIssue {
            issues.add(issue)
        } catch let problems as ConfigProblems {
            throw problems
        } catch {
            issues.add(ConfigIssue(file: file, line: 0, column: 0, message: "\(error)"))
        }
        if !issues.all.isEmpty { throw ConfigProblems(issues: issues.all) }
        config.unreadableFiles = issues.unreadableFiles()
        config.redacted = redactedYAML(bytes)
        return config
    }

    private mutating func decode(_ root: ConfigSection, _ issues: ConfigIssues) {
        let globalSection = root.section("global")
        global = decodeGlobalConfig(globalSection, issues)
        let defaults = ScrapeDefaults(globalSection, global)
        decodeRemainingGlobal(globalSection)
        var sections = root.sections("scrape_configs")
        sections += scrapeSections(root, issues)
        scrapeConfigs = decodeScrapeConfigs(sections, defaults)
        storage = decodeStorageConfig(root.section("storage"), storage, issues)
        http = decodeHTTPConfig(root.section("http"), issues)
        log = decodeLogConfig(root.section("log"))
        cluster = decodeClusterConfig(root.section("cluster"))
        etcd = decodeEtcdConfig(root.section("etcd"))
        etcdIsNamed = root.has("etcd")
        backup = decodeBackupConfig(
            root.section("backup"), cluster: cluster.name, workDirectory: storage.path, issues)
        upgrade = decodeUpgradeConfig(root.section("upgrade"))
        doctor = decodeDoctorConfig(root.section("doctor"))
        certificates = decodeCertificatesConfig(root.section("certificates"))
        decodeRuleFiles(root, issues)
        remoteWrite = decodeRemoteWrite(root.sections("remote_write"), warnings: &warnings)
        remoteRead = decodeRemoteRead(root.sections("remote_read"))
        if !remoteRead.isEmpty, storage.engine == .remote, let at = root.node("remote_read") {
            issues.add(at, "remote_read stands beside the local store; with storage.engine remote that engine is asked")
        }
        decodeNotificationSections(root, issues)
        alerting = decodeAlertingConfig(root.section("alerting"))
        jobs = decodeJobsConfig(root.section("jobs"))
        audit = decodeAuditConfig(root.section("audit"))
        checkShippedEvents(root, cluster, audit)
        for (key, why) in Self.unsupported { root.refuse(key, why) }
        // How Prometheus itself runs: nothing of this program's depends on it.
        if let runtime = root.section("runtime") {
            _ = runtime.int("gogc")
            runtime.finish()
        }
        root.finish()
    }

    private static let unsupported = [
        ("tracing", "this program sends no traces"),
        ("otlp", "metrics are taken by scraping"),
    ]

    /// Keys of `global` that change nothing here, so that an existing file is taken as it is.
    private func decodeRemainingGlobal(_ section: ConfigSection?) {
        guard let section else { return }
        checkNameSchemes(section)
        _ = section.bool("always_scrape_classic_histograms")
        _ = section.bool("convert_classic_histograms_to_nhcb")
        _ = section.bool("scrape_native_histograms")
        section.finish()
    }

    private mutating func scrapeSections(_ root: ConfigSection, _ issues: ConfigIssues) -> [ConfigSection] {
        var sections: [ConfigSection] = []
        for pattern in root.strings("scrape_config_files") ?? [] {
            for file in matches(pattern, root, "scrape_config_files") {
                do {
                    guard let node = try ConfigNode.read(file: file), let section = ConfigSection(node, issues) else {
                        continue
                    }
                    sections += section.sections("scrape_configs")
                    section.finish()
                } catch {
                    issues.add(error)
                }
            }
        }
        return sections
    }

    private mutating func decodeRuleFiles(_ root: ConfigSection, _ issues: ConfigIssues) {
        var seen: Set<String> = []
        for pattern in root.strings("rule_files") ?? [] {
            for file in matches(pattern, root, "rule_files") where seen.insert(file).inserted {
                ruleGroups += decodeRuleFile(
                    file, defaultInterval: global.evaluationInterval, defaultOffset: global.ruleQueryOffset,
                    issues: issues)
            }
        }
    }

    private mutating func decodeNotificationSections(_ root: ConfigSection, _ issues: ConfigIssues) {
        if let inline = root.section("notifications") {
            if root.has("notifications_file"), let at = root.node("notifications_file") {
                issues.add(at, "at most one of notifications and notifications_file may be given")
            }
            notifications = decodeNotifications(inline)
            notifications?.alertmanager.original = inline.node.redactedText
            return
        }
        guard let name = root.string("notifications_file") else { return }
        let file = resolvePath(name, relativeTo: root.node.file)
        do {
            guard let node = try ConfigNode.read(file: file), let section = ConfigSection(node, issues) else { return }
            notifications = decodeNotifications(section)
            notifications?.alertmanager.original = redactedYAML(try FileSystem.read(file, maxBytes: 16 << 20))
        } catch {
            issues.add((error as? ConfigIssue) ?? ConfigIssue(file: file, line: 0, column: 0, message: "\(error)"))
        }
    }

    private mutating func matches(_ pattern: String, _ root: ConfigSection, _ key: String) -> [String] {
        let pattern = resolvePath(pattern, relativeTo: root.node.file)
        let files = FileSystem.glob(pattern)
        if files.isEmpty { warnings.append("\(key): no file matches \(pattern)") }
        return files
    }
}

private func decodeClusterConfig(_ section: ConfigSection?) -> ClusterConfig {
    var config = ClusterConfig()
    guard let section else { return config }
    config.name = section.string("name") ?? config.name
    if let at = section.node("name"),
        config.name.isEmpty || !config.name.utf8.allSatisfy({ isNameByte($0) }) || config.name.utf8.count > 100
    {
        section.issues.add(at, "cluster.name is part of file names: letters, digits, '.', '_' and '-', at most 100")
    }
    if let path = section.string("kubeconfig"), let at = section.node("kubeconfig") {
        config.kubeconfig = resolvePath(path, relativeTo: section.node.file)
        section.issues.willBeRead(config.kubeconfig, at)
    }
    config.objectsInterval = decodeCollected(section.section("objects"), section.isNull("objects"))
    config.metricsServerInterval = decodeCollected(
        section.section("metrics_server"), section.isNull("metrics_server"))
    config.events = decodeClusterEvents(section.section("events"), section.isNull("events"))
    section.finish()
    return config
}

/// `{enabled: true, interval: 30s}`: the interval in milliseconds, nil where it is not collected.
private func decodeCollected(_ section: ConfigSection?, _ isNull: Bool) -> Int64? {
    guard let section else { return isNull ? 30_000 : nil }
    let enabled = section.bool("enabled") ?? true
    let interval = section.duration("interval") ?? 30_000
    if interval < 1000, let node = section.node("interval") {
        section.issues.add(node, "\(node.path) must be at least 1s")
    }
    section.finish()
    return enabled ? max(1000, interval) : nil
}

private func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
    default: false
    }
}
