package import ClusterOps
import Platform

/// `upgrade:` with what the service needs beside it.
package struct UpgradeConfig: Sendable {
    package var options = UpgradeOptions()
    package var gates = UpgradeGatesConfig()

    package init() {}
}

/// The surroundings under which an upgrade may begin.
package struct UpgradeGatesConfig: Sendable {
    /// Milliseconds; nil: no backup is asked for.
    package var backupMaxAge: Int64? = 86_400_000
    /// No alert of this severity or above may fire: the names of the severities, nil where alerts do not matter.
    package var alertSeverities: [String]? = ["critical"]
    package var schedule: MaintenanceWindow?

    package init() {}
}

/// `upgrade:`; nil where the section is missing.
func decodeUpgradeConfig(_ section: ConfigSection?) -> UpgradeConfig? {
    guard let section else { return nil }
    var config = UpgradeConfig()
    var options = UpgradeOptions()
    let file = section.node.file
    options.transport = transport(section, "executor") ?? options.transport
    if let ssh = section.section("ssh") {
        options.ssh.user = ssh.string("user")
        options.ssh.port = ssh.int("port", range: 1...65_535)
        options.ssh.identityFile = ssh.string("identity_file").map { resolvePath($0, relativeTo: file) }
        options.ssh.knownHostsFile = ssh.string("known_hosts_file").map { resolvePath($0, relativeTo: file) }
        options.ssh.configFile = ssh.string("config_file").map { resolvePath($0, relativeTo: file) }
        options.ssh.connectTimeout = ssh.duration("connect_timeout") ?? options.ssh.connectTimeout
        ssh.finish()
    }
    options.nodes = section.sections("nodes").compactMap(decodeNode)
    options.maxUnavailable = section.int("max_unavailable", range: 1...1000) ?? 1
    if let drain = section.section("drain") { options.drain = decodeDrain(drain) }
    if let packages = section.section("packages") { options.packages = decodePackages(packages) }
    options.kubeadmArguments = section.strings("kubeadm_args") ?? []
    if let hooks = section.section("hooks") {
        options.snapshotHook = hooks.section("snapshot").flatMap { decodeHook($0, file: file) }
        options.beforeNode = hooks.section("before_node").flatMap { decodeHook($0, file: file) }
        options.afterNode = hooks.section("after_node").flatMap { decodeHook($0, file: file) }
        options.health = hooks.sections("health").compactMap { decodeHook($0, file: file) }
        hooks.finish()
    }
    if let staging = section.section("staging") {
        options.staging = staging.required("nodes", staging.strings("nodes")) ?? []
        options.stagingTime = staging.duration("healthy_for") ?? options.stagingTime
        staging.finish()
    }
    options.apiTimeout = section.duration("api_timeout") ?? options.apiTimeout
    options.nodeTimeout = section.duration("node_timeout") ?? options.nodeTimeout
    options.healthTimeout = section.duration("health_timeout") ?? options.healthTimeout
    options.kubeadmTimeout = section.duration("kubeadm_timeout") ?? options.kubeadmTimeout
    options.packageTimeout = section.duration("package_timeout") ?? options.packageTimeout
    config.options = options
    if section.has("gates") { config.gates = decodeGates(section.sections("gates")) }
    section.finish()
    return config
}

private func transport(_ section: ConfigSection, _ key: String) -> UpgradeOptions.Transport? {
    section.choice(key, UpgradeOptions.Transport.allCases.map(\.rawValue)).flatMap(UpgradeOptions.Transport.init)
}

private func decodeNode(_ section: ConfigSection) -> UpgradeOptions.Node? {
    defer { section.finish() }
    let name = section.required("name", section.string("name"))
    let kind = transport(section, "executor")
    let address = section.string("address")
    let user = section.string("user")
    let port = section.int("port", range: 1...65_535)
    guard let name else { return nil }
    var node = UpgradeOptions.Node(name: name)
    node.transport = kind
    node.address = address
    node.user = user
    node.port = port
    return node
}

private func decodeDrain(_ section: ConfigSection) -> UpgradeOptions.Drain {
    var drain = UpgradeOptions.Drain()
    drain.timeout = section.duration("timeout") ?? drain.timeout
    drain.gracePeriod = section.duration("grace_period").map { $0 / 1000 }
    drain.deletesEmptyDirData = section.bool("delete_emptydir_data") ?? false
    drain.forcesUnmanaged = section.bool("force_unmanaged") ?? false
    drain.forcesAtTimeout = section.choice("on_timeout", ["stop", "force"]) == "force"
    section.finish()
    return drain
}

private func decodePackages(_ section: ConfigSection) -> UpgradeOptions.Packages {
    var packages = UpgradeOptions.Packages()
    let names = UpgradeOptions.PackageManager.allCases.map(\.rawValue)
    packages.manager = section.choice("manager", names).flatMap(UpgradeOptions.PackageManager.init) ?? .auto
    packages.install = section.strings("install") ?? []
    packages.check = section.strings("check") ?? []
    if packages.manager == .command {
        for key in ["install", "check"] where section.strings(key)?.isEmpty ?? true {
            section.issues.add(section.node, "\(section.node.path) with manager: command needs \(key), a list of words")
        }
    } else {
        for key in ["install", "check"] where section.has(key) {
            section.issues.add(
                section.node(key) ?? section.node, "\(section.node.path).\(key) goes with manager: command only")
        }
    }
    section.finish()
    return packages
}

private func decodeHook(_ section: ConfigSection, file: String) -> UpgradeOptions.Hook? {
    defer { section.finish() }
    let timeout = section.duration("timeout")
    let command = section.strings("command")
    let url = section.string("http")
    let place = section.choice("on", ["here", "node"])
    let method = section.string("method")
    var headers = (section.stringMap("headers") ?? []).map { UpgradeOptions.Hook.Header(name: $0.0, value: $0.1) }
    if let token = section.string("bearer_token_file") {
        headers.append(.init(name: "Authorization", value: "Bearer ", file: resolvePath(token, relativeTo: file)))
    }
    let body = section.string("body") ?? ""
    let statuses = (section.strings("expect_status") ?? []).compactMap { Int($0) }
    switch (command, url) {
    case (let command?, nil):
        guard !command.isEmpty else {
            section.issues.add(section.node, "\(section.node.path).command names no program")
            return nil
        }
        for key in ["method", "headers", "bearer_token_file", "body", "expect_status"] where section.has(key) {
            section.issues.add(section.node(key) ?? section.node, "\(section.node.path).\(key) goes with http only")
        }
        var hook = UpgradeOptions.Hook(.command(command, onNode: place == "node"))
        hook.timeout = timeout ?? hook.timeout
        return hook
    case (nil, let url?):
        guard url.hasPrefix("http://") || url.hasPrefix("https://") else {
            section.issues.add(
                section.node("http") ?? section.node, "\(section.node.path).http must be a URL, not \"\(url)\"")
            return nil
        }
        if let at = section.node("on") { section.issues.add(at, "\(section.node.path).on goes with command only") }
        var hook = UpgradeOptions.Hook(
            .http(
                url: url, method: method ?? (body.isEmpty ? "GET" : "POST"), headers: headers, body: body,
                statuses: statuses))
        hook.timeout = timeout ?? 30_000
        return hook
    default:
        section.issues.add(section.node, "\(section.node.path) needs either command or http")
        return nil
    }
}

private func decodeGates(_ sections: [ConfigSection]) -> UpgradeGatesConfig {
    var gates = UpgradeGatesConfig()
    // Whoever lists gates lists all that are wanted.
    gates.backupMaxAge = nil
    gates.alertSeverities = nil
    for section in sections {
        if let backup = section.section("backup") {
            gates.backupMaxAge = backup.duration("max_age") ?? 86_400_000
            backup.finish()
        }
        if let alerts = section.section("alerts") {
            let order = ["info", "warning", "critical"]
            let least = alerts.choice("severity", order) ?? "critical"
            gates.alertSeverities = Array(order[(order.firstIndex(of: least) ?? 2)...])
            alerts.finish()
        }
        gates.schedule = decodeWindow(section.section("window"), zone: nil)
        section.finish()
    }
    return gates
}
